#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Tunnels of stock Open vSwitch on the DPU's uplink against Linux's own VXLAN devices. First OVS's own tunnel ports over an IPv4 and an
# IPv6 underlay: encapsulation is offloaded, what comes back is OVS's to take apart. Then tunnels that dpud ends: OVS has a port for each,
# and both directions stay below.
#
#   web ── TAP ── dpud (m) ── up0 ═══ up0 ── Linux vx4, vx6       net
#              OVS: br0 web, tunnels; wire: the uplink and the tunnels' local addresses
set -euo pipefail
. "$(dirname "$0")/../lib/lab.sh"
. "$(dirname "$0")/../lib/ovs.sh"
lab_begin ovstun
ovs_needs
for name in a net web; do lab_netns $name; done
lab_veth a up0 net up0
for end in a net; do inside $end ethtool -K up0 tx off tso off gso off gro off >/dev/null; done
inside net ip address add 192.0.2.2/24 dev up0
inside net ip address add 2001:db8::2/64 dev up0 nodad
lab_dpud m a --workers 2 --huge-pages off --memory 128
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
eswitches: [{name: ovs}]
ports: [{name: up, device: "af_packet:up0"}]
vnics: [{name: web, tenant: blue, backend: tap, netns: $LAB-web, mtu: 1400}]
representors:
  - {name: web, eswitch: ovs, vnic: blue/web}
  - {name: up, eswitch: ovs, port: up}
YAML
dpu m apply -f "$LAB_DIR/net.yaml" >/dev/null
address() { # namespace, interface, network
	wait_until 10 "$2 of $1" inside "$1" ip link show "$2"
	inside "$1" ip address add "$3" dev "$2"
	inside "$1" ip link set "$2" up mtu 1400
}
for vni in 4 6; do address web eth0 10.$vni.0.1/24; done
linux() { # VNI, remote, local
	inside net ip link add "vx$1" type vxlan id "$1" dstport 4789 remote "$2" local "$3" 2>/dev/null
	address net "vx$1" "10.$1.0.9/24"
}
linux 4 192.0.2.1 192.0.2.2
linux 6 2001:db8::1 2001:db8::2

ovs_new ovs a
ovs_start ovs
ovs_bridge ovs br0
ovs_bridge ovs wire
ovs_port ovs br0 web m
ovs_port ovs wire up m
inside a ip address add 192.0.2.1/24 dev wire
inside a ip address add 2001:db8::1/64 dev wire nodad
inside a ip link set wire up
for tunnel in 4:192.0.2.2 6:2001:db8::2; do
	vsctl ovs add-port br0 "vx${tunnel%%:*}" -- set interface "vx${tunnel%%:*}" type=vxlan "options:key=${tunnel%%:*}" \
		"options:remote_ip=\"${tunnel#*:}\""
done
ping_ok() { inside "$1" ping -c 3 -i 0.2 -W 1 "$2" >/dev/null; }
pings() { inside "$1" ping -c 20 -i 0.05 -W 1 "${@:2}"; }
# COMMAND... sends standard input: what arrives at ADDRESS, of NAMESPACE, is what was sent.
head -c 5000000 /dev/urandom >"$LAB_DIR/sent"
transfer() { # WHAT FROM TO ADDRESS
	local what=$1 listener
	inside "$3" nc -d -l "$4" 5001 >"$LAB_DIR/got" &
	listener=$!
	lab_pids+=("$listener")
	wait_until 5 "a listener" bash -c "ip netns exec $LAB-$3 ss -ltn | grep -q :5001"
	inside "$2" timeout 30 nc -N "$4" 5001 <"$LAB_DIR/sent" || lab_fail "$what: TCP breaks off"
	wait $listener
	cmp "$LAB_DIR/sent" "$LAB_DIR/got" || lab_fail "$what: the transfer is damaged"
}

for vni in 4 6; do
	inside web ip route replace 10.$vni.0.0/24 dev eth0 src 10.$vni.0.1
	wait_until 20 "VXLAN $vni of OVS" ping_ok web 10.$vni.0.9
	# One direction of two stays below: requests are encapsulated by dpud, replies go up.
	pings web 10.$vni.0.9 >/dev/null
	appctl ovs dpctl/dump-flows -m type=offloaded | grep -q 'offloaded:yes.*tnl_push' || lab_fail "no encapsulation is offloaded: $(appctl ovs dpctl/dump-flows -m)"
	ovs_alone m 26 "VXLAN $vni of OVS" pings web 10.$vni.0.9
	transfer "VXLAN $vni of OVS" web net 10.$vni.0.9
	transfer "VXLAN $vni of OVS, from Linux" net web 10.$vni.0.1
done

# ---- tunnels that dpud ends
for port in vx4 vx6 up; do vsctl ovs del-port $port; done
inside a ip address flush dev wire
cat >"$LAB_DIR/tunnels.yaml" <<YAML
version: 1
underlays:
  - {name: v4, port: up, address: 192.0.2.1, prefix_length: 24}
  - {name: v6, port: up, address: "2001:db8::1", prefix_length: 64}
representors:
  - {name: t4, eswitch: ovs, tunnel_underlay: v4, tunnel_remote: 192.0.2.2, vni: 4}
  - {name: t6, eswitch: ovs, tunnel_underlay: v6, tunnel_remote: "2001:db8::2", vni: 6}
YAML
dpu m representor delete up >/dev/null
dpu m apply -f "$LAB_DIR/tunnels.yaml" >/dev/null
for port in t4 t6; do ovs_port ovs br0 $port m; done
for vni in 4 6; do
	wait_until 20 "VXLAN $vni of dpud" ping_ok web 10.$vni.0.9
	pings net 10.$vni.0.1 >/dev/null
	ovs_alone m 4 "VXLAN $vni of dpud" pings net 10.$vni.0.1
	transfer "VXLAN $vni of dpud" web net 10.$vni.0.9
	transfer "VXLAN $vni of dpud, from Linux" net web 10.$vni.0.1
done
