#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A container behind dpud talks to Linux's own VXLAN device, over an IPv4 and an IPv6 underlay: ARP, ping, TCP both ways, a transfer
# that needs segmentation, and a packet too big for the tunnel.
#
#   box ── TAP ── dpud (a) ── up0 ═══ up0 ── Linux vx4, vx6 (peer)
set -euo pipefail
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
lab_begin vxlan
for name in a peer box; do lab_netns $name; done
lab_veth a up0 peer up0
inside peer ip address add 192.0.2.2/24 dev up0
inside peer ip address add 2001:db8::2/64 dev up0 nodad
lab_dpud a a --workers 1

cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
ports: [{name: up, device: "af_packet:up0"}]
underlays:
  - {name: v4, port: up, address: 192.0.2.1, prefix_length: 24}
  - {name: v6, port: up, address: "2001:db8::1", prefix_length: 64}
vpcs:
  - {name: four, tenant: blue, vni: 4, underlay: v4}
  - {name: six, tenant: blue, vni: 6, underlay: v6}
subnets:
  - {name: four, tenant: blue, vpc: four, prefix_v4: 10.4.0.0/24, prefix_v6: "fd04::/64"}
  - {name: six, tenant: blue, vpc: six, prefix_v4: 10.6.0.0/24, prefix_v6: "fd06::/64"}
vnics:
  - {name: four, tenant: blue, subnet: four, addresses: [10.4.0.2, "fd04::2"], backend: tap, tap_name: four, netns: $LAB-box}
  - {name: six, tenant: blue, subnet: six, addresses: [10.6.0.2, "fd06::2"], backend: tap, tap_name: six, netns: $LAB-box}
mappings:
  - {name: f4, tenant: blue, vpc: four, address: 10.4.0.9, mac: "02:00:00:00:04:09", vtep: 192.0.2.2}
  - {name: f6, tenant: blue, vpc: four, address: "fd04::9", mac: "02:00:00:00:04:09", vtep: 192.0.2.2}
  - {name: s4, tenant: blue, vpc: six, address: 10.6.0.9, mac: "02:00:00:00:06:09", vtep: "2001:db8::2"}
  - {name: s6, tenant: blue, vpc: six, address: "fd06::9", mac: "02:00:00:00:06:09", vtep: "2001:db8::2"}
YAML
rpc a dpu.apply "@$LAB_DIR/net.yaml" >/dev/null

mac_of() { rpc a vnic.get "{\"tenant\":\"blue\",\"name\":\"$1\"}" | json "d['mac']"; }
attach() { # name, VNI, IPv4 net, IPv6 net, remote, local
	inside box ip address add "$3.2/24" dev "$1"
	inside box ip address add "$4::2/64" dev "$1" nodad
	inside peer ip link add "vx$2" address "02:00:00:00:0$2:09" type vxlan id "$2" dstport 4789 remote "$5" local "$6"
	inside peer ip address add "$3.9/24" dev "vx$2"
	inside peer ip address add "$4::9/64" dev "vx$2" nodad
	inside peer ip link set "vx$2" up
	# dpud answers ARP and ND for its own side only: Linux's flooding has nobody to ask.
	inside peer ip neighbour add "$3.2" lladdr "$(mac_of "$1")" dev "vx$2" nud permanent
	inside peer ip neighbour add "$4::2" lladdr "$(mac_of "$1")" dev "vx$2" nud permanent
}
attach four 4 10.4.0 fd04 192.0.2.1 192.0.2.2
attach six 6 10.6.0 fd06 2001:db8::1 2001:db8::2

head -c 20000000 /dev/urandom >"$LAB_DIR/sent"
transfer() { lab_transfer "from $1 to $3" "$2" "$3" lab_send "$1" "$3"; } # FROM TO ADDRESS

for address in 10.4.0.9 10.6.0.9 fd04::9 fd06::9; do
	wait_until 15 "box reaches $address" inside box ping -c 1 -W 1 "$address"
	inside box ping -q -c 5 -i 0.05 -W 2 "$address" | grep -q ' 0% packet loss' || lab_fail "loss from box to $address"
done
for address in 10.4.0.2 10.6.0.2 fd04::2 fd06::2; do
	inside peer ping -q -c 5 -i 0.05 -W 2 "$address" | grep -q ' 0% packet loss' || lab_fail "loss from Linux to $address"
done
transfer box peer 10.4.0.9
transfer box peer fd04::9
transfer box peer fd06::9
transfer peer box 10.4.0.2
transfer peer box 10.6.0.2

# The inner MTU is the uplink's 1600 less 50 (IPv4) or 70 (IPv6 underlay); the vNIC says 1500, so 1472 bytes of ping fit exactly.
inside box ping -q -c 2 -M 'do' -s 1472 -W 2 10.4.0.9 | grep -q ' 0% packet loss' || lab_fail "a packet of the vNIC's MTU does not pass"
echo "Linux VXLAN: ping and TCP, IPv4 and IPv6 inside and outside, both ways"
