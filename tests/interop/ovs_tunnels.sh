#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Tunnels of stock Open vSwitch on the DPU's uplink against Linux's own VXLAN devices. First OVS's own tunnel ports over an IPv4 and an
# IPv6 underlay: encapsulation is offloaded, what comes back is OVS's to take apart. Then tunnels that dpud ends: OVS has a port for each,
# and both directions stay below.
#
#   web ── TAP ── dpud (m) ── up0 ═══ up0 ── Linux vx4, vx6       net
#              OVS: br0 web, tunnels; wire: the uplink and the tunnels' local addresses
set -euo pipefail
. "$(dirname "$0")/tunnel_world.sh"
lab_begin ovstun
ovs_needs
for name in a net web; do lab_netns $name; done
lab_veth a up0 net up0
for end in a net; do inside $end ethtool -K up0 tx off tso off gso off gro off >/dev/null; done
inside net ip address add 192.0.2.2/24 dev up0
inside net ip address add 2001:db8::2/64 dev up0 nodad
tunnel_dpud 10.4.0.1/24 10.6.0.1/24
linux() { # VNI, remote, local
	inside net ip link add "vx$1" type vxlan id "$1" dstport 4789 remote "$2" local "$3" 2>/dev/null
	inside net ip address add "10.$1.0.9/24" dev "vx$1"
	inside net ip link set "vx$1" up mtu 1400
}
# A request that OVS floods comes out of both tunnels: only the device with the address answers, else web sends to the other's MAC, which OVS
# never learns.
inside net sysctl -qw net.ipv4.conf.all.arp_ignore=1
linux 4 192.0.2.1 192.0.2.2
linux 6 2001:db8::1 2001:db8::2
tunnel_ovs
tunnel_port vx4 vxlan 4 192.0.2.2
tunnel_port vx6 vxlan 6 2001:db8::2

head -c 5000000 /dev/urandom >"$LAB_DIR/sent"
both_ways() { # WHAT VNI
	lab_transfer "$1" net "10.$2.0.9" lab_send web "10.$2.0.9"
	lab_transfer "$1, from Linux" web "10.$2.0.1" lab_send net "10.$2.0.1"
}
for vni in 4 6; do
	wait_until 20 "VXLAN $vni of OVS" ping_ok web 10.$vni.0.9
	# One direction of two stays below: requests are encapsulated by dpud, replies go up.
	pings web 10.$vni.0.9 >/dev/null
	appctl ovs dpctl/dump-flows -m type=offloaded | grep -q 'offloaded:yes.*tnl_push' || lab_fail "no encapsulation is offloaded: $(appctl ovs dpctl/dump-flows -m)"
	ovs_alone m 26 "VXLAN $vni of OVS" pings web 10.$vni.0.9
	both_ways "VXLAN $vni of OVS" $vni
done

# ---- tunnels that dpud ends
tunnel_to_dpud 4 6 vxlan vx4 vx6
for vni in 4 6; do
	wait_until 20 "VXLAN $vni of dpud" ping_ok web 10.$vni.0.9
	pings net 10.$vni.0.1 >/dev/null
	ovs_alone m 4 "VXLAN $vni of dpud" pings net 10.$vni.0.1
	both_ways "VXLAN $vni of dpud" $vni
done
