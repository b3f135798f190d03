# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # for those who source this
# What the smoke tests of dpud and dpuctl share: one dpud "m" in a laboratory (tests/lib/lab.sh) on a machine of its own, and comparing what dpuctl prints.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/machine.sh"
. "$(dirname "${BASH_SOURCE[0]}")/../lib/lab.sh"

dpud=$lab_build/src/daemon/dpud
dpuctl=$lab_build/apps/dpuctl/dpuctl
export DPUCTL_SCHEMA=$lab_build/src/daemon/schema.json
unset DPUCTL_INSTANCE DPUCTL_SOCKET DPUCTL_TENANT

ctl() { dpu m "$@"; }
small=(--huge-pages off --memory 64)

# check STATUS OUTPUT COMMAND...: the command ends with that status and prints exactly that, on both outputs together.
check() {
	local status=$1 output=$2 got=0 text
	shift 2
	text=$("$@" 2>&1) || got=$?
	[ "$got" = "$status" ] || lab_fail "'${*:1}' ended with $got, not $status: $text"
	[ "$text" = "$output" ] || lab_fail "'${*:1}' printed"$'\n'"$text"$'\n'"in place of"$'\n'"$output"
}

# ok COMMAND...: succeeds and prints nothing.
ok() { check 0 '' "$@"; }

# has STATUS WORDS COMMAND...: the command ends with that status and its output holds the words.
has() {
	local status=$1 words=$2 got=0 text
	shift 2
	text=$("$@" 2>&1) || got=$?
	[ "$got" = "$status" ] || lab_fail "'${*:1}' ended with $got, not $status: $text"
	[[ $text == *"$words"* ]] || lab_fail "'${*:1}' printed"$'\n'"$text"$'\n'"which has no '$words'"
}

# box NAME ADDRESS/LENGTH...: waits for the TAP vNIC in namespace NAME and gives it addresses.
box() {
	local name=$1 address
	shift
	wait_until 10 "eth0 of $name" inside "$name" ip link show eth0
	inside "$name" sysctl -q -w net.ipv6.conf.eth0.accept_dad=0
	for address in "$@"; do inside "$name" ip address add "$address" dev eth0; done
	inside "$name" ip link set eth0 up
}

# field CLASS OBJECT FIELD: one value of an object of m.
field() { ctl -o json "$1" show "$2" | json "d['$3']"; }
# dropped REASON: how many packets m has dropped for it.
dropped() { ctl -o json drops | json "next(row['packets'] for row in d['drops'] if row['reason'] == '$1')"; }
# is VALUE COMMAND...: for wait_until, which runs it again and again.
is() {
	local value=$1
	shift
	[ "$("$@")" = "$value" ]
}
same() { # WHAT GOT WANTED
	[ "$2" = "$3" ] || lab_fail "$1: $2 in place of $3"
}
more() { # WHAT GOT AT-LEAST
	[ "$2" -ge "$3" ] || lab_fail "$1: $2, and at least $3 should be"
}
