#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Quality of service through dpud: a cap that a disk and an NVMe namespace of one volume share, one of a request a second, one of a tenant over
# two volumes, guarantees that come, change and go in use. Rates are counted by dpud and over the time that really was: machines are slow.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin qos
lab_netns m
lab_dpud m m "${small[@]}" --workers 1
nqn=nqn.2025-01.org.example:qos
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}, {name: red}]
media: [{name: memory, kind: ram, size: 96M}]
pools: [{name: p, media: [memory]}]
volumes: [{name: a, tenant: blue, pool: p, size: 8M}, {name: b, tenant: blue, pool: p, size: 8M}, {name: c, tenant: red, pool: p, size: 8M}]
disks:
  - {name: a, tenant: blue, volume: a, backend: vhost_user_server, socket: $LAB_DIR/a.sock}
  - {name: b, tenant: blue, volume: b, backend: vhost_user_server, socket: $LAB_DIR/b.sock}
  - {name: c, tenant: red, volume: c, backend: vhost_user_server, socket: $LAB_DIR/c.sock}
nvmf_listeners: [{name: l, address: 127.0.0.1}]
nvmf_subsystems: [{name: s, tenant: blue, nqn: "$nqn", allow_any_host: true}]
nvmf_namespaces: [{name: a, tenant: blue, subsystem: s, volume: a}]
YAML
ctl apply "$LAB_DIR/net.yaml" >/dev/null
for disk in blue/a blue/b red/c; do wait_until 10 "disk $disk" is ready field disk $disk state; done
wait_until 10 "the namespace" is ready field nvmf_namespace blue/a state

disk_load() { # DISK WORDS...: at full depth, until the lab or stop_loads ends it
	lab_background timeout -k 5 60 "$lab_build/tests/bench/vhost_blk_load" "$LAB_DIR/$1.sock" seconds=50 warm_up=0 "${@:2}" >/dev/null
	loads+=("$lab_last")
}
nvmf_load() {
	lab_background inside m timeout -k 5 60 "$lab_build/tests/bench/nvmf_load" read 127.0.0.1 4420 $nqn queues=2 depth=32 seconds=50 >/dev/null
	loads+=("$lab_last")
}
stop_loads() {
	local load
	for load in "${loads[@]}"; do
		kill "$load" 2>/dev/null || true
		wait "$load" 2>/dev/null || true
	done
	loads=()
}
loads=()
reads() { # OBJECT...: CLASS/TENANT/NAME, the sum
	local sum=0 object
	for object in "$@"; do sum=$((sum + $(field "${object%%/*}" "${object#*/}" reads))); done
	echo $sum
}
now_ms() { echo $(($(date +%s%N) / 1000000)); }
# rate SECONDS BURST_MS CAP OBJECT...: what passes in so long is the cap's, and not more than that and what may be saved up.
rate() {
	local seconds=$1 burst=$2 cap=$3 before began passed earliest latest
	shift 3
	began=$(now_ms)
	before=$(reads "$@")
	earliest=$(now_ms)
	sleep "$seconds"
	latest=$(now_ms)
	passed=$(($(reads "$@") - before))
	# Counters are up to 50 ms old, and read one after the other.
	local most=$((cap * ($(now_ms) - began + burst + 100) / 1000 + 2)) least=$((cap * (latest - earliest - 100) * 5 / 10000))
	[ "$passed" -le $most ] || lab_fail "$passed requests passed, and $most may have ($*)"
	[ "$passed" -ge $least ] || lab_fail "$passed requests passed, and $least must have ($*)"
	echo "qos: $cap/s: $passed in $((latest - earliest)) to $(($(now_ms) - began)) ms ($*)"
}

# ---- a disk and a namespace of one volume have one cap together, and both have something of it
ctl qos_policy create blue/gold cap_iops=1000 burst_ms=10
ok ctl volume set blue/a qos=gold
disk_load a depth=32
nvmf_load
more_reads() { [ "$(reads "$1")" -gt "$2" ]; }
wait_until 10 "reads over the disk" more_reads disk/blue/a 100
wait_until 10 "reads over NVMe/TCP" more_reads nvmf_namespace/blue/a 100
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
nobody_waits() { [[ $(ctl volume why blue/a) == *" 0 requests wait"* ]]; }
wait_until 10 "nobody waits any more" nobody_waits
stands() { local was; was=$(reads "$1") && sleep 0.3 && [ "$(reads "$1")" = "$was" ]; }
wait_until 10 "all of the loads before is counted" stands volume/blue/a
ok ctl qos_policy set blue/gold cap_iops=1 burst_ms=1
ok ctl volume set blue/a qos=gold
disk_load a depth=4
before=$(reads volume/blue/a) began=$(now_ms)
sleep 3.5
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
wait_until 10 "reads of a" more_reads disk/blue/a $(($(reads disk/blue/a) + 100))
wait_until 10 "reads of b" more_reads disk/blue/b 100
rate 1 10 2000 volume/blue/a volume/blue/b
stop_loads
ctl qos_policy delete blue/whole

# ---- a guarantee comes, changes and goes while a neighbour has all that it can under way
promised() { ctl -o json volume why blue/b | json "next(int(w) for r in d for w in [r['what'].split(' by a guarantee')[0].split(' ')[-1]] if 'by a guarantee' in r['what'])"; }
goes_by() { [ "$(promised)" -gt "$1" ]; }
disk_load c depth=128
lab_background timeout -k 5 60 "$lab_build/tests/bench/qos_load" "quiet=vhost:$LAB_DIR/b.sock" rate=500 seconds=5 warm_up=0.2 >"$LAB_DIR/quiet.json"
quiet=$lab_last
same "requests by a guarantee that is not" "$(promised)" 0
ctl qos_policy create blue/silver guarantee_iops=1000
ok ctl volume set blue/b qos=silver
wait_until 10 "requests go by the guarantee" goes_by 100
has 0 "guaranteed 1000/s" ctl volume why blue/b
ok ctl qos_policy set blue/silver guarantee_iops=2000
has 0 "guaranteed 2000/s" ctl volume why blue/b
wait_until 10 "requests go by the new guarantee" goes_by $(($(promised) + 100))
ok ctl volume set blue/b qos=
before=$(promised)
wait "$quiet" || lab_fail "requests of the guaranteed volume"
same "requests by a guarantee that has gone" "$(promised)" "$before"
[ "$(json "450 <= d['rate'] <= 550" <"$LAB_DIR/quiet.json")" = True ] || lab_fail "500 a second beside a neighbour: $(cat "$LAB_DIR/quiet.json")"
stop_loads
echo "qos: ok; $(cat "$LAB_DIR/quiet.json")"
lab_end
