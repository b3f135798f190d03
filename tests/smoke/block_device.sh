#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Media on block devices, of 512-byte and of 4,096-byte sectors: a pool, whose volume loses nothing through kill -9, and a disk on the bare device.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin block_device
lab_netns m
load() { timeout -k 5 60 "$lab_build/tests/bench/vhost_blk_load" "$@"; }

# The kernel takes a loop device apart when its last user has closed it.
loop() { # NAME [losetup's options]: prints its path
	truncate -s 64M "$LAB_DIR/$1.img"
	losetup --find --show "${@:2}" "$LAB_DIR/$1.img"
}
[ -c /dev/loop-control ] || lab_skip "no loop devices"
one=$(loop one) || lab_skip "no loop devices"
exec 7<"$one"
losetup -d "$one"
large=$(loop large --sector-size 4096)
exec 6<"$large"
losetup -d "$large"

lab_dpud m m "${small[@]}"
ctl tenant create blue
ok ctl medium create one path="$one"
ok ctl medium create large path="$large"
ln -s "$one" "$LAB_DIR/alias"
has 4 "done, but medium again is failed: $LAB_DIR/alias: medium/one is the same file" ctl medium create again path="$LAB_DIR/alias"
ctl medium delete again
ok ctl pool create p media=one
ok ctl -t blue volume create v pool=p size=32M
ok ctl -t blue disk create v volume=v
ok ctl -t blue disk create bare medium=large backend=vhost_user_server
same "the bare device" "$(field disk blue/bare size)" 67108864
truncate -s 16M "$LAB_DIR/only.img"
only=$(losetup --read-only --find --show "$LAB_DIR/only.img")
exec 5<"$only"
losetup -d "$only"
has 4 "done, but medium only is failed: $only: the block device can only be read: set read_only" ctl medium create only path="$only"
ctl medium delete only
ok ctl medium create only path="$only" read_only=true
has 1 "pool/o.media: only is read-only" ctl pool create o media=only
ctl medium delete only
load "/run/softdpu/$LAB-m/blue-v.disk.sock" listen survive queues=1 depth=8 seconds=2 kills=2 "kill=$LAB_DIR/m.pid" >"$LAB_DIR/survive" ||
	lab_fail "kill -9: $(cat "$LAB_DIR/survive")"
wait_until 10 "the bare disk again" is ready field disk blue/bare state
load "/run/softdpu/$LAB-m/blue-bare.disk.sock" survive queues=1 depth=8 seconds=1 kills=0 >"$LAB_DIR/bare" || lab_fail "the bare device: $(cat "$LAB_DIR/bare")"
more "allocated" "$(stat -c %b "$LAB_DIR/large.img")" 1000
same "errors" "$(field medium one errors) $(field medium large errors)" "0 0"
ok ctl -t blue disk delete v
ok ctl -t blue volume delete v
ok ctl pool delete p
ok ctl medium delete one
same "its blocks are erased" "$(head -c 4096 "$one" | tr -d '\0' | wc -c)" 0
echo "block_device: all as it should be"
