#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# More vNICs than DPDK has ports: the 33rd device is refused with a sentence that names the trunk, and stock OVS reaches what has no
# device by the trunk, on which a VLAN tag names the vNIC.
set -euo pipefail
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
. "$(dirname "$0")/../lib/ovs.sh"
lab_begin ovstru
ovs_needs
vnics=36 # representor N has number N and stands for vnN
for name in a box; do lab_netns $name; done
lab_dpud m a --workers 1 --huge-pages off --memory 128
{
	echo "version: 1"
	echo "tenants: [{name: blue}]"
	echo "eswitches: [{name: ovs}]"
	echo "vnics:"
	for i in $(seq $vnics); do
		lab_netns "n$i"
		echo "  - {name: vn$i, tenant: blue, backend: tap, netns: $LAB-n$i}"
	done
	echo "representors:"
	for i in $(seq $vnics); do echo "  - {name: vn$i, eswitch: ovs, vnic: blue/vn$i, number: $i}"; done
} >"$LAB_DIR/net.yaml"
dpu m apply -f "$LAB_DIR/net.yaml" >/dev/null
for i in 1 2 31 32 33 34 35 36; do
	wait_until 10 "eth0 of n$i" inside "n$i" ip link show eth0
	inside "n$i" ip address add "10.0.0.$i/24" dev eth0
	inside "n$i" ip link set eth0 up
done
# One pool of buffers for all ports: 33 of their own would be a GiB.
ovs_memory=1024 ovs_new ovs a per-port-memory=false
ovs_start ovs
ovs_bridge ovs br0
for i in $(seq 32); do ovs_port ovs br0 "vn$i" m options:n_rxq_desc=64 options:n_txq_desc=64; done

vsctl ovs add-port br0 vn33 -- set interface vn33 type=dpdk \
	"options:dpdk-devargs=net_softdpu_vn33,socket=/run/softdpu/$LAB-m/eswitch.sock,port=vn33" 2>/dev/null
[ "$(vsctl ovs get interface vn33 error)" != "[]" ] || lab_fail "there is a 33rd device"
grep -q "DPDK has 32 ports at most: give one device trunk=1" "$LAB_DIR"/ovs.log || lab_fail "nothing says what to do"
vsctl ovs del-port vn33

# ---- vNIC 32 makes room for the trunk
vsctl ovs del-port vn32
vsctl ovs add-port br0 trunk -- set interface trunk type=dpdk options:n_rxq_desc=64 options:n_txq_desc=64 \
	"options:dpdk-devargs=net_softdpu_trunk,socket=/run/softdpu/$LAB-m/eswitch.sock,trunk=1"
[ "$(vsctl ovs get interface trunk error)" = "[]" ] || lab_fail "no trunk: $(vsctl ovs get interface trunk error)"
number() { vsctl ovs get interface "$1" ofport; }
trunk=$(number trunk) one=$(number vn1)
# vn1 has a device, 32 to 36 have a tag each: a switch of them by hand. To IN_PORT goes what goes back by the port that it came from.
ofctl ovs del-flows br0
flood=
for i in $(seq 32 36); do flood=$flood,mod_vlan_vid:$i,output:$trunk; done
ofctl ovs add-flow br0 "priority=1,in_port=$one,actions=${flood#,}"
for i in $(seq 32 36); do
	back=strip_vlan,output:$one
	for j in $(seq 32 36); do
		[ "$i" = "$j" ] || back=$back,mod_vlan_vid:$j,IN_PORT
	done
	ofctl ovs add-flow br0 "priority=1,in_port=$trunk,dl_vlan=$i,actions=$back"
done
ping_ok() { inside "$1" ping -c 3 -i 0.2 -W 1 "$2" >/dev/null; }
pings() { inside "$1" ping -c 20 -i 0.05 -W 1 "$2"; }
wait_until 20 "a vNIC with a device reaches one on the trunk" ping_ok n1 10.0.0.33
wait_until 20 "vNICs on the trunk reach each other" ping_ok n34 10.0.0.36
ping_ok n2 10.0.0.33 && lab_fail "a vNIC is reached by whom no rule lets"
pings n1 10.0.0.33 >/dev/null
ovs_alone m 6 "vNIC and trunk" pings n1 10.0.0.33
pings n34 10.0.0.36 >/dev/null
ovs_alone m 6 "within the trunk" pings n34 10.0.0.36
