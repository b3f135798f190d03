#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# ./run demo storage, wholly: every scene, kept, entered by ./run shell, stopped; interrupted; failing. Each time nothing is left.
set -euo pipefail
# shellcheck disable=SC2034 # for demo_machine.sh
demo_arguments=(storage)
. "$(dirname "$0")/demo_machine.sh"

has 1 "there is none" demo --stop
has 1 "unknown option '--kepe'" demo --kepe

# ---- wholly, and kept
has 0 "It is kept" demo --keep
cp "$out/said" "$out/whole"
in_table "from the document to a disk over two paths" "VM with a disk up" "ext4 on the VM's disk, a file written" "reads per second, limits 500 and then 100" \
	"snapshot and clone made" "a wire cut under load" "snapshot and clone mounted by a second VM" "disk ready again after kill -9 of dpud a" \
	"disk ready again after kill -9 of dpud b" "written and verified through both kills" "file systems and every block of both pools" \
	"CPU and memory of dpud a" "CPU and memory of dpud b" "whole demonstration"
took=$(sed -n 's/^  whole demonstration *\([0-9]*\).*/\1/p' "$out/whole")
has 1 "one is kept already: ./run shell enters it, ./run demo --stop ends it" bash "$top/demo/demo"

# ---- the shell inside it
has 0 "vda" "$top/run" shell on vm2 ls /sys/block
has 0 "instance demo-a" "$top/run" shell dpuctl version
has 0 "blue" bash -c "printf 'use b\ndpuctl disk list\nexit\n' | '$top/run' shell"
has 2 "usage: log a|b" "$top/run" shell log vm1

has 0 "stopped; nothing is left of it" demo --stop
unchanged "after --stop"

# ---- interrupted, failing; the tests of the other demonstrations say more of that
in_background "VMs boot"
kill -INT -- -"$player"
ended 130
grep -qx interrupted "$out/said" || fail "it does not say that it was interrupted: $(cat "$out/said")"
unchanged "after an interrupt"
in_background "VMs boot"
for _ in $(seq 300); do [ -s /run/softdpu-demo/vm1.pid ] && break; sleep 0.1; done
kill -9 "$(cat /run/softdpu-demo/vm1.pid)"
ended 1
grep -q "a VM does not boot" "$out/said" || fail "it does not say what failed: $(cat "$out/said")"
unchanged "after a failure"
echo "demo storage: all scenes in $took s, kept, entered, stopped, interrupted, failing"
sed -n '/^What was shown/,/^It is kept/p' "$out/whole" | sed '$d'
