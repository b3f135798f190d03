#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A back end from out of the tree, and filters on it: the examples compiled elsewhere with installed headers alone, loaded, used by a
# pool that survives a kill -9 of dpud; what is not to be trusted, not there or not right is refused with its name.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin module
root=$LAB_DIR/root modules=$LAB_DIR/modules
DESTDIR=$root meson install -C "$lab_build" --no-rebuild --tags devel >"$LAB_DIR/install.log" 2>&1 || lab_fail "meson install: $(tail -5 "$LAB_DIR/install.log")"
headers=$(dirname "$(dirname "$(find "$root" -name block_module.h)")")
cp -r "$lab_top/apps/examples/block" "$LAB_DIR/own"
make -s -C "$LAB_DIR/own" install CPPFLAGS="-I$headers" MODULE_DIR="$modules" >"$LAB_DIR/make.log" 2>&1 || lab_fail "make: $(cat "$LAB_DIR/make.log")"

lab_netns a
lab_dpud m a "${small[@]}" --module-dir "$modules"
truncate -s 64M "$LAB_DIR/disk"
ok ctl tenant create blue
ok ctl medium create mine kind=module module=threadfile arguments="$LAB_DIR/disk"
same "size" "$(field medium mine bytes)" 67108864
ok ctl medium create inverted kind=module module=invert below=mine
ok ctl medium create passed kind=module module=flaky below=inverted arguments=every=0
ok ctl pool create p media=passed
ok ctl volume create blue/v pool=p size=16777216
same "the volume" "$(field volume blue/v state)" ready
grep -q "a module says.*text=\"opened\"" "$LAB_DIR/m.log" || lab_fail "the log has no word of the module: $(tail -5 "$LAB_DIR/m.log")"

lab_dpud_kill m
wait_until 30 "dpud answers again" rpc m dpu.version
wait_until 20 "the volume is back" is ready field volume blue/v state
checkpoint=$(field pool p generation)
[ -n "$checkpoint" ] || lab_fail "the pool says nothing"

has 1 "is used by pool/p" ctl medium delete passed
has 1 "is used by medium/inverted" ctl medium delete mine
has 1 "mine is used by medium/inverted" ctl medium create x kind=module module=invert below=mine
ok ctl medium create void kind=null size=4194304
ok ctl medium create turned kind=module module=invert below=void
has 1 "turned is of kind null or on one, which keeps nothing" ctl pool create x media=turned
printf 'medium delete turned\nmedium delete void\n' >"$LAB_DIR/void"
has 0 "2 deleted" ctl --transaction -f "$LAB_DIR/void"
has 0 "nothing to change" eval 'ctl export | ctl apply --prune -f -'

# ---- what cannot be: said in its state, and tried again
why() { # MEDIUM WORDS
	wait_until 10 "medium $1 has been tried" is failed field medium "$1" state
	[[ $(field medium "$1" why) == *"$2"* ]] || lab_fail "medium $1: $(field medium "$1" why), without '$2'"
}
ctl medium create none kind=module module=nothing-there >/dev/null 2>&1 || true
why none "nothing-there.so: No such file or directory"
ctl medium create wrong kind=module module=threadfile arguments=relative >/dev/null 2>&1 || true
why wrong "module threadfile: its arguments must be the absolute path of a file"
ctl medium create filter kind=module module=invert >/dev/null 2>&1 || true
why filter "invert is a filter: it needs a medium to sit on"
ctl medium create below kind=ram size=4194304
ctl medium create none-filter kind=module module=threadfile arguments="$LAB_DIR/disk" below=below >/dev/null 2>&1 || true
why none-filter "threadfile is no filter: it sits on no other medium"
# Compiled for another version of the interface.
cp -r "$headers" "$LAB_DIR/newer"
sed -i 's/DPU_BLOCK_MODULE_VERSION = 1/DPU_BLOCK_MODULE_VERSION = 2/' "$LAB_DIR/newer/dpu/block_module.h"
make -s -C "$LAB_DIR/own" -B invert.so CPPFLAGS="-I$LAB_DIR/newer"
install -m 644 "$LAB_DIR/own/invert.so" "$modules/newer.so"
ok ctl medium delete none-filter
ctl medium create newer kind=module module=newer below=below >/dev/null 2>&1 || true
why newer "newer.so was made for version 2.2 of the interface, and this dpud has 1.2"
cp "$modules/threadfile.so" "$modules/open.so"
chmod 666 "$modules/open.so"
ctl medium create open kind=module module=open arguments="$LAB_DIR/disk" >/dev/null 2>&1 || true
why open "can be written by others than its owner"
has 1 "must be given for a module" ctl medium create x kind=module
has 1 "medium/x.module: \"../x\" is not valid: it must be a word of a-z, 0-9, '-' and '_', the name of a file without its .so" ctl medium create x kind=module module=../x
has 1 "goes with kind module only" ctl medium create x kind=ram size=1048576 module=threadfile
# Put right, it is taken up without being told.
chmod 644 "$modules/open.so"
truncate -s 1M "$LAB_DIR/other"
ok ctl medium delete open
ok ctl medium create open kind=module module=open arguments="$LAB_DIR/other"
same "the other" "$(field medium open state)" ready
ok ctl medium delete open
# All at once, what is below last, whatever the order.
printf 'volume delete blue/v\npool delete p\nmedium delete passed\nmedium delete inverted\nmedium delete mine\n' >"$LAB_DIR/all"
has 0 "5 deleted" ctl --transaction -f "$LAB_DIR/all"
same "media that are left" "$(ctl -o json medium list | json "' '.join(sorted(row['name'] for row in d))")" "below filter newer none wrong"
