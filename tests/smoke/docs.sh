#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What docs/dpuctl.md tells people to type does what it says, on a machine of its own: mounts and network are private.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${MESON_BUILD_ROOT:-$top/build}
[ "${IN_OWN_MACHINE:-}" ] || IN_OWN_MACHINE=1 exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private "$0"
for place in /run /var/lib /dev/shm /tmp; do mount -t tmpfs none "$place"; done
ip link set lo up
unset DPUCTL_INSTANCE DPUCTL_SOCKET DPUCTL_TENANT
export PATH=$build/src/daemon:$build/apps/dpuctl:$PATH NO_COLOR=1 HOME=/tmp
mkdir /tmp/work
cd /tmp/work
"$top/tests/lib/run_document" "$top/docs/dpuctl.md"
