#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Quality of service through dpud: a cap that a disk and an NVMe namespace of one volume share, one of a request a second, hosts that break off under it, one of a tenant over
# two volumes, guarantees that come, change and go in use. Rates are counted by dpud and over the time that really was: machines are slow.
set -euo pipefail
. "$(dirname "$0")/qos_lab.sh"
qos_begin qos
rate() { passes reads "$1" "$2" "$3" 1 "${@:4}"; } # SECONDS BURST_MS CAP OBJECT...

# ---- a disk and a namespace of one volume have one cap together, and both have something of it
ctl qos_policy create blue/gold cap_iops=1000 burst_ms=10
ok ctl volume set blue/a qos=gold
disk_load a depth=32
nvmf_load
wait_until 10 "reads over the disk" exceeds reads disk/blue/a 100
wait_until 10 "reads over NVMe/TCP" exceeds reads nvmf_namespace/blue/a 100
disk=$(reads disk/blue/a) namespace=$(reads nvmf_namespace/blue/a)
rate 1.5 10 1000 volume/blue/a
more "reads over the disk meanwhile" $(($(reads disk/blue/a) - disk)) 150
more "reads over NVMe/TCP meanwhile" $(($(reads nvmf_namespace/blue/a) - namespace)) 150
# … which is changed in use
ok ctl qos_policy set blue/gold cap_iops=3000
rate 1 10 3000 volume/blue/a
stop_loads

# ---- down to one a second; what the loads before were served beyond their cap when they went would be owed
ok ctl volume set blue/a qos=
wait_until 10 "nobody waits any more" is 0 waiting blue/a
stands() { local was; was=$(reads "$1") && sleep 0.3 && [ "$(reads "$1")" = "$was" ]; }
wait_until 10 "all of the loads before is counted" stands volume/blue/a
ok ctl qos_policy set blue/gold cap_iops=1 burst_ms=1
ok ctl volume set blue/a qos=gold
disk_load a depth=4
before=$(reads volume/blue/a) began=$(now_ms)
# A host that breaks off, and one whose listener goes, leave 64 requests that would take a minute: nothing of them stays, the cap is as it was for others.
leave() { # HOW...
	local left
	nvmf_load depth=32
	wait_until 10 "requests of a host wait" exceeds waiting blue/a 60
	left=$(now_ms)
	"$@"
	wait_until 10 "its connections are gone" is 0 field nvmf_subsystem blue/s connections
	wait_until 10 "its memory is given back" is 0 field nvmf_subsystem blue/s queue_memory
	left=$(($(now_ms) - left))
	[ "$(waiting blue/a)" -le 4 ] || lab_fail "$(waiting blue/a) requests wait"
	[ $left -lt 5000 ] || lab_fail "they stayed for $left ms"
	same "errors of the namespace" "$(field nvmf_namespace blue/a errors)" 0
	echo "qos: a host with 64 requests waiting is gone after $left ms ($*)"
}
break_off() { kill "$lab_last"; }
leave break_off
leave ok ctl nvmf_listener delete l
sleep 1.5
after=$(reads volume/blue/a)
took=$(($(now_ms) - began))
more "requests at one a second in $took ms" $((after - before)) 2
[ $((after - before)) -le $((took / 1000 + 2)) ] || lab_fail "$((after - before)) requests in $took ms at one a second"
echo "qos: 1/s: $((after - before)) in $took ms"
stop_loads
ok ctl volume set blue/a qos=

# ---- a tenant's cap is for all of its volumes together
ctl qos_policy create blue/whole scope=tenant cap_iops=2000 burst_ms=10
disk_load a
disk_load b
wait_until 10 "reads of a" exceeds reads disk/blue/a $(($(reads disk/blue/a) + 100))
wait_until 10 "reads of b" exceeds reads disk/blue/b 100
rate 1 10 2000 volume/blue/a volume/blue/b
stop_loads
ctl qos_policy delete blue/whole

# ---- a guarantee comes, changes and goes while a neighbour has all that it can under way
disk_load c depth=128
lab_background timeout -k 5 60 "$lab_build/tests/bench/qos_load" "quiet=vhost:$LAB_DIR/b.sock" rate=500 seconds=5 warm_up=0.2 >"$LAB_DIR/quiet.json"
quiet=$lab_last
same "requests by a guarantee that is not" "$(promised blue/b)" 0
ctl qos_policy create blue/silver guarantee_iops=1000
ok ctl volume set blue/b qos=silver
wait_until 10 "requests go by the guarantee" exceeds promised blue/b 100
has 0 "guaranteed 1000/s" ctl volume why blue/b
ok ctl qos_policy set blue/silver guarantee_iops=2000
has 0 "guaranteed 2000/s" ctl volume why blue/b
wait_until 10 "requests go by the new guarantee" exceeds promised blue/b $(($(promised blue/b) + 100))
ok ctl volume set blue/b qos=
before=$(promised blue/b)
wait "$quiet" || lab_fail "requests of the guaranteed volume"
same "requests by a guarantee that has gone" "$(promised blue/b)" "$before"
[ "$(json "450 <= d['rate'] <= 550" <"$LAB_DIR/quiet.json")" = True ] || lab_fail "500 a second beside a neighbour: $(cat "$LAB_DIR/quiet.json")"
stop_loads
echo "qos: ok; $(cat "$LAB_DIR/quiet.json")"
lab_end
