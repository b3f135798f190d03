#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Disks of VMs without VMs: what is refused, requests and their counters, kill -9 under load with each request completed once and data intact,
# read-only, a backing that is away, deletion. The guest's side is tests/bench/vhost_blk_load. DISK_KILLS=N: by hand, more of them.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin disk
lab_netns m
lab_dpud m m "${small[@]}" --metrics "$LAB_DIR/metrics.sock"

load() { timeout -k 5 60 "$lab_build/tests/bench/vhost_blk_load" "$@"; }
state() { is "$2" field disk "blue/$1" state; }

cat >"$LAB_DIR/disks.yaml" <<-YAML
	version: 1
	tenants: [{name: blue}, {name: red}]
	media:
	  - {name: memory, kind: ram, size: 64M}
	  - {name: file, path: /dev/shm/softdpu-$LAB-pool, size: 256M, cached: true}
	pools: [{name: gold, media: [file]}]
	volumes:
	  - {name: data, tenant: blue, pool: gold, size: 64M}
	  - {name: other, tenant: red, pool: gold, size: 8M}
	snapshots: [{name: before, tenant: blue, volume: data}]
	disks:
	  - {name: fast, tenant: blue, medium: memory, backend: vhost_user_server, socket: $LAB_DIR/fast.sock, serial: SN-1}
	  - {name: data, tenant: blue, volume: data, socket: $LAB_DIR/data.sock}
	  - {name: old, tenant: blue, snapshot: before, backend: vhost_user_server}
YAML
sed -i "s/: 64M/: 67108864/g; s/: 256M/: 268435456/; s/: 8M/: 8388608/" "$LAB_DIR/disks.yaml"
ctl apply -f "$LAB_DIR/disks.yaml" >/dev/null
for disk in fast data old; do wait_until 10 "disk $disk is ready" state $disk ready; done

# What cannot be
has 1 "exactly one of volume, snapshot, medium and remote" ctl disk create blue/bad
has 1 "exactly one of volume, snapshot, medium and remote" ctl disk create blue/bad volume=data snapshot=before
has 1 "belongs to another tenant" ctl disk create blue/bad volume=red/other
has 1 "file is used by pool/gold" ctl disk create blue/bad medium=file
has 1 "memory is used by disk/blue/fast" ctl disk create blue/bad medium=memory
has 1 "printable" ctl disk create blue/bad volume=data serial="a b"
has 1 "disk/blue/data" ctl volume delete blue/data

# Requests are carried out and counted
load "$LAB_DIR/fast.sock" mixed queues=4 depth=8 seconds=1 warm_up=0 >"$LAB_DIR/fast.json"
same "errors of disk fast" "$(json "d['errors']" <"$LAB_DIR/fast.json")" 0
more "reads" "$(field disk blue/fast reads)" 20
more "writes" "$(field disk blue/fast writes)" 20
same "errors" "$(field disk blue/fast errors)" 0
load "$LAB_DIR/fast.sock" packed chained write queues=2 depth=8 seconds=0.5 warm_up=0 | grep -q '"errors": 0,' || lab_fail "packed rings"

# A disk on a medium: limited and timed only when somebody wants that, and goes on meanwhile
has 1 "which is not timed as long as nobody limits it" ctl disk latency blue/fast
has 0 "nobody limits it" ctl disk why blue/fast
ctl qos_policy create blue/slow cap_iops=100 burst_ms=1
has 1 "volume data has its own qos" ctl disk set blue/data qos=slow
ctl disk set blue/fast qos=slow >/dev/null
load "$LAB_DIR/fast.sock" queues=1 depth=8 seconds=0.5 warm_up=0 >"$LAB_DIR/slow.json"
[ "$(json "d['errors'] == 0 and 10 <= d['requests'] <= 90" <"$LAB_DIR/slow.json")" = True ] || lab_fail "100/s for half a second: $(cat "$LAB_DIR/slow.json")"
has 0 "at most 100/s" ctl disk why blue/fast
has 0 "memory, on worker" ctl disk why blue/fast
more "reads that were timed at the medium" "$(ctl -o json disk latency blue/fast | json "[r['count'] for r in d if r['requests'] == 'read' and r['stage'] == 'medium'][0]")" 10
ctl qos_policy delete blue/slow >/dev/null 2>&1 && lab_fail "a policy that is in use was deleted"
ctl disk set blue/fast qos= >/dev/null

# A snapshot is only read
same "the socket by default" "$(field disk blue/old socket_path)" "/run/softdpu/$LAB-m/blue-old.disk.sock"
load "/run/softdpu/$LAB-m/blue-old.disk.sock" seconds=0.3 warm_up=0 | grep -q '"errors": 0,' || lab_fail "reading a snapshot"
load "/run/softdpu/$LAB-m/blue-old.disk.sock" write seconds=0.3 warm_up=0 >"$LAB_DIR/old.json"
[ "$(json "d['errors'] == d['requests']" <"$LAB_DIR/old.json")" = True ] || lab_fail "a snapshot can be written to"

# Descriptors that make no sense fail their request alone; what is offered behind them in the same queue is carried out
before=$(field disk blue/fast bad_descriptors)
for words in "queues=2" "packed queues=2" chained "packed chained"; do
	# shellcheck disable=SC2086
	load "$LAB_DIR/fast.sock" bad mixed depth=4 $words >"$LAB_DIR/bad.json" || lab_fail "a bad request harms others ($words)"
	before=$((before + $(json "d['bad']" <"$LAB_DIR/bad.json")))
	same "bad descriptors ($words)" "$(field disk blue/fast bad_descriptors)" "$before"
done
[ "$(field disk blue/fast errors)" -ge "$before" ] || lab_fail "bad descriptors are no errors of the disk"
curl -s --unix-socket "$LAB_DIR/metrics.sock" http://dpud/metrics >"$LAB_DIR/metrics"
grep -q "^dpu_disk_bad_descriptors_requests_total{.*fast.*} $before\$" "$LAB_DIR/metrics" || lab_fail "$(grep dpu_disk_bad "$LAB_DIR/metrics")"

# A guest that breaks its rings and takes its memory away harms its own disk alone
pid=$(lab_dpud_pid m)
for words in "queues=2" "packed queues=2" chained; do
	# shellcheck disable=SC2086
	load "$LAB_DIR/fast.sock" hostile depth=4 $words >/dev/null || lab_fail "dpud does not take a hostile guest again ($words)"
done
same "dpud's process" "$(lab_dpud_pid m)" "$pid"
load "$LAB_DIR/fast.sock" mixed queues=4 seconds=0.3 warm_up=0 | grep -q '"errors": 0,' || lab_fail "a disk after a hostile guest"

# kill -9: nothing is lost, nothing is completed twice, reads show what was written last
kills=${DISK_KILLS:-4}
for ring in split packed; do
	words=(listen survive queues=3 depth=16 seconds=2 "kill=$LAB_DIR/m.pid" "kills=$kills" span=33554432)
	[ $ring = split ] || words+=(packed)
	load "$LAB_DIR/data.sock" "${words[@]}" >"$LAB_DIR/survive.json" || lab_fail "kill -9 with $ring rings: $(cat "$LAB_DIR/survive.json")"
	same "errors through kill -9 with $ring rings" "$(json "d['errors']" <"$LAB_DIR/survive.json")" 0
	same "kills" "$(json "d['kills']" <"$LAB_DIR/survive.json")" "$kills"
	echo "disk: $ring rings, kill -9: $(cat "$LAB_DIR/survive.json")"
done
# With requests larger than a device takes at once: what was carried out of them half is carried out again, whole
wait_until 10 "dpud is back" rpc m dpu.version
load "$LAB_DIR/data.sock" listen survive queues=1 depth=2 bytes=25165824 seconds=2 "kill=$LAB_DIR/m.pid" kills=2 >"$LAB_DIR/large.json" ||
	lab_fail "large requests: $(cat "$LAB_DIR/large.json")"
same "errors of large requests" "$(json "d['errors']" <"$LAB_DIR/large.json")" 0
echo "disk: requests of 24 MiB, kill -9: $(cat "$LAB_DIR/large.json")"

# A backing that is away: requests wait, then fail, then work again
wait_until 10 "dpud is back" rpc m dpu.version
cat >"$LAB_DIR/late.yaml" <<-YAML
	version: 1
	media: [{name: late, path: $LAB_DIR/there/late, size: 8388608, cached: true}]
	disks: [{name: late, tenant: blue, medium: late, wait_seconds: 1, backend: vhost_user_server, socket: $LAB_DIR/late.sock}]
YAML
has 4 "done, but medium late is failed: " ctl apply -f "$LAB_DIR/late.yaml"
same "state without backing" "$(field disk blue/late state)" waiting
wait_until 5 "requests fail" state late failing
[[ $(field disk blue/late why) == *"its folder is not there"* ]] || lab_fail "why it fails: $(field disk blue/late why)"
mkdir "$LAB_DIR/there"
wait_until 10 "the disk works" state late ready
load "$LAB_DIR/late.sock" mixed seconds=0.5 warm_up=0 | grep -q '"errors": 0,' || lab_fail "the late disk has errors"
# It is cut off in use: what is behind its end fails at the guest, the medium has counted it, and then the disk does, which knows the new size.
# (It may know it before the guest has asked for anything behind it: then once more.)
some_reads() { [ "$(field disk blue/late reads)" -gt "$reads" ]; }
cut_in_use() {
	local reads cut
	truncate -s 8388608 "$LAB_DIR/there/late"
	wait_until 10 "a disk that is whole" whole
	reads=$(field disk blue/late reads)
	load "$LAB_DIR/late.sock" queues=1 depth=8 seconds=1.5 warm_up=0 >"$LAB_DIR/cut.json" &
	cut=$!
	wait_until 10 "reads before the cut" some_reads
	truncate -s 4096 "$LAB_DIR/there/late"
	wait $cut || true
	more "requests behind the end" "$(json "d['errors']" <"$LAB_DIR/cut.json")" 1
	more "errors of the disk" "$(field disk blue/late errors)" "$(json "d['errors']" <"$LAB_DIR/cut.json")"
	sleep 1 # until all numbers are published
}
whole() { load "$LAB_DIR/late.sock" mixed seconds=0.3 warm_up=0 | grep -q '"errors": 0,'; }
for _ in 1 2 3 4 5; do
	cut_in_use
	if [ "$(field medium late errors)" -ge 1 ]; then break; fi
done
more "errors of the medium" "$(field medium late errors)" 1
[[ $(field disk blue/late statuses) == *"io-error="* ]] || lab_fail "statuses: $(field disk blue/late statuses)"
truncate -s 8388608 "$LAB_DIR/there/late"
wait_until 10 "a disk that is whole again" whole

# A size that changes is seen; the end
ctl volume set blue/data size=134217728 >/dev/null
wait_until 5 "the new size" is 134217728 field disk blue/data size
ctl disk delete blue/data >/dev/null
ctl disk create blue/data volume=data >/dev/null
wait_until 10 "disk data is ready again" state data ready
# With what is behind it, in one transaction
ctl disk create red/other volume=other >/dev/null
ctl volume delete red/other --cascade >/dev/null
has 1 "there is no disk" ctl disk show red/other
echo "disk: ok"
