#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Representors of tunnels: containers without a VPC talk, by an eswitch client's rules, to Linux's own VXLAN devices over an IPv4 and an
# IPv6 underlay, to two ends of one VNI, and over Geneve between two DPUs.
#
#   box ── TAP ── dpud (a) ── up0 ═══ up0 ── Linux vx4, vx6 (peer)      near ── dpud (a) ── g0 ═══ g0 ── dpud (b) ── far
set -euo pipefail
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
lab_begin etun
for name in a b peer box near far; do lab_netns $name; done
lab_veth a up0 peer up0
lab_veth a g0 b g0
inside peer ip address add 192.0.2.2/24 dev up0
inside peer ip address add 192.0.2.3/24 dev up0
inside peer ip address add 2001:db8::2/64 dev up0 nodad
lab_dpud a a --workers 2 --huge-pages off --memory 64
lab_dpud b b --workers 1 --huge-pages off --memory 64
vnic() { echo "{name: $1, tenant: blue, backend: tap, tap_name: $1, netns: $LAB-$2, mtu: 1400}"; }
cat >"$LAB_DIR/a.yaml" <<YAML
version: 1
tenants: [{name: blue}]
eswitches: [{name: ovs}]
ports: [{name: up, device: "af_packet:up0"}, {name: g, device: "af_packet:g0"}]
underlays:
  - {name: v4, port: up, address: 192.0.2.1, prefix_length: 24}
  - {name: v6, port: up, address: "2001:db8::1", prefix_length: 64}
  - {name: g, port: g, address: 198.51.100.1, prefix_length: 24}
vnics: [$(vnic four box), $(vnic five box), $(vnic six box), $(vnic near near)]
representors:
  - {name: four, eswitch: ovs, vnic: blue/four}
  - {name: five, eswitch: ovs, vnic: blue/five}
  - {name: six, eswitch: ovs, vnic: blue/six}
  - {name: near, eswitch: ovs, vnic: blue/near}
  - {name: t4, eswitch: ovs, tunnel_underlay: v4, tunnel_remote: 192.0.2.2, vni: 4}
  - {name: t5, eswitch: ovs, tunnel_underlay: v4, tunnel_remote: 192.0.2.3, vni: 4}
  - {name: t6, eswitch: ovs, tunnel_underlay: v6, tunnel_remote: "2001:db8::2", vni: 6}
  - {name: tg, eswitch: ovs, tunnel_underlay: g, tunnel_remote: 198.51.100.2, vni: 4, encapsulation: geneve}
YAML
cat >"$LAB_DIR/b.yaml" <<YAML
version: 1
tenants: [{name: blue}]
eswitches: [{name: ovs}]
ports: [{name: g, device: "af_packet:g0"}]
underlays: [{name: g, port: g, address: 198.51.100.2, prefix_length: 24}]
vnics: [$(vnic far far)]
representors:
  - {name: far, eswitch: ovs, vnic: blue/far}
  - {name: tg, eswitch: ovs, tunnel_underlay: g, tunnel_remote: 198.51.100.1, vni: 4, encapsulation: geneve}
YAML
for name in a b; do dpu $name apply -f "$LAB_DIR/$name.yaml" >/dev/null; done

linux() { # device, VNI, its address, remote, local: a VXLAN device of the peer's
	inside peer ip link add "$1" address "02:00:00:00:aa:0${1#vx}" type vxlan id "$2" dstport 4789 remote "$4" local "$5" 2>/dev/null || return 1
	inside peer ip address add "$3/24" dev "$1"
	inside peer ip link set "$1" mtu 1400 up
}
linux vx4 4 10.4.0.9 192.0.2.1 192.0.2.2
linux vx6 6 10.6.0.9 2001:db8::1 2001:db8::2
address() { # namespace, interface, address
	wait_until 10 "$2 of $1" inside "$1" ip link show "$2"
	inside "$1" ip address add "$3/24" dev "$2"
	inside "$1" ip link set "$2" up
}
address box four 10.4.0.2
address box five 10.5.0.2
address box six 10.6.0.2
address near near 10.7.0.1
address far far 10.7.0.2

join() { # instance, pairs: a client whose standard input is descriptor 8 or 9
	local name=$1
	shift
	mkfifo "$LAB_DIR/$name.stop"
	/usr/bin/python3 "$(dirname "$0")/eswitch_tunnels.py" "$lab_top/tests/smoke" "/run/softdpu/$LAB-$name/eswitch.sock" "$@" \
		<"$LAB_DIR/$name.stop" >"$LAB_DIR/$name.out" &
	lab_pids+=($!)
}
join a four=t4 five=t5 six=t6 near=tg
join b far=tg
exec 8>"$LAB_DIR/a.stop" 9>"$LAB_DIR/b.stop"
for name in a b; do wait_until 10 "the client of $name" grep -q ready "$LAB_DIR/$name.out"; done

ping_ok() { inside "$1" ping -c 5 -i 0.2 -W 2 "$2" >/dev/null || lab_fail "$1 does not reach $2 ($3)"; }
ping_ok box 10.4.0.9 "VXLAN over IPv4, Linux's device"
ping_ok peer 10.4.0.2 "VXLAN over IPv4, from Linux"
ping_ok box 10.6.0.9 "VXLAN over IPv6"
ping_ok near 10.7.0.2 "Geneve between two DPUs"
head -c 3000000 /dev/urandom >"$LAB_DIR/sent"
lab_transfer "through the tunnel" peer 10.4.0.9 lab_send box 10.4.0.9

# The same VNI from another end is another representor: the first device gives way to one with the other address.
inside peer ip link del vx4
linux vx5 4 10.5.0.9 192.0.2.1 192.0.2.3
ping_ok box 10.5.0.9 "the same VNI from another remote"
inside peer ip link del vx5
linux vx4 4 10.4.0.9 192.0.2.1 192.0.2.2
ping_ok box 10.4.0.9 "and back"

before=$(dpu a -o json drops | json "next(row['packets'] for row in d['drops'] if row['reason'] == 'unknown-vni')")
inside peer ip address add 192.0.2.66/24 dev up0
inside peer ip link del vx4
linux vx4 4 10.4.0.9 192.0.2.1 192.0.2.66
inside peer ping -c 2 -W 1 10.4.0.2 >/dev/null && lab_fail "a stranger's tunnel is served"
after=$(dpu a -o json drops | json "next(row['packets'] for row in d['drops'] if row['reason'] == 'unknown-vni')")
[ "$after" -gt "$before" ] || lab_fail "a stranger's frames are not counted: $before, $after"
