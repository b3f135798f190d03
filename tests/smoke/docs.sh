#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2016
# What the pages of docs tell people to type does what it says, each on a machine of its own (mounts and network are private); the lists
# of metrics and drop reasons are those of dpud; what the page on OVS says of errors is what programs say.
#
# usage: docs.sh [PAGE.md...]
set -euo pipefail
if [ -z "${PAGE:-}" ]; then
	[ $# -gt 0 ] || set -- dpuctl.md operations.md block.md
	for page in "$@"; do PAGE=$page "$0"; done
	exit
fi
. "$(dirname "$0")/../lib/machine.sh"
top=$machine_top build=$machine_build
page=$top/docs/$PAGE
unset DPUCTL_INSTANCE DPUCTL_SOCKET DPUCTL_TENANT MAKEFLAGS

# What is installed goes nowhere, and neither do the configuration of OVS and the choice of an alternative. A driver is loaded only from
# folders that not everybody may write.
own_places() {
	local place
	mount -t tmpfs none /var/log
	for place in /usr/local/bin /usr/local/sbin /usr/local/share /usr/local/lib; do
		[ ! -d $place ] || mount -t tmpfs -o mode=755 none $place
	done
	mkdir -p /tmp/changed/upper /tmp/changed/work
	mount -t overlay -o lowerdir=/etc,upperdir=/tmp/changed/upper,workdir=/tmp/changed/work none /etc
	[ "$build" -ef "$top/build" ] || { mkdir -p "$top/build" && mount --bind "$build" "$top/build"; }
}
# Sentences of the page's last table that are ours are in our sources; … stands for what varies.
ours_are_said() {
	local said part
	sed -n '/^## Troubleshooting/,$s/^| `\([^`]*\)` .*/\1/p' "$page" | grep -v '^EAL\|^failed to create\|^could not open\|^Failed to create\|^Rx checksum\|^offloaded:' >/tmp/said
	[ -s /tmp/said ] || { echo "$page: it has no table of errors" >&2; exit 1; }
	while read -r said; do
		for part in "${said%%…*}" "${said##*…}"; do
			part=$(sed 's/^ *//; s/ *$//' <<<"$part")
			grep -rqF -- "$part" "$top/src" "$top/apps" || { echo "$page: nothing of ours says '$said'" >&2; exit 1; }
		done
	done </tmp/said
}
if [ "$PAGE" = ovs.md ]; then
	[ -x /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk ] || { echo "skipped: no OVS with DPDK is installed"; exit 77; }
	[ -e "$build/apps/net_softdpu/librte_net_softdpu.so" ] || { echo "skipped: the driver is not built: DPDK's driver headers are missing"; exit 77; }
	own_places
	export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin NO_COLOR=1 HOME=/tmp
	cd "$top"
	ours_are_said
	tests/lib/run_document "$page" </dev/null
	exit
fi
export PATH=$build/src/daemon:$build/apps/dpuctl:$PATH NO_COLOR=1 HOME=/tmp
mkdir /tmp/work
cd /tmp/work
"$top/tests/lib/run_document" "$page"
[ "$PAGE" = operations.md ] || exit 0

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
media: [{name: disk0, kind: ram, size: 64M}]
pools: [{name: main, media: [disk0]}]
qos_policies: [{name: gold, tenant: blue, cap_iops: 1000}]
volumes: [{name: root, tenant: blue, pool: main, size: 1G}]
snapshots: [{name: monday, tenant: blue, volume: root}]
disks: [{name: root, tenant: blue, volume: root}]
nvmf_listeners: [{name: here, address: 127.0.0.1}]
nvmf_subsystems: [{name: disks, tenant: blue, nqn: "nqn.2025-01.org.example:disks"}]
nvmf_namespaces: [{name: root, tenant: blue, subsystem: disks, volume: root}]
nvmf_remotes: [{name: far, nqn: "nqn.2025-01.org.example:disks", addresses: [127.0.0.1]}]
YAML
dpuctl apply -f net.yaml >/dev/null
{
	curl -s --unix-socket /tmp/metrics.sock http://dpud/metrics | sed -n 's/^# HELP \([^ ]*\) \(.*\)/| `\1` | \2 |/p'
	dpuctl drops -o json | jq -r '.drops[] | "| `\(.reason)` | \(.doc) |"'
} >said
kill $pid
wait $pid
grep '^| `[a-z0-9_-]*` | ' "$page" >written
diff -u written said || { echo "$page: its lists (-) are not what dpud says (+)" >&2; exit 1; }
