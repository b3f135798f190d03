# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# How the demonstration speaks: titles, commands as they are typed with what they print, and the table at the end.

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
