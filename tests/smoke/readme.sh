#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2016,SC2034
# What README.md tells people to type does what it says, with a VM, on a machine of its own; and its demonstration's table has the rows
# that ./run demo prints.
set -euo pipefail
machine_guests=1
. "$(dirname "$0")/../lib/machine.sh"
top=$machine_top
# What is installed goes nowhere.
for place in /usr/local/bin /usr/local/sbin /usr/local/share /usr/local/lib; do
	[ ! -d "$place" ] || mount -t tmpfs none "$place"
done
[ "$machine_build" -ef "$top/build" ] || { mkdir -p "$top/build" && mount --bind "$machine_build" "$top/build"; }
unset DPUCTL_INSTANCE DPUCTL_SOCKET DPUCTL_TENANT MAKEFLAGS
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin NO_COLOR=1 HOME=/tmp
cd "$top"

# The demonstrations play in tests of their own; here their tables are compared with what they would print.
{
	sed -n '/^three VMs up/,/whole demonstration/p' README.md
	sed -n '/^packets of a flow, and of them up to OVS/,/^```/p' README.md | sed '$d'
	sed -n '/^from the document to a disk over two paths/,/^```/p' README.md | sed '$d'
} | sed 's/   .*//' >/tmp/rows
for row in "whole demonstration" "silence through kill -9 of OVS" "file systems and every block of both pools"; do
	grep -qx "$row" /tmp/rows || { echo "README.md has no table with '$row'" >&2; exit 1; }
done
while read -r row; do
	words=$(sed 's/ by vxlan$/ by $1/; s/ by geneve$/ by $1/; s/ dpud [ab]$/ dpud $1/' <<<"$row")
	grep -qrF "show \"$words\"" demo || { echo "README.md: the demonstration does not show '$row'" >&2; exit 1; }
done </tmp/rows
exec tests/lib/run_document README.md
