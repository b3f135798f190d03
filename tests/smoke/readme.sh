#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2016
# What README.md tells people to type does what it says, with a VM, on a machine of its own; and its demonstration's table has the rows
# that ./run demo prints.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${MESON_BUILD_ROOT:-$top/build}
# The guest's kernel is fetched while there is a network.
[ "${IN_OWN_MACHINE:-}" ] || "$top/devtools/guest/build" "$build/guest"
[ "${IN_OWN_MACHINE:-}" ] || IN_OWN_MACHINE=1 exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private "$0"
# Packages are looked up in the rest of /var/lib; what is installed goes nowhere.
mkdir -p /var/lib/softdpu
for place in /run /var/lib/softdpu /dev/shm /tmp /usr/local/bin /usr/local/sbin /usr/local/share /usr/local/lib; do
	[ ! -d "$place" ] || mount -t tmpfs none "$place"
done
[ "$build" -ef "$top/build" ] || { mkdir -p "$top/build" && mount --bind "$build" "$top/build"; }
ip link set lo up
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
