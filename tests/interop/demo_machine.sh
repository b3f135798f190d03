# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What the tests of the demonstrations share. A script that includes this first has a machine of its own, in which what is left can be
# seen.
# shellcheck disable=SC2034 # for machine.sh
machine_guests=1
. "$(dirname "$0")/../lib/machine.sh"
top=$machine_top
out=/mnt/demo-test # not where the demonstration leaves things
mount -t tmpfs none /mnt
mkdir $out
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
	find /run /dev/shm /tmp -mindepth 1
	find /var/lib -path "*/softdpu*"
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
	rm -f "$out/said" # what another one said
	: >"$out/said"
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
