# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What the tests of the demonstrations share. A script that includes this first runs anew in a machine of its own (processes, network,
# /run, /tmp, …), in which what is left can be seen.
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
		[[ -z $text || $text == *"${0##*/}"* ]] || echo "${item#/proc/} $text"
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
demo() { bash "$top/demo/demo" "${demo_arguments[@]}" "$@"; }

# in_background WORDS: plays the demonstration until it says that.
in_background() {
	env --default-signal=INT setsid bash "$top/demo/demo" "${demo_arguments[@]}" >"$out/said" 2>&1 </dev/null &
	player=$!
	local end=$((SECONDS + 60))
	until grep -qF "$1" "$out/said"; do
		[ $SECONDS -lt $end ] || fail "the demonstration does not say '$1': $(cat "$out/said")"
		sleep 0.1
	done
}
ended() { # STATUS
	local got=0
	wait "$player" || got=$?
	[ $got = "$1" ] || fail "it ended with $got, not $1: $(cat "$out/said")"
}

# in_table WHAT...: the table at the end of the output kept in $out/whole has these rows.
in_table() {
	local what
	for what in "$@"; do
		sed -n '/^What was shown/,$p' "$out/whole" | grep -qF "  $what" || fail "the table has no '$what': $(cat "$out/whole")"
	done
}

# Interrupted at the terminal and by its process id, failing, killed, each at a moment that its output tells: nothing is left.
ends_cleanly() { # FIRST-WORDS EARLY-WORDS VM: what it says at first, before VMs boot, and a VM of its
	in_background "VMs boot"
	has 1 "one is running already, process $player" demo
	sleep 1
	kill -INT -- -"$player"
	ended 130
	unchanged "after an interrupt"
	in_background "$2"
	kill -TERM "$player"
	ended 143
	unchanged "after SIGTERM"

	in_background "VMs boot"
	for _ in $(seq 300); do [ -s "/run/softdpu-demo/$3.pid" ] && break; sleep 0.1; done
	kill -9 "$(cat "/run/softdpu-demo/$3.pid")"
	ended 1
	grep -q "a VM does not boot" "$out/said" || fail "it does not say what failed: $(cat "$out/said")"
	unchanged "after a failure"

	in_background "VMs boot"
	kill -9 "$player"
	wait "$player" 2>/dev/null || true
	in_background "$1"
	grep -q "cleaning up after a demo that was killed" "$out/said" || fail "it does not say that it cleans up"
	kill -INT -- -"$player"
	ended 130
	unchanged "after the cleaning"
}
