#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Pools, volumes and snapshots with dpuctl: one document makes all; kill -9 at any instant of a loop of creations, snapshots and
# deletions loses nothing that was answered; a file that is missing or in use; a full pool; a pool of another DPU.
#   BLOCK_KILLS=N  how often it is killed (5)
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin block
kills=${BLOCK_KILLS:-5}
lab_netns m
media=$LAB_DIR/media # a tmpfs of the lab's own would need a mount; what counts is that it outlives dpud
mkdir "$media"
start() { lab_dpud m m "${small[@]}" --workers 2 --store-dir "$LAB_DIR/store"; }
state() { field "$1" "$2" state; }
start

# ---- one document
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue, max_volume_bytes: 100G}]
media:
  - {name: m0, path: $media/m0, size: 256M}
  - {name: m1, kind: ram, size: 64M}
pools: [{name: p0, media: [m0]}]
volumes:
  - {name: v, tenant: blue, pool: p0, size: 1G}
  - {name: c, tenant: blue, pool: p0, from_snapshot: s}
  - {name: d, tenant: blue, pool: p0, from_volume: c, size: 2GiB}
snapshots: [{name: s, tenant: blue, volume: v}]
YAML
has 0 "8 created" ctl apply -f "$LAB_DIR/net.yaml"
for volume in v c d; do same "volume $volume" "$(state volume blue/$volume)" ready; done
same "the snapshot" "$(state snapshot blue/s)" ready
same "size of a copy" "$(field volume blue/c size)" 1073741824
has 0 "nothing to change" ctl apply -f "$LAB_DIR/net.yaml"
ctl export >"$LAB_DIR/export.yaml"
has 0 "nothing to change" ctl apply --prune -f "$LAB_DIR/export.yaml"
has 0 "ready" ctl pool list
has 0 "allocated_bytes" ctl pool show p0
has 1 "set shrinkable" ctl volume set blue/v size=512M
has 1 "is used by volume/blue/c" ctl snapshot delete blue/s
has 1 "max_volume_bytes" ctl volume create blue/large pool=p0 size=98G
ok ctl volume set blue/v size=3G
ok ctl volume set blue/c from_snapshot=
ok ctl snapshot delete blue/s
has 1 "is used by pool/p0" ctl medium delete m0
# What cannot be is said where it is asked for: what is another tenant's, one file under two names, a medium that is too small
ctl tenant create red
ctl qos_policy create red/fast cap_iops=1000
ctl snapshot create blue/mine volume=v
has 1 "snapshot mine belongs to another tenant" ctl volume create red/stolen pool=p0 from_snapshot=blue/mine
has 1 "volume v belongs to another tenant" ctl volume create red/stolen pool=p0 from_volume=blue/v
has 1 "qos_policy fast belongs to another tenant" ctl volume set blue/v qos=red/fast
ctl tenant delete red --cascade >/dev/null
ctl snapshot delete blue/mine
has 4 "done, but medium twin is failed: $media/../media/m0: medium/m0 is the same file" ctl medium create twin path="$media/../media/m0"
has 0 "medium/m0 is the same file: each needs its own" ctl medium show twin
has 4 "done, but medium gone is failed: $media/gone: there is no such file or block device: with size a file is made" ctl medium create gone path="$media/gone"
ctl medium delete gone
# A batch goes on behind what does not work; of all ways to make it scripts are told.
printf 'medium create gone path=%s\nmedium create after kind=ram size=1M\n' "$media/gone" >"$LAB_DIR/batch"
has 4 "done, but medium gone is failed: " ctl -f "$LAB_DIR/batch"
ok ctl medium delete after
has 4 "done, but medium gone is failed: " ctl medium set gone labels=a=b
ctl medium delete gone
has 4 "done, but medium gone is failed: " ctl --transaction -f "$LAB_DIR/batch"
ok ctl medium delete after
ctl medium delete gone
has 4 "done, but medium gone is failed: " ctl apply -f - <<<"{version: 1, media: [{name: gone, path: $media/gone}]}"
has 0 "nothing to change" ctl apply -f - <<<"{version: 1, media: [{name: gone, path: $media/gone}]}"
ctl medium delete gone
has 4 "$media/none/gone: it cannot be made: its folder is not there" ctl medium create gone path="$media/none/gone" size=1M
sleep 1.2 # tried again
has 0 "$media/none/gone: it cannot be made: its folder is not there" ctl medium show gone
mkdir "$media/none"
wait_until 5 "the file is made when its folder is there" is ready field medium gone state
ctl medium delete gone
has 4 "huge is failed: size: is more than the " ctl medium create huge kind=ram size=1P
ok ctl medium delete huge
has 1 "x.size: must be given for ram and null" ctl medium create x kind=null
ok ctl medium create nothing kind=null size=1P
same "what keeps nothing takes no memory" "$(field medium nothing state)" ready
has 1 "nothing is of kind null or on one, which keeps nothing" ctl pool create none media=nothing
ok ctl medium delete nothing
has 1 '"1GB" is not a whole number, alone or with K, M, G, T or P (powers of 1024: 64K, 10GiB): give 0 to 9223372036854775807 bytes' ctl volume create blue/gb pool=p0 size=1GB
has 1 "pool/none.media: a pool needs a medium or a remote: name one" ctl pool create none
# What is on a disk already is not formatted over, nor taken into a pool that grows.
truncate -s 64M "$media/old"
printf '\123\357' | dd of="$media/old" bs=1 seek=1080 conv=notrunc status=none
ok ctl medium create old path="$media/old"
has 4 "done, but pool old is failed: medium old holds a file system (ext2) at offset 1080: \`pool format\` erases it" ctl pool create old media=old
ctl pool delete old
ok ctl pool create old media=m1
ctl pool set old media=m1,old
has 0 "medium old cannot be added: medium old holds a file system (ext2) at offset 1080; \`pool grow\` erases it" ctl pool show old
has 1 "grow.medium: this is required: One of its media that it did not take. Example: dpuctl pool grow p0 medium=m1" ctl pool grow old
ctl pool grow old medium=old >/dev/null
more "bytes of both" "$(field pool old bytes)" 110000000
ctl pool delete old
ok ctl pool create old media=old
ctl pool delete old
ctl medium delete old
ctl medium create tiny kind=ram size=64K
has 4 "done, but pool tiny is failed" ctl pool create tiny media=tiny
has 0 "is too small: a pool of this form needs up to" ctl pool show tiny
ctl pool delete tiny
ctl medium delete tiny
ctl medium delete twin

# ---- kill -9 while volumes come and go: what was answered is so
world() { ctl -o json "$1" list | json "' '.join(sorted(row['name'] for row in d))"; }
answered=$LAB_DIR/answered # of each name the last answer: there or gone; "maybe" while there is none
mkdir "$answered"
churn() {
	local i=0 name
	while true; do
		name=x$((i % 7))
		i=$((i + 1))
		if [ "$(cat "$answered/$name" 2>/dev/null)" = there ]; then
			echo maybe >"$answered/$name"
			ctl volume delete "blue/$name" --cascade >/dev/null 2>&1 || return 0
			echo gone >"$answered/$name"
		else
			echo maybe >"$answered/$name"
			ctl volume create "blue/$name" pool=p0 size=8M >/dev/null 2>&1 || return 0
			ctl snapshot create "blue/$name-s" volume="$name" >/dev/null 2>&1 || return 0
			echo there >"$answered/$name"
		fi
	done
}
checked() { # all objects are ready, nothing is left over, and each is as was answered
	wait_until 20 "the pool is ready" is ready state pool p0
	local name wanted
	for name in $(world volume); do
		wait_until 5 "volume $name" is ready state volume "blue/$name"
	done
	same "what nobody knows" "$(field pool p0 unclaimed)" 0
	for name in x0 x1 x2 x3 x4 x5 x6; do
		wanted=$(cat "$answered/$name" 2>/dev/null || echo gone)
		case $wanted in
		there)
			[[ " $(world volume) " == *" $name "* ]] || lab_fail "volume $name was answered and is not there"
			same "snapshot of $name" "$(state snapshot "blue/$name-s")" ready
			;;
		gone) [[ " $(world volume) " != *" $name "* ]] || lab_fail "volume $name was deleted and is there" ;;
		maybe) ctl volume delete "blue/$name" --cascade >/dev/null 2>&1 || true ;;
		esac
		[ "$wanted" = maybe ] && echo gone >"$answered/$name"
	done
	return 0
}
for kill in $(seq "$kills"); do
	churn &
	load=$!
	sleep "0.$((RANDOM % 9))$((RANDOM % 10))"
	lab_dpud_kill m
	wait "$load" || true
	wait_until 30 "dpud again after kill $kill" rpc m dpu.version
	checked
done
count=$(find "$answered" -type f | wc -l)
more "names that the loop got to" "$count" 7

# ---- a file that is shorter than it was, or missing, at the start; a file that another dpud has
lab_dpud_stop m
mv "$media/m0" "$media/away"
cp --sparse=always "$media/away" "$media/m0"
truncate -s 128M "$media/m0"
start
shorter() { ctl pool show p0 | grep -q "medium 'm0', offset 0: the medium is shorter than it was"; }
wait_until 10 "the pool says that its medium is short" shorter
has 0 "pool/p0 is failed: " ctl volume show blue/v
lab_dpud_stop m
rm "$media/m0"
start
wait_until 10 "the medium's state" is failed state medium m0
has 0 "there is no such file" ctl medium show m0
has 0 "there is no such file" ctl pool show p0
same "the volume" "$(state volume blue/v)" waiting
has 0 "pool/p0 is waiting: medium m0: " ctl volume show blue/v
has 1 "p0 is waiting" ctl volume create blue/late pool=p0 size=8M
ok ctl volume delete blue/d
mv "$media/away" "$media/m0"
wait_until 10 "the volume is back" is ready state volume blue/v
same "the deletion in its absence" "$(field pool p0 unclaimed)" 0
lab_dpud n m "${small[@]}" --workers 1 --store-dir "$LAB_DIR/other"
has 4 "done, but medium m0 is opening: $media/m0: another dpud uses it" dpu n medium create m0 path="$media/m0"
for _ in 1 2 3 4 5; do has 0 "another dpud uses it" dpu n medium show m0; done # while it is tried again and again

# A file that was cut to nothing under its pool.
ok ctl medium create cut path="$media/cut" size=64M
ok ctl pool create cut media=cut
truncate -s 0 "$media/cut"
wait_until 5 "the medium is seen to be empty" is 0 field medium cut bytes
has 1 "medium cut: a superblock at its beginning or end cannot be read" ctl pool open cut
has 0 "medium cut: a superblock" ctl pool show cut
more "failed requests" "$(field medium cut errors)" 0
failing() { grep -q 'medium-failing object=medium/cut why="requests fail, the last at offset ' "$LAB_DIR/m.log"; }
wait_until 5 "the log says that the medium fails" failing
ok ctl pool delete cut
ok ctl medium delete cut

# ---- the other dpud gets it, and its pool; nothing is formatted over
ctl pool delete p0 --cascade >/dev/null
ok ctl pool create p0 media=m0
ok ctl volume create blue/keep pool=p0 size=16M
uuid=$(field volume blue/keep uuid)
# An image goes in and comes out again.
mkdir -p "$LAB_DIR/store/images"
head -c 15000000 /dev/urandom >"$LAB_DIR/store/images/a.raw"
ctl volume import-image blue/keep file=a.raw wait=true >/dev/null
ctl volume export-image blue/keep file=b.raw wait=true >/dev/null
cmp -n 15000000 "$LAB_DIR/store/images/a.raw" "$LAB_DIR/store/images/b.raw" || lab_fail "the image has changed on its way"
has 0 "export of b.raw done" ctl volume show blue/keep
# Long work says how far it is, on a terminal; interrupted, it goes on, until it is cancelled.
ctl qos_policy create blue/slow cap_bandwidth=2M
ctl volume create blue/long pool=p0 from_volume=keep qos=slow
rc=0
said=$(timeout --preserve-status -k 5 -s INT 1 script -qec "$lab_build/apps/dpuctl/dpuctl -i $LAB-m volume export-image blue/long file=long.raw wait=true" /dev/null </dev/null) || rc=$?
[[ $said == *"export-image: "*" % of 16 MiB, "*"left"* ]] || lab_fail "no progress (exit $rc): $said"
has 0 "running" ctl volume image-progress blue/long
ctl volume cancel-image blue/long >/dev/null
wait_until 5 "the export has ended" is cancelled eval 'ctl -o json volume image-progress blue/long | json "d[\"state\"]"'
rc=0
timeout --preserve-status -k 5 -s INT 0.5 "$lab_build/apps/dpuctl/dpuctl" -i "$LAB-m" volume export-image blue/long file=long.raw wait=true 2>"$LAB_DIR/interrupted" || rc=$?
same "status of what was interrupted" "$rc" 130
grep -q "the work goes on: dpuctl volume image-progress blue/long says how far it is, dpuctl volume cancel-image blue/long ends it" "$LAB_DIR/interrupted" ||
	lab_fail "what was interrupted says: $(cat "$LAB_DIR/interrupted")"
ctl volume cancel-image blue/long >/dev/null
ctl volume delete blue/long
ctl qos_policy delete blue/slow
has 1 "is there already" ctl volume export-image blue/keep file=b.raw
has 1 "must be a file name" ctl volume import-image blue/keep file=../store.db
lab_dpud_stop m
wait_until 10 "n has the file" is ready eval 'dpu n -o json medium show m0 | json "d[\"state\"]"'
dpu n tenant create blue
has 4 "done, but pool p0 is failed: medium m0 holds a pool already" dpu n pool create p0 media=m0
has 0 "holds a pool already" dpu n pool show p0
dpu n pool adopt p0 >/dev/null
has 1 "from_unclaimed: is not in pool p0: see its unclaimed_names" dpu n volume create blue/kept pool=p0 from_unclaimed=none
dpu n volume create blue/kept pool=p0 from_unclaimed="$uuid"
dpu n pool purge p0 >/dev/null
has 0 "16 MiB" dpu n volume show blue/kept
dpu n pool scrub p0 wait=true >/dev/null
same "scrub" "$(dpu n -o json pool show p0 | json "d['scrub_state']")" "done"
lab_dpud_stop n

# ---- m has it again: what it had in the pool is lost, and said to be; a pool that can hold no more volumes
start
wait_until 10 "the pool is open again" is ready state pool p0
wait_until 5 "the lost volume" is failed state volume blue/keep
has 0 "the pool does not have it" ctl volume show blue/keep
ok ctl volume delete blue/keep
ctl pool purge p0 >/dev/null
ok ctl medium create small kind=ram size=32M
ok ctl pool create tiny media=small
for i in $(seq 1055); do echo "volume create blue/t$i pool=tiny size=1M"; done >"$LAB_DIR/many"
has 1 "tiny can have 1054 volumes and snapshots" ctl --transaction -f "$LAB_DIR/many"
head -n 1054 "$LAB_DIR/many" >"$LAB_DIR/all"
ctl --transaction -f "$LAB_DIR/all" >/dev/null
same "volumes in a full directory" "$(ctl -o json volume list state=ready | json "len(d)")" 1054
has 1 "tiny can have 1054 volumes and snapshots" ctl snapshot create blue/none volume=t1
ctl pool delete tiny --cascade >/dev/null
same "the pool beside it" "$(state pool p0)" ready
same "what is left" "$(ctl -o json volume list | json "len(d)")" 0
lab_end
