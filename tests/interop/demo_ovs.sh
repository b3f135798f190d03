#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# ./run demo ovs, wholly: every scene, kept, entered by ./run shell, stopped; interrupted; failing. Each time nothing is left.
set -euo pipefail
# shellcheck disable=SC2034 # for demo_machine.sh
demo_arguments=(ovs)
. "$(dirname "$0")/demo_machine.sh"
build=${MESON_BUILD_ROOT:-$top/build}
[ -x /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk ] || { echo "skipped: no OVS with DPDK is installed"; exit 77; }
[ -e "$build/apps/net_softdpu/librte_net_softdpu.so" ] || { echo "skipped: the driver is not built: DPDK's driver headers are missing"; exit 77; }

has 1 "there is none" demo --stop
has 1 "unknown option '--kepe'" demo --kepe

# ---- wholly, and kept
has 0 "It is kept" demo --keep
cp "$out/said" "$out/whole"
in_table "two VMs up" "OVS attached, three ports" "packets of a flow, and of them up to OVS" "16 MiB by TCP, packets, and of them up" \
	"CPU of ovs-vswitchd meanwhile" "rule that drops, and away again" "rules that rewrite, and away again" "silence through kill -9 of OVS" \
	"silence through kill -9 of dpud" "memory (RSS) of dpud, and of OVS" "whole demonstration"
took=$(sed -n 's/^  whole demonstration *\([0-9]*\).*/\1/p' "$out/whole")
has 1 "one is kept already: ./run shell enters it, ./run demo --stop ends it" bash "$top/demo/demo"

# ---- the shell inside it
has 0 "2 packets received" "$top/run" shell on vm1 ping -c 2 10.0.0.2
has 2 "there is no VM 'blue-web'" "$top/run" shell on blue-web true
has 0 "2 received" "$top/run" shell lan ping -q -c 2 10.0.0.1
has 0 "instance demo-dpu" "$top/run" shell dpuctl version
has 0 "dp:dpdk" "$top/run" shell ovs-appctl dpctl/dump-flows -m
has 0 "actions=NORMAL" "$top/run" shell ovs-ofctl dump-flows br0
has 0 'Port vm1' "$top/run" shell ovs-vsctl show
has 2 "usage: log dpu" "$top/run" shell log a

has 0 "stopped; nothing is left of it" bash "$top/demo/demo" --stop
unchanged "after --stop"

ends_cleanly "A DPU with an eswitch" "add-port br0 vm2" vm2
echo "demo ovs: all scenes in $took s, kept, entered, stopped, interrupted, failing, killed"
sed -n '/^What was shown/,/^It is kept/p' "$out/whole" | sed '$d'
