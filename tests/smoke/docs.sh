#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2016
# What the pages of docs tell people to type does what it says, each on a machine of its own (mounts and network are private); the lists
# of metrics and drop reasons are those of dpud.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${MESON_BUILD_ROOT:-$top/build}
if [ -z "${PAGE:-}" ]; then
	for page in "$top"/docs/dpuctl.md "$top"/docs/operations.md; do
		PAGE=$page unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private "$0"
	done
	exit
fi
for place in /run /var/lib /dev/shm /tmp; do mount -t tmpfs none "$place"; done
ip link set lo up
unset DPUCTL_INSTANCE DPUCTL_SOCKET DPUCTL_TENANT
export PATH=$build/src/daemon:$build/apps/dpuctl:$PATH NO_COLOR=1 HOME=/tmp
mkdir /tmp/work
cd /tmp/work
"$top/tests/lib/run_document" "$PAGE"
[ "${PAGE##*/}" = operations.md ] || exit 0

# A DPU with an object of each class that has metrics; what it says is what the page says.
dpud --instance lists --workers 1 --metrics /tmp/metrics.sock --log /tmp/lists.log &
pid=$!
export DPUCTL_INSTANCE=lists
until dpuctl version >/dev/null 2>&1; do sleep 0.1; done
cat >net.yaml <<'YAML'
version: 1
tenants: [{name: blue}]
ports: [{name: up, device: "tap:up0"}]
underlays: [{name: fabric, port: up, address: 192.0.2.1, prefix_length: 24}]
vpcs: [{name: main, tenant: blue, vni: 1, underlay: fabric}]
subnets: [{name: front, tenant: blue, vpc: main, prefix_v4: 10.0.0.0/24}]
vnics: [{name: web, tenant: blue, subnet: front}, {name: box, tenant: blue}]
eswitches: [{name: ovs}]
representors: [{name: box, eswitch: ovs, vnic: blue/box}]
YAML
dpuctl apply -f net.yaml >/dev/null
{
	curl -s --unix-socket /tmp/metrics.sock http://dpud/metrics | sed -n 's/^# HELP \([^ ]*\) \(.*\)/| `\1` | \2 |/p'
	dpuctl drops -o json | jq -r '.drops[] | "| `\(.reason)` | \(.doc) |"'
} >said
kill $pid
wait $pid
grep '^| `[a-z0-9_-]*` | ' "$PAGE" >written
diff -u written said || { echo "$PAGE: its lists (-) are not what dpud says (+)" >&2; exit 1; }
