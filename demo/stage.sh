# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# How a demonstration speaks: titles, commands as they are typed with what they print, and the table at the end; and what it measures.

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$'\033[1m' dim=$'\033[2m' green=$'\033[32m' plain=$'\033[0m'
else
	bold='' dim='' green='' plain=''
fi
shown=()

die() {
	echo "$*" >&2
	exit 1
}
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
note() { printf '  %s\n' "$*"; }

# typed LINE: shows a command line, runs it, shows what it prints, which is also in $printed; its status is that of the line.
typed() {
	local status=0
	printf '  %s$ %s%s\n' "$dim" "$1" "$plain"
	printed=$(eval "$1" 2>&1) || status=$?
	[ -z "$printed" ] || printf '%s\n' "$printed" | sed 's/^/    /'
	return $status
}

expect() { # WORDS WHAT: what the last typed command printed has these words
	[[ $printed == *"$1"* ]] || lab_fail "$2: no '$1' in: $printed"
}

# show WHAT RESULT: a result, for the table at the end, too.
show() {
	shown+=("$1|$2")
	printf '  %s✓%s %s: %s\n' "$green" "$plain" "$1" "$2"
}
show_table() {
	title "What was shown"
	printf '%s\n' "${shown[@]}" | awk -F'|' '{printf "  %-44s %s\n", $1, $2}'
}

now() { date +%s%N; }
since() { # moment: seconds since then, with one digit
	local tenths=$((($(now) - $1) / 100000000))
	echo "$((tenths / 10)).$((tenths % 10))"
}
milliseconds_since() { echo $((($(now) - $1) / 1000000)); }

# Nanoseconds that all threads of a process have run.
run_time() { cat /proc/"$1"/task/*/schedstat | awk '{sum += $1} END{printf "%d", sum}'; }
# Of a core, in percent with two digits, that took so many nanoseconds of so many.
percent_of() { # nanoseconds, of nanoseconds
	local parts=$(($1 * 10000 / $2))
	printf '%d.%02d' $((parts / 100)) $((parts % 100))
}

# "5 of 5, 1.234 ms" of a ping's last lines, busybox' or iputils'.
ping_result() { awk -F'[ /=]+' '/packet loss/{sent=$1; got=$4} /^(rtt|round-trip)/{average=($2 == "min") ? $6 : $7} END{printf "%s of %s, %.1f ms", got, sent, average}'; }
# Milliseconds between the two answers that are furthest apart, of what ping -D has printed.
longest_silence() { # FILE
	awk -F'[][]' '/bytes from/{if (last && $2 - last > gap) gap = $2 - last; last = $2} END{printf "%.0f", gap * 1000}' "$1"
}

# What demo/receive has got until now.
received() { cat "$LAB_DIR/progress" 2>/dev/null || echo 0; }
received_beyond() { [ "$(received)" -gt "$1" ]; }
# Resident memory of a process in MiB.
resident() { awk '/^VmRSS/{print int($2 / 1024)}' "/proc/$1/status"; }
