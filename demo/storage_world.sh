# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-3-Clause
# The world of the storage demonstration: DPU a serves a volume of its pool by NVMe over TCP on two wires; DPU b has a pool on it, a volume
# of which is a VM's disk.
#
#            DPU a                                              DPU b
#   pool flash, on a file                                pool rack, on the remote namespace
#   volume store/rack                                    volume blue/data, limited ── disk ── vm1
#     │                192.0.2.1     ═══ 192.0.2.2         │ snapshot, clone
#     └── namespace ── 198.51.100.1  ═══ 198.51.100.2 ──   └ clone ── disk ── vm2
demo_guests="vm1 vm2"
demo_dpus="a b"
disk_folder=/dev/shm/softdpu-$LAB-disk # memory: what is shown is dpud, not the disk of this machine

world_check() { demo_check_machine 1700 "two VMs, two DPUs and their disk in memory"; }

world_start() {
	local name
	title "Two DPUs, joined by two wires"
	"$lab_top/devtools/guest/build" "$lab_image" || lab_fail "the guest image does not build"
	for name in a b; do lab_netns $name; done
	lab_wire one 192.0.2
	lab_wire two 198.51.100
	mkdir "$disk_folder"
	for name in a b; do
		sed "s|DISK/|$disk_folder/|; s|LAB/|$LAB_DIR/|" "demo/storage-$name.yaml" >"$LAB_DIR/storage-$name.yaml"
		lab_dpud $name $name --workers 1 --huge-pages off
	done
	export DPUCTL_INSTANCE=$LAB-b
	world_target
	world_disk
}

lab_wire() { # NAME NETWORK
	lab_veth a "$1" b "$1" 9000
	inside a ip address add "$2.1/24" dev "$1"
	inside b ip address add "$2.2/24" dev "$1"
}
is() { # VALUE COMMAND...: for wait_until
	local value=$1
	shift
	[ "$("$@")" = "$value" ]
}
field() { dpu "$1" -o json "$2" show "$3" | json "d['$4']"; } # DPU CLASS OBJECT FIELD

world_target() {
	title "DPU a: a pool, a volume of it, served by NVMe over TCP at two addresses to one host"
	typed "dpuctl -i $LAB-a apply -f $LAB_DIR/storage-a.yaml | tail -1" || lab_fail "DPU a refuses its document"
	wait_until 10 "the namespace is served" is ready field a nvmf_namespace store/rack state
	typed "dpuctl -i $LAB-a pool list"
	typed "dpuctl -i $LAB-a nvmf_listener list"
}

world_disk() {
	local start
	title "DPU b: the namespace by both paths, a pool on it, a volume with a limit, a disk of a VM"
	start=$(now)
	typed "dpuctl nvmf_remote discover address=192.0.2.1 host_nqn=nqn.2026-01.example:dpu-b" || lab_fail "nothing is discovered"
	typed "dpuctl apply -f $LAB_DIR/storage-b.yaml | tail -1" || lab_fail "DPU b refuses its document"
	wait_until 20 "two paths are live" is 2 field b nvmf_remote rack live_paths
	wait_until 20 "the disk is ready" is ready field b disk blue/data state
	show "from the document to a disk over two paths" "$(milliseconds_since "$start") ms"
	typed "dpuctl -o json nvmf_remote show rack | jq -r '.paths[]'"
	typed "dpuctl disk list -c name,volume,state,size"
	note "VMs boot: Debian's kernel under QEMU without KVM, virtio-blk over vhost-user; vm1 now, vm2 once there is a clone"
	start=$(now)
	lab_guest vm1 '' '' --no-wait --memory 256 --disk "$LAB_DIR/data.sock,num-queues=2"
	demo_wait_guests "$start" vm1
	show "VM with a disk up" "$(since "$start") s"
}
