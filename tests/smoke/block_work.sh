#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Long work on pools and volumes with dpuctl: scrub, import and measure show how far they are; scrub and import go on after an interrupt, are
# cancelled, and are survived by a dpud that is stopped or killed in the middle; what measure says that a deletion gives back comes back.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin work
lab_netns m
images=$LAB_DIR/store/images
mkdir -p "$images"
start() { lab_dpud m m "${small[@]}" --workers 1 --store-dir "$LAB_DIR/store"; }
again() { # HOW: dpud is stopped or killed, and all is ready again
	if [ "$1" = kill ]; then lab_dpud_kill m; else lab_dpud_stop m && start; fi
	wait_until 30 "dpud again" rpc m dpu.version
	wait_until 20 "the pool again" is ready field pool p state
}
start
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
media: [{name: m0, path: $LAB_DIR/m0, size: 640M}]
pools: [{name: p, media: [m0]}]
volumes:
  - {name: v, tenant: blue, pool: p, size: 64M}
  - {name: w, tenant: blue, pool: p, size: 1G}
nvmf_listeners: [{name: here, address: 127.0.0.1}]
nvmf_subsystems: [{name: s, tenant: blue, nqn: "nqn.2025-01.org.example:s", allow_any_host: true}]
nvmf_namespaces: [{name: v, tenant: blue, subsystem: s, volume: v}]
YAML
has 0 "8 created" ctl apply -f "$LAB_DIR/net.yaml"

# ---- what a deletion gives back
host() { # WRITE|READ NSID MIB AT: so much of that namespace, from there on
	PYTHONPATH=$lab_top/tests/smoke inside m timeout 60 /usr/bin/python3 - "$@" <<'PY' || lab_fail "$*"
import struct, sys
from nvmf_client import IN_CAPSULE, READ, TRANSPORT, WRITE, Host, sqe
nsid, count, first = (int(text) for text in sys.argv[2:])
_, admin, io = Host("127.0.0.1", 4420, "nqn.2025-01.org.example:s", "nqn.2025-01.org.example:host").pair()
for at in range(first << 11, count + first << 11, 16):
    data = at.to_bytes(8, "big") * 1024
    if sys.argv[1] == "WRITE":
        status, got = io.call(sqe(WRITE, nsid, 0, 8192, IN_CAPSULE, struct.pack("<QI", at, 15)), data)[0], data
    else:
        status, _, got = io.call(sqe(READ, nsid, 0, 8192, TRANSPORT, struct.pack("<QI", at, 15)))
    assert status == 0 and got == data, f"status {status:#x} at sector {at}"
PY
}
write() { host WRITE 1 "$@"; } # MIB AT
mib() { echo $(("$(field "$1" "$2" "$3")" >> 20)); } # CLASS OBJECT FIELD
shares() { same "exclusive and shared bytes of $2" "$(mib "$1" "$2" exclusive_bytes) $(mib "$1" "$2" shared_bytes)" "$3 $4"; }
gives() { # MIB COMMAND...: so much is free after it that was not before
	local before expected
	before=$(field pool p free_bytes)
	expected=$((before + ($1 << 20)))
	shift
	ok "$@"
	wait_until 10 "$* gives $((expected - before)) bytes back" is "$expected" field pool p free_bytes
}
write 16 0
wait_until 10 "what was written is seen" is 16 mib volume blue/v allocated_bytes
same "measured" "$(field volume blue/v measured)" None
ctl pool measure p wait=true >/dev/null
shares volume blue/v 16 0
ok ctl snapshot create blue/monday volume=v
write 4 8
ok ctl volume create blue/c pool=p from_snapshot=monday
ctl pool measure p wait=true >/dev/null
shares volume blue/v 4 12
shares snapshot blue/monday 0 16
shares volume blue/c 0 16
has 0 "exclusive_bytes   4 MiB" ctl volume show blue/v
[[ $(field volume blue/v measured) == 20*Z ]] || lab_fail "measured: $(field volume blue/v measured)"
# ---- where a namespace's and a snapshot's requests go, and where their time went
ok ctl nvmf_namespace create blue/monday subsystem=s snapshot=monday
nsid=$(field nvmf_namespace blue/monday nsid)
host READ "$nsid" 1 1
for object in "nvmf_namespace blue/v write" "volume blue/v write" "nvmf_namespace blue/monday read" "snapshot blue/monday read"; do
	read -r class name requests <<<"$object"
	for stage in wait map medium whole; do
		has 0 "$requests" ctl "$class" latency "$name"
		same "stages of $object" "$(ctl -o json "$class" latency "$name" | json "sum(1 for row in d if row['requests'] == '$requests' and row['stage'] == '$stage' and row['count'] > 0)")" 1
	done
	same "the slowest of $object" "$(ctl -o json "$class" slowest "$name" | json "d[0]['request'], d[0]['length'], d[0]['failed']")" "$requests 8192 False"
	steps=$(ctl -o json "$class" why "$name" offset=1MiB | json "' '.join(dict.fromkeys(row['step'] for row in d))")
	same "the way of $object" "$steps" "user qos map pool medium time"
	has 0 "nvmf_namespace/$name" ctl "$class" why "$name"
	has 0 "block 256 has CRC32C " ctl "$class" why "$name" offset=1MiB
	has 0 "is shared with a snapshot or another volume" ctl "$class" why "$name" offset=1MiB
	has 1 "the volume ends at 67108864 bytes" ctl "$class" why "$name" offset=64MiB
done
has 0 "is the volume's own" ctl nvmf_namespace why blue/v offset=8MiB
has 0 "block 8192 was never written" ctl nvmf_namespace why blue/v offset=32MiB
ok ctl nvmf_namespace delete blue/monday
gives 0 ctl volume delete blue/c
ctl pool measure p wait=true >/dev/null
shares snapshot blue/monday 4 12
gives 4 ctl snapshot delete blue/monday
ctl pool measure p wait=true >/dev/null
shares volume blue/v 16 0
has 0 "done" ctl pool measure-progress p
has 1 "no measure of it is under way" ctl pool measure-cancel p

# ---- an import that is interrupted, cancelled, and cut short; a scrub likewise
head -c 400M < <(yes) >"$images/large.raw"
follow() { # SECONDS COMMAND...: dpuctl on a terminal, Ctrl-C then: what it has said, and its status
	rc=0
	said=$(timeout -k 5 30 script -qec "$lab_build/apps/dpuctl/dpuctl -i $LAB-m ${*:2}" /dev/null < <(sleep "$1" && printf '\003' && sleep 3)) || rc=$?
}
running() { is running eval "ctl -o json $1 | json 'd[\"state\"]'"; }
ctl volume import-image blue/w file=large.raw >/dev/null
running "volume image-progress blue/w" || lab_fail "the import: $(ctl volume image-progress blue/w)"
ctl volume cancel-image blue/w >/dev/null
wait_until 10 "the import has ended" is cancelled eval "ctl -o json volume image-progress blue/w | json 'd[\"state\"]'"
has 0 "cancelled" ctl volume show blue/w
for how in kill stop; do
	ctl volume import-image blue/w file=large.raw >/dev/null
	wait_until 5 "the import has begun" ls "$images/.$(field volume blue/w uuid).import"
	again $how
	has 0 "import of large.raw failed: it was cut short" ctl volume image-progress blue/w
	has 0 "has neither the image nor what it had before" ctl volume show blue/w
	wait_until 10 "the volume is ready" is ready field volume blue/w state
done
ctl volume import-image blue/w file=large.raw wait=true >/dev/null
has 0 "import of large.raw done" ctl volume show blue/w
[ ! -e "$images/.$(field volume blue/w uuid).import" ] || lab_fail "the mark of an import is still there"
wait_until 5 "all is imported" is 400 mib volume blue/w allocated_bytes

follow 1.5 pool scrub p wait=true
[[ $said == *"scrub: "*" % of 4"*" MiB, "*"MiB/s, "*"left"* ]] || lab_fail "no progress: $said"
[[ $said == *"the work goes on: dpuctl pool scrub-progress p says how far it is, dpuctl pool scrub-cancel p ends it"* ]] || lab_fail "interrupted: $said"
same "status after Ctrl-C" "$rc" 130
running "pool scrub-progress p" || lab_fail "the scrub does not go on: $(ctl pool scrub-progress p)"
has 1 "a scrub of it is under way already: " ctl pool repair p
ctl pool scrub-cancel p >/dev/null
wait_until 5 "it is cancelled" is cancelled field pool p scrub_state
has 1 "no scrub or repair of it is under way" ctl pool scrub-cancel p
same "progress is kept" "$(($(field pool p scrub_progress) < 100))" 1
for how in kill stop; do
	ctl pool scrub p >/dev/null
	again $how
	same "scrub after $how" "$(field pool p scrub_state)" never
done
ctl pool scrub p >/dev/null
ctl pool measure p wait=true >/dev/null # beside it
ok ctl medium create m1 path="$LAB_DIR/m1" size=128M
ok ctl pool set p media=m0,m1 # while it is scrubbed
wait_until 30 "the scrub ends" is "done" field pool p scrub_state
same "damaged" "$(field pool p scrub_damaged)" 0

# ---- a formatting that a kill cuts short: it begins again by itself
for i in 1 2 3 4; do
	ok ctl medium create f path="$LAB_DIR/f$i" size=100G
	timeout 20 "$lab_build/apps/dpuctl/dpuctl" -i "$LAB-m" pool create f media=f >/dev/null 2>&1 &
	asked=$!
	sleep "0.0$((i * 2))"
	lab_dpud_kill m
	wait $asked || true
	wait_until 30 "dpud again" rpc m dpu.version
	if ctl pool show f >/dev/null 2>&1; then
		wait_until 20 "the pool is made" is ready field pool f state
		ok ctl volume create blue/f pool=f size=1M
		ctl pool delete f --cascade >/dev/null
	fi
	ok ctl medium delete f
	rm "$LAB_DIR/f$i"
done

# ---- growth, and a deletion of a chain of clones, that a kill cuts short: before or after, nothing between
for i in 1 2 3 4; do
	ok ctl medium create "g$i" path="$LAB_DIR/g$i" size=128M
	media=$(ctl -o json pool show p | json "','.join(d['media'])")
	timeout 20 "$lab_build/apps/dpuctl/dpuctl" -i "$LAB-m" pool set p media="$media,g$i" >/dev/null 2>&1 &
	asked=$!
	sleep "0.0$((i * 2))"
	lab_dpud_kill m
	wait $asked || true
	wait_until 30 "dpud again" rpc m dpu.version
	wait_until 20 "the pool again" is ready field pool p state
	media=$(ctl -o json pool show p | json "','.join(d['media'])")
	[[ $media == *"g$i"* ]] || ok ctl pool set p media="$media,g$i"
done
same "bytes of all media" "$(($(field pool p bytes) > 1100 << 20))" 1

ctl volume delete blue/w
before=w0
ok ctl volume create blue/w0 pool=p size=64M
head -c 8M /dev/urandom >"$images/small.raw"
ctl volume import-image blue/w0 file=small.raw wait=true >/dev/null
for i in $(seq 20); do
	ok ctl volume create "blue/w$i" pool=p from_volume="$before"
	before=w$i
done
ctl volume export-image blue/w20 file=w20.raw wait=true >/dev/null
cmp -n 8388608 "$images/small.raw" "$images/w20.raw" || lab_fail "the clone of depth 20 is another"
for i in $(seq 0 19); do echo "volume delete blue/w$i"; done >"$LAB_DIR/chain"
chain() { ctl -o json volume list | json "sum(1 for row in d if row['name'].startswith('w'))"; }
has 1 "is used by volume/blue/w20" ctl --transaction -f "$LAB_DIR/chain"
ok ctl volume set blue/w20 from_volume=
for i in 1 2 3; do
	timeout 20 "$lab_build/apps/dpuctl/dpuctl" -i "$LAB-m" --transaction -f "$LAB_DIR/chain" >/dev/null 2>&1 &
	asked=$!
	sleep "0.0$((i * 3))"
	again kill
	wait $asked || true
	left=$(chain)
	[ "$left" = 21 ] || [ "$left" = 1 ] || lab_fail "$left volumes of the chain are left: neither none nor all was deleted"
done
[ "$left" = 1 ] || ctl --transaction -f "$LAB_DIR/chain" >/dev/null
wait_until 20 "one is left" is 1 chain
same "what nobody knows" "$(field pool p unclaimed)" 0
wait_until 20 "only what it has is allocated" is 24 mib pool p allocated_bytes
ctl volume export-image blue/w20 file=after.raw wait=true >/dev/null
cmp "$images/w20.raw" "$images/after.raw" || lab_fail "the clone has changed"

# ---- a purge of volumes that nobody claims, one and all
lab_dpud_stop m
rm -r "$LAB_DIR/store"
mkdir -p "$images"
start
cat >"$LAB_DIR/adopt.yaml" <<YAML
version: 1
tenants: [{name: blue}]
media: [{name: m0, path: $LAB_DIR/m0}, {name: m1, path: $LAB_DIR/m1}, {name: g1, path: $LAB_DIR/g1}, {name: g2, path: $LAB_DIR/g2}, {name: g3, path: $LAB_DIR/g3}, {name: g4, path: $LAB_DIR/g4}]
pools: [{name: p, media: [m0, m1, g1, g2, g3, g4]}]
YAML
ctl apply -f "$LAB_DIR/adopt.yaml" >/dev/null 2>&1 || true
has 0 "holds a pool already" ctl pool show p
ctl pool adopt p >/dev/null
same "unclaimed" "$(field pool p unclaimed)" 2
uuid=$(ctl -o json pool show p | json "d['unclaimed_names'][0]")
has 1 "no unclaimed volume of this name" ctl pool purge p uuid=nothing
has 1 "it is not being purged" ctl pool purge-cancel p
has 0 "never" ctl pool purge-progress p
ctl pool purge p uuid="$uuid" >/dev/null
has 0 "done" ctl pool purge-progress p
same "unclaimed" "$(field pool p unclaimed)" 1
ctl pool purge p >/dev/null
same "unclaimed" "$(field pool p unclaimed)" 0
wait_until 10 "all is free" is 0 field pool p allocated_bytes
echo "block_work: all as it should be"
