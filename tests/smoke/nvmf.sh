#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The NVMe/TCP target: what is refused and why, who may connect, data, hostile PDUs, keep-alive, many idle connections, kill -9.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin nvmf
lab_netns a
inside a ip link set lo up
lab_dpud m a --workers 2 "${small[@]}"
nqn=nqn.2025-01.org.example:disks
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
media: [{name: disk, kind: file, path: $LAB_DIR/disk.img, size: 64M, cached: true}, {name: memory, kind: ram, size: 16M}]
pools: [{name: pool, media: [disk]}]
volumes: [{name: one, tenant: blue, pool: pool, size: 8M}]
snapshots: [{name: early, tenant: blue, volume: one}]
nvmf_listeners: [{name: four, address: 127.0.0.1}, {name: six, address: "::1", port: 4421}]
nvmf_subsystems: [{name: disks, tenant: blue, nqn: "$nqn"}]
nvmf_namespaces: [{name: one, tenant: blue, subsystem: disks, volume: one}, {name: early, tenant: blue, subsystem: disks, snapshot: early}, {name: memory, tenant: blue, subsystem: disks, medium: memory}]
YAML
ctl apply "$LAB_DIR/net.yaml" >/dev/null
cat >"$LAB_DIR/weak.yaml" <<YAML
version: 1
media: [{name: weak, kind: file, path: $LAB_DIR/weak.img, size: 32M, cached: true}, {name: strong, kind: ram, size: 8M}]
pools: [{name: weak, media: [weak]}]
volumes: [{name: weak, tenant: blue, pool: weak, size: 8M}]
nvmf_subsystems: [{name: weak, tenant: blue, nqn: "$nqn-weak", allow_any_host: true}]
nvmf_namespaces: [{name: weak, tenant: blue, subsystem: weak, volume: weak}, {name: strong, tenant: blue, subsystem: weak, medium: strong}]
YAML
host() { inside a /usr/bin/python3 "$(dirname "$0")/nvmf.py" "$@"; }

# ---- what makes no sense is refused, with the field
has 1 "it must be an NVMe qualified name" ctl -t blue nvmf_subsystem create x nqn=disks
has 1 "month (01 to 12)" ctl -t blue nvmf_host create x nqn=nqn.2025-13.org.example:disks
has 1 "nqn: is taken" ctl -t blue nvmf_subsystem create x nqn=$nqn
has 1 "give exactly one of volume, snapshot and medium" ctl -t blue nvmf_namespace create x subsystem=disks
has 1 "nsid: 1 is another namespace's" ctl -t blue nvmf_namespace create x subsystem=disks volume=one nsid=1
has 1 "block_size: must be 512 or 4096" ctl -t blue nvmf_namespace create x subsystem=disks volume=one block_size=1024
has 1 "address: must be an address of its own" ctl nvmf_listener create x address=0.0.0.0
has 1 "must be a group (1 to 32) and a state" ctl nvmf_listener set four ana_groups+=99=optimized
has 1 "ana_groups[1]: the group has a state already" ctl nvmf_listener set four ana_groups=3=optimized,3=inaccessible
has 1 "port: nvmf_listener/four has this address and port already" ctl nvmf_listener create x address=127.0.0.1 port=4420
has 1 "address: is of one link only" ctl nvmf_listener create x address=fe80::1
ok ctl nvmf_referral create twin address=192.0.2.3
has 1 "port: nvmf_referral/twin has this address and port already" ctl nvmf_referral create x address=192.0.2.3
ok ctl nvmf_referral delete twin
same "NSIDs" "$(ctl -t blue -o json nvmf_namespace list | json "sorted(n['nsid'] for n in d)")" "[1, 2, 3]"

# ---- an address that is not here: tried again, and there once it is; until then hosts are not told of it
told() { ctl nvmf_remote discover address=127.0.0.1:4420 | grep -c "$1" || true; }
has 4 "done, but nvmf_listener later is failed: 10.9.9.9 port 4420: Cannot assign requested address: no interface" ctl nvmf_listener create later address=10.9.9.9
same "state of the listener" "$(field nvmf_listener later state)" failed
same "records of one that cannot listen" "$(told 10.9.9.9)" 0
inside a ip address add 10.9.9.9/32 dev lo
wait_until 5 "the listener listens" is listening field nvmf_listener later state
same "records of one that listens" "$(told 10.9.9.9)" 1

# ---- who may
same "status for a stranger" "$(host 127.0.0.1 4420 $nqn nqn.2025-01.org.example:smoke refused)" 4184 # Connect Invalid Host, do not retry
host 127.0.0.1 4420 $nqn nqn.2025-01.org.example:smoke stays &
stays=$!
ok ctl -t blue nvmf_host create other nqn=nqn.2025-01.org.example:other
host 127.0.0.1 4420 $nqn nqn.2025-01.org.example:other
wait $stays || lab_fail "a host that was refused stays"
ok ctl -t blue nvmf_host create smoke nqn=nqn.2025-01.org.example:smoke
host 127.0.0.1 4420 $nqn
host ::1 4421 $nqn
ok ctl nvmf_listener set six subsystems=blue/disks
host ::1 4421 $nqn

# ---- hostile PDUs, silence
host 127.0.0.1 4420 $nqn nqn.2025-01.org.example:smoke hostile
more "protocol errors" "$(field nvmf_subsystem blue/disks protocol_errors)" 5
counts() { ctl -o json nvmf_subsystem show blue/disks | json "d['data_digest_errors'], d['header_digest_errors'], d['protocol_errors']"; }
read -r data header protocol <<<"$(counts)"
host 127.0.0.1 4420 $nqn nqn.2025-01.org.example:smoke digests
same "errors of digests and others" "$(counts)" "$((data + 5)) $((header + 1)) $protocol"
grep -q "a host sends wrong digests.*count=4" "$LAB_DIR"/m.log || lab_fail "the log does not say that a host sends wrong digests"
early=$(field nvmf_listener four protocol_errors)
host 127.0.0.1 4420 $nqn nqn.2025-01.org.example:smoke garbage
wait_until 5 "garbage before Connect is counted" is $((early + 2)) field nvmf_listener four protocol_errors
host 127.0.0.1 4420 $nqn nqn.2025-01.org.example:smoke keep-alive
wait_until 5 "the counter of silent hosts" is 1 field nvmf_subsystem blue/disks keep_alive_expired

# ---- a flood from one address, and no descriptors: others come in, the daemon does not spin
host 127.0.0.1 4420 $nqn nqn.2025-01.org.example:smoke flood
cpu() { awk '{print $14 + $15}' "/proc/$(lab_dpud_pid m)/stat"; }
pid=$(lab_dpud_pid m)
limit=$(prlimit --pid "$pid" --nofile -o SOFT --noheadings)
# shellcheck disable=SC2012
prlimit --pid "$pid" --nofile="$(($(ls "/proc/$pid/fd" | wc -l) + 20)):"
inside a timeout -k 1 1.5 /usr/bin/python3 "$(dirname "$0")/nvmf.py" 127.0.0.1 4420 $nqn nqn.2025-01.org.example:smoke many >/dev/null 2>&1 &
starved=$!
sleep 0.7
before=$(cpu)
sleep 0.5
spins=$(($(cpu) - before))
wait $starved || true
prlimit --pid "$pid" --nofile="$limit:"
[ $spins -lt 15 ] || lab_fail "the daemon spins without descriptors: $spins ticks in 0.5 s"
more "pauses" "$(field nvmf_listener four accept_pauses)" 3
wait_until 5 "connections are gone" is 0 field nvmf_subsystem blue/disks connections
host 127.0.0.1 4420 $nqn

# ---- many connections that do nothing cost nothing
host 127.0.0.1 4420 $nqn nqn.2025-01.org.example:smoke many >"$LAB_DIR/many" &
many=$!
lab_pids+=("$many")
wait_until 20 "200 connections" grep -q ready "$LAB_DIR/many"
same "connections" "$(field nvmf_subsystem blue/disks connections)" 200
before=$(cpu)
sleep 2
idle=$(($(cpu) - before))
[ "$idle" -lt 20 ] || lab_fail "200 idle connections cost $idle ticks in 2 s"
ok ctl -t blue nvmf_host delete smoke
wait_until 5 "nobody is connected any more" is 0 field nvmf_subsystem blue/disks connections
kill "$many" 2>/dev/null || true
ok ctl -t blue nvmf_subsystem set disks allow_any_host=true
host 127.0.0.1 4420 $nqn

# ---- thousands of connections: I/O on each, half of them break off in a write and come back
ok ctl medium create crowd kind=ram size=16M
ok ctl -t blue nvmf_subsystem create crowd nqn=$nqn-crowd allow_any_host=true max_controllers=2048
ok ctl -t blue nvmf_namespace create crowd subsystem=crowd medium=crowd block_size=4096
wait_until 5 "the namespace of the crowd" is ready field nvmf_namespace blue/crowd state
crowd=$(inside a timeout -k 5 60 "$lab_build/tests/bench/nvmf_crowd" 127.0.0.1 4420 $nqn-crowd hosts=1050 queues=3 "pid=$(lab_dpud_pid m)") || lab_fail "a crowd"
wait_until 10 "the crowd is gone" is 0 field nvmf_subsystem blue/crowd connections
has 0 "2 deleted" ctl -t blue nvmf_subsystem delete crowd --cascade
ok ctl medium delete crowd

# ---- hosts that race for a reservation, of a volume whose limit keeps writes waiting
ok ctl qos_policy create blue/slow cap_iops=40
ok ctl volume set blue/one qos=slow
inside a timeout -k 5 60 /usr/bin/python3 "$(dirname "$0")/nvmf_races.py" 127.0.0.1 4420 $nqn 25 || lab_fail "reservations"
more "conflicts" "$(field nvmf_namespace blue/one reservation_conflicts)" 75
ok ctl volume set blue/one qos=

# ---- after kill -9 it is all there; as long as a pool is not, hosts are told to come again: else they would drop disks
/usr/bin/python3 "$(dirname "$0")/nvmf.py" 127.0.0.1 4420 $nqn x locked "$LAB_DIR/disk.img" >"$LAB_DIR/locked" &
locker=$!
lab_dpud_kill m
wait_until 30 "dpud is back" ctl version
wait_until 5 "the pool's file is locked" grep -q ready "$LAB_DIR/locked"
same "status while the pool is away" "$(host 127.0.0.1 4420 $nqn nqn.2025-01.org.example:smoke refused)" 181 # Connect Controller Busy
kill $locker
wait_until 10 "the namespace is back" is ready field nvmf_namespace blue/one state
host 127.0.0.1 4420 $nqn

# ---- reservations that survive: a file that is damaged keeps its namespace from hosts, and nothing else
other=nqn.2025-01.org.example:other
host 127.0.0.1 4420 $nqn nqn.2025-01.org.example:smoke reserve
same "what others may" "$(host 127.0.0.1 4420 $nqn $other namespaces)" "1:83 2:83 3:0 "
files=/var/lib/softdpu/$LAB-m/nvmf-reservations
one=$files/$(field nvmf_namespace blue/one uuid) early=$files/$(field nvmf_namespace blue/early uuid)
cp "$one" "$LAB_DIR/good"
for file in "$one" "$early"; do printf '\xff' | dd of="$file" bs=1 seek=40 conv=notrunc status=none; done
cp "$one" "$one.new" # a write that was cut off
lab_dpud_kill m
wait_until 30 "dpud is back" ctl version
for name in one early; do wait_until 10 "$name has failed" is failed field nvmf_namespace blue/$name state; done
wait_until 10 "the third namespace is back" is ready field nvmf_namespace blue/memory state
[ ! -e "$one.new" ] || lab_fail "what a write has left is still there"
has 0 "damaged at byte 8, its check sum is wrong: $one; put a good copy there" ctl nvmf_namespace show blue/one
same "what hosts see" "$(host 127.0.0.1 4420 $nqn $other namespaces)" "3:0 "
has 1 "damaged at byte 8" ctl nvmf_namespace retry blue/one
cp "$LAB_DIR/good" "$one"
mv "$early" "$LAB_DIR/bad"
for name in one early; do
	has 0 "" ctl nvmf_namespace retry blue/$name
	wait_until 10 "$name is back" is ready field nvmf_namespace blue/$name state
done
same "what others may again" "$(host 127.0.0.1 4420 $nqn $other namespaces)" "1:83 2:20 3:0 " # 20h: a snapshot cannot be written
host 127.0.0.1 4420 $nqn nqn.2025-01.org.example:smoke release
host 127.0.0.1 4420 $nqn

# ---- a pool that cannot be opened: hosts are let in at once, and see its namespace as inaccessible until somebody has put it right
ctl apply "$LAB_DIR/weak.yaml" >/dev/null
host 127.0.0.1 4420 $nqn-weak
cp "$LAB_DIR/weak.img" "$LAB_DIR/weak.good"
dd if=/dev/urandom of="$LAB_DIR/weak.img" bs=1M count=32 conv=notrunc status=none
lab_dpud_kill m
wait_until 30 "dpud is back" ctl version
wait_until 10 "the pool has failed" is failed field pool weak state
begin=$SECONDS
let_in() { [ "$(host 127.0.0.1 4420 $nqn-weak $other refused)" = 0 ]; }
wait_until 7 "a host is let in" let_in
took=$((SECONDS - begin))
same "what hosts see" "$(host 127.0.0.1 4420 $nqn-weak $other namespaces)" "1:302 2:0 "
[ $took -lt 8 ] || lab_fail "hosts were put off for $took s"
has 0 "weak is failed" ctl nvmf_namespace show blue/weak
same "state of the namespace" "$(field nvmf_namespace blue/weak state)" failed
dd if="$LAB_DIR/weak.good" of="$LAB_DIR/weak.img" bs=1M conv=notrunc status=none
ctl pool open weak >/dev/null
wait_until 10 "the namespace is back" is ready field nvmf_namespace blue/weak state
host 127.0.0.1 4420 $nqn-weak
has 0 "3 deleted" ctl -t blue nvmf_subsystem delete weak --cascade

# ---- a host that was refused and stays does not hold up a deletion
ok ctl -t blue nvmf_subsystem create strict nqn=$nqn-strict
host 127.0.0.1 4420 $nqn-strict nqn.2025-01.org.example:smoke stays 2>/dev/null &
refused() { [ "$(ctl -o json nvmf_subsystem show blue/strict | json "d['refused']")" = 1 ]; }
wait_until 5 "a host is refused" refused
begin=$SECONDS
ok ctl -t blue nvmf_subsystem delete strict
[ $((SECONDS - begin)) -lt 4 ] || lab_fail "the deletion took $((SECONDS - begin)) s"

# ---- a volume goes with the namespaces that show it and its snapshots, if that is said
ok ctl -t blue volume create shown pool=pool size=8M
ok ctl -t blue nvmf_namespace create shown subsystem=disks volume=shown
has 1 "it is used by nvmf_namespace/blue/shown: delete these first, or all at once with --cascade" ctl -t blue volume delete shown
ok ctl -t blue snapshot create shown volume=shown
ok ctl -t blue nvmf_namespace create shot subsystem=disks snapshot=shown
for option in -n ""; do
	# shellcheck disable=SC2086
	gone=$(ctl -t blue volume delete shown --cascade $option) || lab_fail "the volume cannot be deleted: $gone"
	for object in volume nvmf_namespace snapshot; do [[ $gone == *"- $object blue/shown"* ]] || lab_fail "$object blue/shown is not said to go: $gone"; done
	[[ $gone == *"- nvmf_namespace blue/shot"*"4 deleted"* ]] || lab_fail "what goes with the volume: $gone"
done

# ---- numbers of namespaces that have gone come back late; one takes the place of another in one transaction, and its number
ok ctl -t blue volume create shown pool=pool size=8M
for name in earlier former; do
	ok ctl -t blue nvmf_namespace create $name subsystem=disks volume=shown
	numbers+=" $(field nvmf_namespace blue/$name nsid)"
	ok ctl -t blue nvmf_namespace delete $name
done
same "numbers" "$numbers" " 6 7"
ok ctl -t blue nvmf_namespace create former subsystem=disks volume=shown nsid=4
nsid=$(field nvmf_namespace blue/former nsid)
host 127.0.0.1 4420 $nqn
for pair in former:latter latter:former; do
	has 0 "1 created, 0 changed, 1 deleted" eval "ctl export | sed 's/${pair%:*}/${pair#*:}/' | ctl apply --prune -f -"
	same "number and state of the ${pair#*:} one" "$(field nvmf_namespace blue/${pair#*:} nsid) $(field nvmf_namespace blue/${pair#*:} state)" "$nsid ready"
	[[ "$(host 127.0.0.1 4420 $nqn $other namespaces)" == *" $nsid:0 "* ]] || lab_fail "hosts do not see the ${pair#*:} one"
done
ok ctl -t blue nvmf_namespace delete former
ok ctl -t blue volume delete shown
same "namespaces that are left" "$(ctl -t blue -o json nvmf_namespace list | json "sorted(n['name'] for n in d)")" "['early', 'memory', 'one']"
ok ctl nvmf_listener set six subsystems=
has 0 "4 deleted" ctl -t blue nvmf_subsystem delete disks --cascade
same "namespaces" "$(ctl -t blue -o json nvmf_namespace list)" "[]"
ok ctl nvmf_listener delete six
has 0 "4420" ctl nvmf_listener list
grep -q 'why=""' "$LAB_DIR"/m.log && lab_fail "a reason that is none in the log"
host 127.0.0.1 4420 $nqn 2>/dev/null && lab_fail "a subsystem that is gone is served"
echo "nvmf: all as it should be; 200 idle connections took $idle ticks in 2 s; $crowd"
