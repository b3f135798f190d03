#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A DPU's volume on another DPU's: discovery, two paths, a pool on the remote namespace, kill -9 of either side, a path that goes,
# a host that leaves while there is none, deletion of the namespace.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin nvmf_remote
lab_netns a
inside a ip link set lo up
lab_dpud t a "${small[@]}" --zero-copy 32
cp -r "$lab_top/apps/examples/block" "$LAB_DIR/own"
make -s -C "$LAB_DIR/own" install CPPFLAGS="-I$lab_top/include" MODULE_DIR="$LAB_DIR/modules" >"$LAB_DIR/make.log" 2>&1 || lab_fail "make: $(cat "$LAB_DIR/make.log")"
lab_dpud m a "${small[@]}" --zero-copy 64 --module-dir "$LAB_DIR/modules"
nqn=nqn.2025-01.org.example:far
cat >"$LAB_DIR/target.yaml" <<YAML
version: 1
tenants: [{name: blue}]
media: [{name: disk, path: $LAB_DIR/disk.img, size: 256M, cached: true}, {name: memory, kind: ram, size: 16M}]
pools: [{name: pool, media: [disk]}]
volumes: [{name: one, tenant: blue, pool: pool, size: 128M}]
nvmf_listeners: [{name: first, address: 127.0.0.1}, {name: second, address: "::1", port: 4421}]
nvmf_subsystems: [{name: far, tenant: blue, nqn: "$nqn", allow_any_host: true}]
nvmf_namespaces: [{name: one, tenant: blue, subsystem: far, volume: one}, {name: memory, tenant: blue, subsystem: far, medium: memory}]
YAML
dpu t apply "$LAB_DIR/target.yaml" >/dev/null
far="addresses=127.0.0.1,[::1]:4421 nqn=$nqn keep_alive=1000 quiesce=100"

# ---- what makes no sense, and what is not there
has 1 "must be an IP address with an optional port" ctl nvmf_remote create x addresses=host:4420 nqn=$nqn
has 1 "must be a name of 1 to 223 bytes" ctl nvmf_remote create x addresses=127.0.0.1 "nqn=two words"
has 1 "must be an NVMe qualified name" ctl nvmf_remote create x addresses=127.0.0.1 nqn=$nqn host_nqn=nqn.2025-13.x:us
ok ctl nvmf_remote create nobody addresses=127.0.0.1:1 nqn=$nqn
refused() { [[ $(field nvmf_remote nobody why) == *refused* ]]; }
wait_until 10 "why it is not there" refused
ok ctl nvmf_remote delete nobody
ctl -o json nvmf_remote discover address=127.0.0.1:4420 | grep -q "$nqn" || lab_fail "discovery does not know $nqn"

# ---- two paths, a pool on one namespace
# shellcheck disable=SC2086
ok ctl nvmf_remote create one $far nsid=1
# shellcheck disable=SC2086
ok ctl nvmf_remote create memory $far nsid=2 header_digest=true data_digest=true
wait_until 10 "two paths" is 2 field nvmf_remote one live_paths
wait_until 10 "two paths with digests" is 2 field nvmf_remote memory live_paths
same "size" "$(field nvmf_remote one bytes)" 134217728
same "our name" "$(field nvmf_remote one connects_as)" "nqn.2014-08.org.nvmexpress:uuid:$(field nvmf_remote one uuid)"
ok ctl tenant create blue
ok ctl pool create p remotes=one
ok ctl -t blue volume create v pool=p size=32M
ok ctl -t blue disk create d volume=v
ok ctl -t blue disk create far remote=memory backend=vhost_user_server
has 1 "memory is used by disk/blue/far" ctl pool create q remotes=memory
wait_until 10 "the disk is ready" is ready field disk blue/d state
load() { timeout -k 5 60 "$lab_build/tests/bench/vhost_blk_load" "$@"; }
load "/run/softdpu/$LAB-m/blue-far.disk.sock" mixed depth=8 seconds=0.5 warm_up=0 | grep -q '"errors": 0,' || lab_fail "I/O with digests"
more "requests" "$(field nvmf_remote memory requests)" 50

# ---- kill -9 of ours, then of the target: nothing is lost, nothing completes twice
survive() { load "/run/softdpu/$LAB-m/blue-d.disk.sock" listen survive queues=1 depth=8 span=8388608 "kill=$LAB_DIR/m.pid" "$@" >"$LAB_DIR/survive"; }
survive seconds=2 kills=2 || lab_fail "kill -9 of the initiator: $(cat "$LAB_DIR/survive")"
survive seconds=4 kills=0 &
load=$!
sleep 1
lab_dpud_kill t
wait $load || lab_fail "kill -9 of the target: $(cat "$LAB_DIR/survive")"
more "lost paths" "$(field nvmf_remote one path_losses)" 2
wait_until 20 "two paths again" is 2 field nvmf_remote one live_paths

# ---- a path goes and comes back
ok dpu t nvmf_listener delete second
wait_until 10 "one path" is 1 field nvmf_remote one live_paths
same "state" "$(field nvmf_remote one state)" ready
ok dpu t nvmf_listener create second address=::1 port=4421
wait_until 20 "the path is back" is 2 field nvmf_remote one live_paths

# ---- its addresses change under I/O: no path is lost
losses=$(field nvmf_remote one path_losses)
survive seconds=2 kills=0 &
load=$!
for addresses in "[::1]:4421" "[::1]:4421,127.0.0.1" 127.0.0.1; do
	ok ctl nvmf_remote set one addresses="$addresses"
	sleep 0.3
	wait_until 10 "paths to $addresses" is "$(tr -cd , <<<"$addresses," | wc -c)" field nvmf_remote one live_paths
done
wait $load || lab_fail "I/O while addresses changed: $(cat "$LAB_DIR/survive")"
same "lost paths" "$(field nvmf_remote one path_losses)" "$losses"
ok ctl nvmf_remote set one addresses="127.0.0.1,[::1]:4421"
wait_until 10 "both paths" is 2 field nvmf_remote one live_paths
shown=$(ctl nvmf_remote show one | grep -A1 ^paths)
[[ $shown =~ ^paths\ +127\.0\.0\.1:4420:\ live,\ optimized,\ controller\ [0-9]+,\ 1\ queue\ of\ 127,.*$'\n'\ +"[::1]:4421: live" ]] || lab_fail "paths are shown as $shown"

# ---- no path: a disk and a namespace on a volume go at once, with what they have under way; the pool lacks nothing afterwards
ok ctl nvmf_listener create own address=127.0.0.1 port=4430
ok ctl nvmf_subsystem create blue/own "nqn=$nqn.own" allow_any_host=true
ok ctl nvmf_namespace create blue/v subsystem=own volume=v
lab_background inside a timeout -k 5 60 "$lab_build/tests/bench/nvmf_load" read 127.0.0.1 4430 "$nqn.own" depth=32 seconds=50 >/dev/null
host=$lab_last
lab_background inside a timeout -k 5 60 "$lab_build/tests/bench/vhost_blk_load" "/run/softdpu/$LAB-m/blue-d.disk.sock" listen mixed depth=8 seconds=50 >/dev/null
guest=$lab_last
busy() { [ "$(field nvmf_namespace blue/v reads)" -gt 100 ] && [ "$(field disk blue/d reads)" -gt 100 ]; }
wait_until 10 "reads of both" busy
ok ctl nvmf_remote set one addresses=127.0.0.9
wait_until 10 "it is said that requests wait" is "no path is connected, requests wait for one" field nvmf_remote one why
sleep 0.3
left=$(date +%s%3N)
ok ctl nvmf_namespace delete blue/v
took=$(($(date +%s%3N) - left))
ok ctl disk delete blue/d
wait_until 10 "the volume is let go" is 0 field volume blue/v attachments
echo "nvmf_remote: without a path a namespace is deleted in $took ms, and a disk after $(($(date +%s%3N) - left))"
kill "$host" "$guest" 2>/dev/null || true
ctl nvmf_subsystem delete blue/own --cascade >/dev/null
ok ctl nvmf_listener delete own
ok ctl nvmf_remote set one addresses="127.0.0.1,[::1]:4421"
wait_until 20 "both paths are there again" is 2 field nvmf_remote one live_paths
same "why" "$(field nvmf_remote one why)" None
ok ctl disk create blue/d volume=v
survive seconds=1 kills=0 || lab_fail "I/O after that: $(cat "$LAB_DIR/survive")"
same "damaged blocks" "$(ctl -o json pool scrub p wait=true | json "d['damaged']")" 0
same "errors" "$(field pool p medium_errors) $(field pool p integrity_errors)" "0 0"

# ---- a host of ours leaves while what it reads has no path: its requests leave with it, through a cap and a module, not with the loss time-out
# shellcheck disable=SC2086
ok ctl nvmf_remote create shown $far nsid=2
ok ctl medium create shown kind=module module=flaky arguments=every=0 below_remote=shown
ok ctl qos_policy create blue/fast cap_iops=100000
ok ctl nvmf_listener create own address=127.0.0.1 port=4430
ok ctl nvmf_subsystem create blue/own "nqn=$nqn.own" allow_any_host=true
ok ctl nvmf_namespace create blue/own subsystem=own medium=shown qos=fast
lab_background inside a timeout -k 5 60 "$lab_build/tests/bench/nvmf_load" read 127.0.0.1 4430 "$nqn.own" depth=32 seconds=50 >/dev/null
host=$lab_last
some_reads() { [ "$(field nvmf_namespace blue/own reads)" -gt 100 ]; }
wait_until 10 "reads of a host" some_reads
ok ctl nvmf_remote set shown addresses=127.0.0.9
wait_until 10 "it has no path" is "no path is connected, requests wait for one" field nvmf_remote shown why
stands() { local was; was=$(field nvmf_namespace blue/own reads) && sleep 0.3 && [ "$(field nvmf_namespace blue/own reads)" = "$was" ]; }
wait_until 10 "its requests wait" stands
left=$(date +%s%3N)
kill "$host"
wait_until 10 "its connections are gone" is 0 field nvmf_subsystem blue/own connections
echo "nvmf_remote: a host with 32 requests that wait for a path is gone after $(($(date +%s%3N) - left)) ms"
ctl nvmf_subsystem delete blue/own --cascade >/dev/null
ok ctl nvmf_listener delete own
ok ctl medium delete shown
ok ctl nvmf_remote delete shown

# ---- paths that its discovery controller tells of
ok ctl nvmf_remote create found discovery=127.0.0.1 nqn=$nqn nsid=1
wait_until 10 "paths that were found" is 2 field nvmf_remote found live_paths
same "discovery" "$(field nvmf_remote found discovered)" "connected, knows 2 paths"
ok dpu t nvmf_listener create third address=127.0.0.2
wait_until 10 "one more" is 3 field nvmf_remote found live_paths
ok dpu t nvmf_listener delete third
wait_until 10 "one less" is 2 field nvmf_remote found live_paths
wait_until 10 "it is known" is "connected, knows 2 paths" field nvmf_remote found discovered
ok ctl nvmf_remote delete found
has 1 "give addresses of the subsystem, or discovery" ctl nvmf_remote create x nqn=$nqn

# ---- the namespace is deleted
ok dpu t -t blue nvmf_namespace delete memory
wait_until 10 "the namespace is gone" is gone field nvmf_remote memory state
ok ctl -t blue disk delete far
ok ctl nvmf_remote delete memory
echo "nvmf_remote: all as it should be"
