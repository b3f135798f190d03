#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Stock Open vSwitch with vNICs and an uplink: VLANs (access, trunk, native, rewritten), fields set by OpenFlow with their checksums over
# IPv4 and IPv6, fragments, jumbo frames and segmentation, first by OVS and then alone. The judge at the other end of the wire is another
# stock OVS, without DPDK, whose ports lead to Linux hosts.
#
#   web, db, app ── TAP ── dpud (m) ── up0 ═══ up0 ── OVS (wire) ── v10, v20, v30       net
#                            OVS (ovs), in a
set -euo pipefail
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
. "$(dirname "$0")/../lib/ovs.sh"
lab_begin ovsup
ovs_needs
for name in a net web db app v10 v20 v30; do lab_netns $name; done
lab_veth a up0 net up0 9100
# What leaves the DPU has whole checksums and is no longer than the MTU: OVS reads it from a raw socket.
for end in a net; do inside $end ethtool -K up0 tx off tso off gso off gro off >/dev/null; done
lab_dpud m a --workers 2 --huge-pages off --memory 128
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
eswitches: [{name: ovs}]
ports: [{name: up, device: "af_packet:up0", mtu: 9000}]
vnics:
  - {name: web, tenant: blue, backend: tap, netns: $LAB-web, mtu: 9000}
  - {name: db, tenant: blue, backend: tap, netns: $LAB-db, mtu: 9000}
  - {name: app, tenant: blue, backend: tap, netns: $LAB-app, mtu: 9000}
representors:
  - {name: web, eswitch: ovs, vnic: blue/web}
  - {name: db, eswitch: ovs, vnic: blue/db}
  - {name: app, eswitch: ovs, vnic: blue/app}
  - {name: up, eswitch: ovs, port: up}
YAML
dpu m apply -f "$LAB_DIR/net.yaml" >/dev/null
address() { # namespace, interface, VLAN, host
	wait_until 10 "$2 of $1" inside "$1" ip link show "$2"
	inside "$1" ip address add "10.0.$3.$4/24" dev "$2"
	inside "$1" ip address add "fd00:$3::$4/64" dev "$2" nodad
	inside "$1" ip link set "$2" up mtu 9000
}
address web eth0 10 1
address db eth0 20 1
address app eth0 30 1

ovs_memory=1200 ovs_new ovs a
ovs_start ovs
ovs_bridge ovs br0
# OVS takes buffers by the size of queues and the MTU.
port() { ovs_port ovs br0 "$1" m mtu_request=9000 options:n_rxq_desc=256 options:n_txq_desc=256 -- set port "$@"; }
port web tag=10
port db tag=20
port app tag=30
port up trunks=10,20
ovs_new wire net dpdk-init=false hw-offload=false
ovs_start wire
ovs_bridge wire br0
vsctl wire add-port br0 up0 -- set interface up0 mtu_request=9100
for vlan in 10 20 30; do
	lab_veth net p$vlan v$vlan v$vlan 9000
	for end in net:p$vlan v$vlan:v$vlan; do inside "${end%:*}" ethtool -K "${end#*:}" tx off tso off gso off gro off >/dev/null; done
	vsctl wire add-port br0 p$vlan tag=$vlan
	address v$vlan v$vlan $vlan 9
done

ping_ok() { inside "$1" ping -c 3 -i 0.2 -W 1 "$2" >/dev/null; }
# What it takes to be offloaded, and that it is: SECONDS-long traffic of its own before. COMMAND... sends some 40 frames.
alone() { # WHAT COMMAND...
	local what=$1
	shift
	"$@" >/dev/null || lab_fail "$what does not work"
	ovs_alone m 4 "$what" "$@"
}
pings() { inside "$1" ping -c 15 -i 0.05 -W 1 "${@:2}"; }

# ---- VLANs
wait_until 20 "web reaches its VLAN" ping_ok web 10.0.10.9
wait_until 20 "db reaches its VLAN" ping_ok db 10.0.20.9
alone "VLAN 10" pings web 10.0.10.9
alone "VLAN 20" pings v20 10.0.20.1
alone "VLAN 10 with IPv6" pings web fd00:10::9
ping_ok app 10.0.30.9 && lab_fail "the trunk carries VLAN 30, which it has not"
inside db ip address add 10.0.10.2/24 dev eth0
inside db ping -c 2 -W 1 -I 10.0.10.2 10.0.10.1 >/dev/null && lab_fail "VLAN 20 reaches VLAN 10"
vsctl ovs set port up trunks=10,20,30
wait_until 10 "VLAN 30 on the trunk" ping_ok app 10.0.30.9
vsctl ovs set port up vlan_mode=native-untagged tag=30
vsctl wire set port up0 vlan_mode=native-untagged tag=30
wait_until 10 "VLAN 30 without tag" ping_ok app 10.0.30.9
alone "VLAN 30, native" pings app 10.0.30.9
vsctl ovs set port up vlan_mode=trunk tag='[]'
vsctl wire set port up0 vlan_mode=trunk tag='[]'
wait_until 10 "VLAN 30 with its tag again" ping_ok app 10.0.30.9
# db moves to web's VLAN and back: flows of the old VLAN go.
vsctl ovs set port db tag=10
wait_until 10 "db in VLAN 10" inside db ping -c 1 -W 1 -I 10.0.10.2 10.0.10.1
vsctl ovs set port db tag=20
wait_until 10 "db out of VLAN 10" bash -c "! ip netns exec $LAB-db ping -c 1 -W 1 -I 10.0.10.2 10.0.10.1"
inside db ip address del 10.0.10.2/24 dev eth0

# ---- fields, with checksums: an address and a port that nobody has are rewritten on the way there and on the way back
flow() { ofctl ovs add-flow br0 "$@"; }
number() { vsctl ovs get interface "$1" ofport; }
web=$(number web) up=$(number up)
mac() { inside "$1" cat "/sys/class/net/$2/address"; }
peer=$(mac v10 v10)
flow "priority=90,in_port=$web,ip,nw_dst=10.0.10.99,actions=dec_ttl,mod_nw_dst:10.0.10.8,mod_dl_dst:$peer,resubmit(,1)"
flow "priority=95,in_port=$web,tcp,nw_dst=10.0.10.99,tp_dst=5009,actions=dec_ttl,mod_nw_dst:10.0.10.8,mod_tp_dst:5001,mod_dl_dst:$peer,resubmit(,1)"
flow "priority=90,in_port=$web,ipv6,ipv6_dst=fd00:10::99,actions=dec_ttl,set_field:fd00:10::8->ipv6_dst,mod_dl_dst:$peer,resubmit(,1)"
flow "priority=95,in_port=$web,tcp6,ipv6_dst=fd00:10::99,tp_dst=5009,actions=set_field:fd00:10::8->ipv6_dst,mod_tp_dst:5001,mod_dl_dst:$peer,resubmit(,1)"
flow "table=1,actions=mod_vlan_vid:10,output:$up"
flow "priority=90,in_port=$up,dl_vlan=10,ip,nw_src=10.0.10.8,actions=mod_nw_src:10.0.10.99,dec_ttl,pop_vlan,output:$web"
flow "priority=95,in_port=$up,dl_vlan=10,tcp,nw_src=10.0.10.8,tp_src=5001,actions=mod_nw_src:10.0.10.99,mod_tp_src:5009,pop_vlan,output:$web"
flow "priority=90,in_port=$up,dl_vlan=10,ipv6,ipv6_src=fd00:10::8,actions=set_field:fd00:10::99->ipv6_src,pop_vlan,output:$web"
flow "priority=95,in_port=$up,dl_vlan=10,tcp6,ipv6_src=fd00:10::8,tp_src=5001,actions=set_field:fd00:10::99->ipv6_src,mod_tp_src:5009,pop_vlan,output:$web"
inside v10 ip address add 10.0.10.8/24 dev v10
inside v10 ip address add fd00:10::8/64 dev v10 nodad
inside web ip neighbour replace 10.0.10.99 lladdr 02:00:00:00:00:99 dev eth0
inside web ip neighbour replace fd00:10::99 lladdr 02:00:00:00:00:99 dev eth0
inside v10 ip neighbour replace fd00:10::1 lladdr "$(mac web eth0)" dev v10
alone "an address that is rewritten" pings web 10.0.10.99
inside web ping -c 1 10.0.10.99 | grep "ttl=63" >/dev/null || lab_fail "no TTL was decremented"
alone "an IPv6 address that is rewritten" pings web fd00:10::99

head -c 3000000 /dev/urandom >"$LAB_DIR/sent"
# The other OVS reads the wire through the buffer of a raw socket, which holds few jumbo frames.
inside web ip link set eth0 mtu 1500
lab_transfer "TCP out of the uplink" v10 10.0.10.9 lab_send web 10.0.10.9
lab_transfer "TCP by IPv6" v10 fd00:10::9 lab_send web fd00:10::9
lab_transfer "TCP with address and port rewritten" v10 10.0.10.8 lab_send web 10.0.10.99 5009
lab_transfer "TCP by IPv6 with address and port rewritten" v10 fd00:10::8 lab_send web fd00:10::99 5009
lab_transfer "TCP from the network" web 10.0.10.1 lab_send v10 10.0.10.1

inside web ip link set eth0 mtu 9000
ofctl ovs del-flows br0
flow actions=NORMAL

# ---- frames that are longer than usual, and pieces of them
alone "a jumbo frame" pings web -s 8900 -M "do" 10.0.10.9
alone "a jumbo frame by IPv6" pings web -s 8900 -M "do" fd00:10::9
inside web ping -c 5 -i 0.1 -s 20000 10.0.10.9 >/dev/null || lab_fail "fragments get lost"
inside v10 ping -c 5 -i 0.1 -s 20000 fd00:10::1 >/dev/null || lab_fail "fragments of IPv6 get lost"

# ---- between vNICs: TAPs hand on unfinished checksums and segments of up to 64 KiB, through OVS and below it
vsctl ovs set port db tag=10
inside db ip address flush dev eth0
address db eth0 10 2
wait_until 10 "db in VLAN 10" ping_ok db 10.0.10.1
head -c 20000000 /dev/urandom >"$LAB_DIR/sent"
dpu m eswitch set ovs bypass=true >/dev/null
lab_transfer "TCP between vNICs by OVS" db 10.0.10.2 lab_send web 10.0.10.2
lab_transfer "TCP by IPv6 between vNICs by OVS" db fd00:10::2 lab_send web fd00:10::2
dpu m eswitch set ovs bypass=false >/dev/null
lab_transfer "TCP between vNICs" db 10.0.10.2 lab_send web 10.0.10.2
lab_transfer "TCP by IPv6 between vNICs" db fd00:10::2 lab_send web fd00:10::2
