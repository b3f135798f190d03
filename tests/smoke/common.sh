# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # for those who source this
# What the smoke tests of dpud and dpuctl share: one dpud "m" in a laboratory (tests/lib/lab.sh), and comparing what dpuctl prints.
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
