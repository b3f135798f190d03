# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-3-Clause
# The world of the demonstration with Open vSwitch: a DPU, the OVS that drives it, two VMs, and a host on the network behind the uplink.
#
#     vm1 10.0.0.1 ── virtio-net ──┐                             ┌── ovs-vswitchd, Debian's
#                                  │ DPU ── eswitch: representors│   librte_net_softdpu.so
#     vm2 10.0.0.2 ── virtio-net ──┤        vm1, vm2, uplink ────┘   br0: vm1, vm2, uplink
#                                  │
#                           up0 ═══╧══ eth0 10.0.0.3, a Linux host ("lan")
. tests/lib/ovs.sh
demo_guests="vm1 vm2"
demo_dpus="dpu"

# OVS's tools, of the OVS of this place.
ovs-vsctl() { vsctl ovs "$@"; }
ovs-appctl() { appctl ovs "$@"; }
ovs-ofctl() { OVS_RUNDIR=$LAB_DIR/ovs command ovs-ofctl --timeout=20 "$@"; }

world_check() {
	demo_check_machine 1300 "two VMs, a DPU and an OVS"
	[ -x "$ovs_vswitchd" ] || die "demo: there is no $ovs_vswitchd: install openvswitch-switch-dpdk"
	[ -e "$ovs_driver/librte_net_softdpu.so" ] ||
		die "demo: librte_net_softdpu.so is not built: DPDK's driver headers were not to be had when the build was configured; with access to a Debian source mirror, remove build and try again"
}

world_start() {
	local start vm
	title "A DPU with an eswitch: each vNIC and the uplink have a representor"
	"$lab_top/devtools/guest/build" "$lab_image" || lab_fail "the guest image does not build"
	for vm in dpu lan; do lab_netns $vm; done
	lab_veth dpu up0 lan eth0
	inside lan ip address add 10.0.0.3/24 dev eth0
	sed "s|LAB/|$LAB_DIR/|" demo/net-ovs.yaml >"$LAB_DIR/net.yaml"
	lab_dpud dpu dpu --workers 1 --huge-pages off
	export DPUCTL_INSTANCE=$LAB-dpu
	typed "dpuctl apply -f $LAB_DIR/net.yaml | tail -1"
	note "two VMs boot: Debian's kernel under QEMU without KVM, virtio-net over vhost-user, by the DPU"
	start=$(now)
	lab_guest vm1 "$LAB_DIR/vm1.sock" 02:00:00:00:00:01 --no-wait
	lab_guest vm2 "$LAB_DIR/vm2.sock" 02:00:00:00:00:02 --no-wait
	world_ovs
	demo_wait_guests "$start"
	for vm in $demo_guests; do
		on "$vm" "ip address add 10.0.0.${vm#vm}/24 dev eth0; ip link set eth0 up" || lab_fail "$vm has no eth0"
	done
	show "two VMs up" "$(since "$start") s"
}

world_ovs() {
	local port start
	start=$(now)
	title "Stock Open vSwitch takes the representors as DPDK ports"
	ovs_new ovs dpu
	ovs_start ovs
	typed "ovs-appctl version"
	typed "ovs-vsctl get Open_vSwitch . other_config"
	typed "ovs-vsctl add-br br0 -- set bridge br0 datapath_type=netdev" || lab_fail "no bridge"
	for port in vm1 vm2 uplink; do
		typed "ovs-vsctl add-port br0 $port -- set interface $port type=dpdk options:dpdk-devargs=net_softdpu_$port,socket=/run/softdpu/$LAB-dpu/eswitch.sock,port=$port"
		[ "$(ovs-vsctl get interface $port error)" = "[]" ] || lab_fail "OVS cannot use $port: $(ovs-vsctl get interface $port error)"
	done
	typed "dpuctl representor list -c name,number,vnic,port,open,client,up"
	show "OVS attached, three ports" "$(since "$start") s"
}
