#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Exports and purges that end in the middle, on a medium that is slow when the test wants it: cancelled, cut short by a kill -9 or a stop. No
# file looks whole that is not, the pool is sound and its volumes are used at once, a purge goes on where it is begun again, and all comes back.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin cut
lab_netns m
images=$LAB_DIR/store/images
mkdir -p "$images" "$LAB_DIR/modules"
install -m 644 "$lab_build/tests/smoke/pace.so" "$LAB_DIR/modules"
start() { lab_dpud m m "${small[@]}" --workers 1 --store-dir "$LAB_DIR/store" --module-dir "$LAB_DIR/modules"; }
pace() { echo "$1 $2" >"$LAB_DIR/new" && mv "$LAB_DIR/new" "$LAB_DIR/pace"; } # READ-MS FLUSH-MS
stuck=1000000000
again() { # HOW: dpud is stopped or killed, and all is ready again
	if [ "$1" = kill ]; then
		before=$(lab_dpud_pid m)
		lab_dpud_kill m
		wait_until 10 "it is killed" lab_gone "$before"
		pace 0 0
	else
		lab_dpud_stop m && start
	fi
	wait_until 30 "dpud again" rpc m dpu.version
	wait_until 20 "the pool again" is ready field pool p state
}
progress() { ctl -o json "$1" "$2" "$3" | json "d['$4']"; } # CLASS ACTION OBJECT FIELD
begun() { [ "$(progress "$@" state)" = running ] && [ "$(progress "$@" "done")" -ge "$least" ]; }
state() { progress "$1" "$2" "$3" state; }
sound() { # all counts of the pool are what its maps say, and every block is what its CRC says
	same "counts that were wrong" "$(ctl -o json pool repair p wait=true | json "d['damaged']")" 0
	wait_until 20 "the pool again" is ready field pool p state
	same "damaged blocks" "$(ctl -o json pool scrub p wait=true | json "d['damaged']")" 0
}
start
cat >"$LAB_DIR/pool.yaml" <<YAML
version: 1
tenants: [{name: blue}]
media:
  - {name: m0, path: $LAB_DIR/m0, size: 256M}
  - {name: slow, kind: module, module: pace, arguments: $LAB_DIR/pace, below: m0}
pools: [{name: p, media: [slow]}]
YAML
has 0 "4 created" ctl apply -f "$LAB_DIR/pool.yaml"
ok ctl volume create blue/v pool=p size=32M
head -c 32M /dev/urandom >"$images/in.raw"
ctl volume import-image blue/v file=in.raw wait=true >/dev/null

# ---- an export: its file has its name when it is whole
only() { same "files in the image directory" "$(cd "$images" && find . -type f | LC_ALL=C sort | xargs)" "$*"; }
least=$((2 << 20))
export_begin() { # FILE ARGUMENT...: it is in its middle, and stays there
	pace 100 0
	ctl volume export-image blue/v file="$1" "${@:2}" >/dev/null
	wait_until 30 "the export is under way" begun volume image-progress blue/v
	pace $stuck 0
}
export_begin out.raw
[ -n "$(find "$images" -name '.*')" ] || lab_fail "an export is under way, and no file"
ctl volume cancel-image blue/v >/dev/null
pace 0 0
wait_until 10 "it is cancelled" is cancelled state volume image-progress blue/v
same "why" "$(progress volume image-progress blue/v why)" "export of out.raw cancelled"
only ./in.raw
for file in out.raw out.qcow2; do
	export_begin $file
	again kill
	same "export after kill" "$(state volume image-progress blue/v)" never
	only ./in.raw
done
export_begin out.raw
pace 100 0
again stop
only ./in.raw
pace 0 0
ctl volume export-image blue/v file=out.raw wait=true >/dev/null
cmp "$images/in.raw" "$images/out.raw"
export_begin out.raw overwrite=true
again kill
only ./in.raw ./out.raw
cmp "$images/in.raw" "$images/out.raw" || lab_fail "an export that was cut short has touched what it was to replace"
sound

# ---- a purge: what is left can be purged again, or used
for i in $(seq 50); do echo "volume create blue/c$i pool=p from_volume=v"; done >"$LAB_DIR/clones"
ctl --transaction -f "$LAB_DIR/clones" >/dev/null
lab_dpud_stop m
rm -r "$LAB_DIR/store"
mkdir -p "$images"
start
ctl apply -f "$LAB_DIR/pool.yaml" >/dev/null 2>&1 || true
has 0 "holds a pool already" ctl pool show p
ctl pool adopt p >/dev/null
left=51
same "unclaimed" "$(field pool p unclaimed)" $left
ok ctl volume create blue/n pool=p size=32M
head -c 1M /dev/urandom >"$images/small.raw"
least=1
purge_begin() { # COMMAND...: so much is purged that some are left; it stays there
	pace 0 300
	"$@"
	wait_until 30 "the purge is under way" begun pool purge-progress p
}
purge_ended() { # STATE: of so many some are left, and nothing of what was not purged is gone
	same "the purge" "$(state pool purge-progress p)" "$1"
	now=$(field pool p unclaimed)
	[[ $now -gt 0 && $now -lt $left ]] || lab_fail "$now of $left volumes are left after a purge that is $1"
	left=$now
	ctl volume import-image blue/n file=small.raw wait=true >/dev/null
	ctl volume export-image blue/n file=check.raw overwrite=true wait=true >/dev/null
	cmp -n 1048576 "$images/small.raw" "$images/check.raw"
}
interrupted() {
	rc=0
	said=$(timeout -k 5 30 script -qec "$dpuctl -i $LAB-m pool purge p wait=true" /dev/null < <(sleep 1.5 && printf '\003' && sleep 3)) || rc=$?
	[[ $said == *"the work goes on: dpuctl pool purge-progress p says how far it is, dpuctl pool purge-cancel p ends it"* ]] || lab_fail "interrupted: $said"
	[[ $said == *"purge: "*" % of 51 volumes"* ]] || lab_fail "no progress: $said"
	same "status after Ctrl-C" "$rc" 130
}
purge_begin interrupted
has 1 "it is being purged already" ctl pool purge p
ok ctl volume create blue/meanwhile pool=p size=1M
same "it goes on" "$(state pool purge-progress p)" running
pace 0 $stuck
ctl pool purge-cancel p >/dev/null
pace 0 0
wait_until 10 "it is cancelled" is cancelled state pool purge-progress p
has 1 "it is not being purged" ctl pool purge-cancel p
same "what is left" "$(($(progress pool purge-progress p purged) + $(field pool p unclaimed)))" $left
purge_ended cancelled
sound
waiting() {
	timeout 60 "$dpuctl" -i "$LAB-m" pool purge p >"$LAB_DIR/said" 2>&1 &
	asked=$!
}
purge_begin waiting
ctl pool purge-cancel p >/dev/null
rc=0
wait "$asked" || rc=$?
same "status of who waited" "$rc" 1
grep -q "cancelled" "$LAB_DIR/said" || lab_fail "who waited for the purge: $(cat "$LAB_DIR/said")"
pace 0 0
purge_ended cancelled
for how in kill stop; do
	purge_begin ctl pool purge p wait=false >/dev/null
	[ $how = stop ] || pace 0 $stuck
	again $how
	pace 0 0
	purge_ended never
	sound
done
ctl pool purge p >/dev/null
same "unclaimed" "$(field pool p unclaimed)" 0
has 0 "done" ctl pool purge-progress p
same "volumes that are objects" "$(ctl -o json volume list state=ready | json "len(d)")" 2
wait_until 10 "only what they have is allocated" is 1048576 field pool p allocated_bytes
sound
echo "block_cut: all as it should be"
