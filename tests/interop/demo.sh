#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# ./run demo, wholly: every scene, kept, refused a second time, entered by ./run shell, stopped; interrupted; failing. Each time nothing is left.
set -euo pipefail
# shellcheck disable=SC2034 # for demo_machine.sh
demo_arguments=()
. "$(dirname "$0")/demo_machine.sh"

has 1 "there is none" demo --stop
has 1 "unknown option '--kepe'" demo --kepe

# ---- wholly, and kept
has 0 "It is kept" demo --keep
cp "$out/said" "$out/whole"
in_table "three VMs up" "DHCPv4, DHCPv6, router advertisements" "blue across the overlay by vxlan" "blue across the overlay by geneve" \
	"red reaches blue" "port 80 closed, then opened by a rule" "packets of a flow, and to policy" "transfer through kill -9 of dpud" \
	"longest silence of a ping through it" "CPU of an idle dpud" "memory (RSS) of dpud" "whole demonstration"
has 1 "one is kept already: ./run shell enters it, ./run demo --stop ends it" demo

# ---- the shell inside it
has 0 "2 packets received" "$top/run" shell on blue-web ping -c 2 10.0.1.10
has 3 "" "$top/run" shell on blue-web exit 3
has 2 "there is no VM 'green'" "$top/run" shell on green true
has 0 "2 received" "$top/run" shell box ping -q -c 2 10.0.0.10
has 0 "instance demo-a" "$top/run" shell dpuctl version
has 0 "instance demo-b" bash -c "printf 'use b\ndpuctl version\nexit\n' | '$top/run' shell"
has 0 "vnic" bash -c "printf 'complete -p dpuctl\ndpuctl __complete vni\nexit\n' | '$top/run' shell"

has 0 "stopped; nothing is left of it" demo --stop
unchanged "after --stop"

ends_cleanly "Two DPUs" "net-b.yaml" red-web
echo "demo: all scenes, kept, entered, stopped, interrupted, failing, killed"
sed -n '/^What was shown/,/^It is kept/p' "$out/whole" | sed '$d'
