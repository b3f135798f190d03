# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What the tests of Open vSwitch's tunnels share: dpud m in namespace a, whose TAP vNIC web is a port of OVS's bridge br0 and whose uplink
# up0 (192.0.2.1, 2001:db8::1) one of its bridge wire. The far end, 192.0.2.2 and 2001:db8::2, is the script's.
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
. "$(dirname "$0")/../lib/ovs.sh"

tunnel_dpud() { # ADDRESS/LENGTH... of web
	local address
	lab_dpud m a --workers 2 --huge-pages off --memory 128
	cat >"$LAB_DIR/m.yaml" <<-YAML
		version: 1
		tenants: [{name: blue}]
		eswitches: [{name: ovs}]
		ports: [{name: up, device: "af_packet:up0"}]
		vnics: [{name: web, tenant: blue, backend: tap, netns: $LAB-web, mtu: 1400}]
		representors:
		  - {name: web, eswitch: ovs, vnic: blue/web}
		  - {name: up, eswitch: ovs, port: up}
	YAML
	dpu m apply -f "$LAB_DIR/m.yaml" >/dev/null
	wait_until 10 "eth0 of web" inside web ip link show eth0
	for address in "$@"; do inside web ip address add "$address" dev eth0; done
	inside web ip link set eth0 up mtu 1400
}

# OVS has the tunnels' local addresses on the bridge wire.
tunnel_ovs() {
	ovs_new ovs a
	ovs_start ovs
	for bridge in br0 wire; do ovs_bridge ovs $bridge; done
	ovs_port ovs br0 web m
	ovs_port ovs wire up m
	inside a ip address add 192.0.2.1/24 dev wire
	inside a ip address add 2001:db8::1/64 dev wire nodad
	inside a ip link set wire up
}
tunnel_port() { vsctl ovs add-port br0 "$1" -- set interface "$1" "type=$2" "options:key=$3" "options:remote_ip=\"$4\""; } # NAME TYPE KEY REMOTE

# From here on dpud ends tunnels, t4 over IPv4 and t6 over IPv6, which are ports of br0; those of OVS are gone.
tunnel_to_dpud() { # VNI of t4, of t6, ENCAPSULATION, ports of OVS's tunnels
	local port
	for port in "${@:4}" up; do vsctl ovs del-port "$port"; done
	inside a ip address flush dev wire
	dpu m representor delete up >/dev/null
	cat >"$LAB_DIR/tunnels.yaml" <<-YAML
		version: 1
		underlays:
		  - {name: v4, port: up, address: 192.0.2.1, prefix_length: 24}
		  - {name: v6, port: up, address: "2001:db8::1", prefix_length: 64}
		representors:
		  - {name: t4, eswitch: ovs, tunnel_underlay: v4, tunnel_remote: 192.0.2.2, vni: $1, encapsulation: $3}
		  - {name: t6, eswitch: ovs, tunnel_underlay: v6, tunnel_remote: "2001:db8::2", vni: $2, encapsulation: $3}
	YAML
	dpu m apply -f "$LAB_DIR/tunnels.yaml" >/dev/null
	for port in t4 t6; do ovs_port ovs br0 $port m; done
}
ping_ok() { inside "$1" ping -c 3 -i 0.2 -W 2 "$2" >/dev/null; }
pings() { inside "$1" ping -c 20 -i 0.05 -W 2 "$2"; }
