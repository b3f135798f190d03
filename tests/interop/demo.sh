#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# ./run demo, wholly: every scene, kept, refused a second time, entered by ./run shell, stopped; interrupted; failing. Each time nothing is left.
# It has a machine of its own (processes, network, /run, /tmp, …), in which what is left can be seen.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(id -u)" -eq 0 ] || { echo "skipped: not root"; exit 77; }
[ -c /dev/net/tun ] || { echo "skipped: no /dev/net/tun"; exit 77; }
if [ -z "${IN_OWN_MACHINE:-}" ]; then
	made=
	[ -d /var/lib/softdpu ] || { mkdir /var/lib/softdpu; made=1; }
	status=0
	IN_OWN_MACHINE=1 unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private "$0" || status=$?
	[ -z "$made" ] || rmdir --ignore-fail-on-non-empty /var/lib/softdpu
	exit $status
fi
for place in /run /var/lib/softdpu /dev/shm /tmp; do mount -t tmpfs none $place; done
ip link set lo up
out=$(mktemp -d "${MESON_BUILD_ROOT:-$top/build}/demo-test.XXXXXX")
trap 'rm -rf "$out"' EXIT
export NO_COLOR=1

fail() {
	echo "FAILED: $*" >&2
	exit 1
}
state() {
	local item text
	for item in /proc/[0-9]*; do
		text=$(tr '\0' ' ' 2>/dev/null <"$item/cmdline") || continue
		[[ -z $text || $text == *demo.sh* ]] || echo "${item#/proc/} $text"
	done
	ip -o link | cut -d' ' -f2
	find /run /var/lib/softdpu /dev/shm /tmp -mindepth 1
}
state >"$out/before"
unchanged() { # WHEN
	local end=$((SECONDS + 10))
	until state >"$out/after" && diff "$out/before" "$out/after" >"$out/left"; do
		[ $SECONDS -lt $end ] || fail "something is left $1: $(cat "$out/left")"
		sleep 0.2
	done
}
# has STATUS WORDS COMMAND...: the command ends with that status and its output has the words.
has() {
	local status=$1 words=$2 got=0
	shift 2
	"$@" >"$out/said" 2>&1 </dev/null || got=$?
	[ $got = "$status" ] || fail "'$*' ended with $got, not $status: $(cat "$out/said")"
	[ -z "$words" ] || grep -qF -- "$words" "$out/said" || fail "'$*' does not say '$words': $(cat "$out/said")"
}
demo() { bash "$top/demo/demo" "$@"; }

has 1 "there is none" demo --stop
has 1 "unknown option '--kepe'" demo --kepe

# ---- wholly, and kept
has 0 "It is kept" demo --keep
cp "$out/said" "$out/whole"
for what in "three VMs up" "DHCPv4, DHCPv6, router advertisements" "blue across the overlay by vxlan" "blue across the overlay by geneve" \
	"red reaches blue" "port 80 closed, then opened by a rule" "packets of a flow, and to policy" "transfer through kill -9 of dpud" \
	"longest silence of a ping through it" "CPU of an idle dpud" "memory (RSS) of dpud" "whole demonstration"; do
	sed -n '/^What was shown/,$p' "$out/whole" | grep -qF "  $what" || fail "the table has no '$what': $(cat "$out/whole")"
done
has 1 "one is kept already: ./run shell enters it, ./run demo --stop ends it" demo

# ---- the shell inside it
has 0 "2 packets received" "$top/run" shell on blue-web ping -c 2 10.0.1.10
has 3 "" "$top/run" shell on blue-web exit 3
has 2 "there is no VM 'green'" "$top/run" shell on green true
has 0 "2 received" "$top/run" shell box ping -q -c 2 10.0.0.10
has 0 "instance demo-a" "$top/run" shell dpuctl version
has 0 "instance demo-b" bash -c "printf 'use b\ndpuctl version\nexit\n' | '$top/run' shell"
has 0 "vnic" bash -c "printf 'complete -p dpuctl\ndpuctl __complete vni\nexit\n' | '$top/run' shell"

has 0 "stopped; nothing is left of it" demo --stop
unchanged "after --stop"

# in_background WORDS: plays the demonstration until it says that.
in_background() {
	env --default-signal=INT setsid bash "$top/demo/demo" >"$out/said" 2>&1 </dev/null &
	player=$!
	local end=$((SECONDS + 60))
	until grep -qF "$1" "$out/said"; do
		[ $SECONDS -lt $end ] || fail "the demonstration does not say '$1': $(cat "$out/said")"
		sleep 0.1
	done
}
ended() { # STATUS
	local got=0
	wait $player || got=$?
	[ $got = "$1" ] || fail "it ended with $got, not $1: $(cat "$out/said")"
}

# ---- interrupted, at the terminal and by its process id
in_background "three VMs boot"
has 1 "one is running already, process $player" demo
sleep 1
kill -INT -- -$player
ended 130
unchanged "after an interrupt"
in_background "net-b.yaml"
kill -TERM $player
ended 143
unchanged "after SIGTERM"

# ---- failing: a VM dies
in_background "three VMs boot"
for _ in $(seq 300); do [ -s /run/softdpu-demo/red-web.pid ] && break; sleep 0.1; done
kill -9 "$(cat /run/softdpu-demo/red-web.pid)"
ended 1
grep -q "a VM does not boot" "$out/said" || fail "it does not say what failed: $(cat "$out/said")"
unchanged "after a failure"

# ---- killed: the next one cleans up
in_background "three VMs boot"
kill -9 $player
wait $player 2>/dev/null || true
in_background "Two DPUs"
grep -q "cleaning up after a demo that was killed" "$out/said" || fail "it does not say that it cleans up"
kill -INT -- -$player
ended 130
unchanged "after the cleaning"
echo "demo: all scenes, kept, entered, stopped, interrupted, failing, killed"
sed -n '/^What was shown/,/^It is kept/p' "$out/whole" | sed '$d'
