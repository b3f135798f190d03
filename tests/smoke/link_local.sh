#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Guests of one subnet reach each other's link-local addresses, on one DPU and across two; security groups and anti-spoofing apply, and
# nothing of it leaves the subnet.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin link
for name in a b web db far next; do lab_netns $name; done
lab_veth a up0 b up0
lab_dpud a a "${small[@]}"
lab_dpud b b "${small[@]}"

# side DPU NUMBER: what both have, but for who is where.
side() {
	local own=$2 other=$((3 - $2))
	cat <<-YAML
		version: 1
		tenants: [{name: blue}]
		ports: [{name: up, device: "af_packet:up0", mtu: 1600}]
		underlays: [{name: fabric, port: up, address: 192.0.2.$own, prefix_length: 24}]
		vpcs: [{name: main, tenant: blue, vni: 7, underlay: fabric}]
		subnets:
		  - {name: front, tenant: blue, vpc: main, prefix_v4: 10.0.0.0/24, prefix_v6: "fd00:1::/64"}
		  - {name: back, tenant: blue, vpc: main, prefix_v4: 10.0.1.0/24, prefix_v6: "fd00:2::/64"}
		security_groups: [{name: closed, tenant: blue}]
		security_group_rules:
		  - {name: closed-out, tenant: blue, group: closed, direction: egress, ethertype: ipv6}
	YAML
	echo "vnics:"
	shift 2
	printf '%s\n' "$@"
	[ "$own" = 1 ] && echo "mappings: [{name: far, tenant: blue, vpc: main, address: 10.0.0.7, mac: '02:00:00:00:00:07', vtep: 192.0.2.$other}]"
	[ "$own" = 1 ] || cat <<-YAML
		mappings:
		  - {name: web, tenant: blue, vpc: main, address: 10.0.0.5, mac: '02:00:00:00:00:05', vtep: 192.0.2.$other}
		  - {name: db, tenant: blue, vpc: main, address: "fd00:1::6", mac: '02:00:00:00:00:06', vtep: 192.0.2.$other}
	YAML
}
vnic() { # NAME SUBNET LAST [MORE]
	local net=0
	[ "$2" = front ] || net=1
	echo "  - {name: $1, tenant: blue, subnet: $2, addresses: [10.0.$net.$3, 'fd00:$((net + 1))::$3'], mac: '02:00:00:00:00:0$3', backend: tap, netns: $LAB-$1${4:-}}"
}
side a 1 "$(vnic web front 5)" "$(vnic db front 6)" "$(vnic next back 8)" >"$LAB_DIR/a.yaml"
side b 2 "$(vnic far front 7)" >"$LAB_DIR/b.yaml"
for name in a b; do dpu $name apply -f "$LAB_DIR/$name.yaml" >/dev/null; done
for name in web db next far; do
	wait_until 10 "eth0 of $name" inside $name ip link show eth0
	# The address of the MAC, as most guests have it, not a random one.
	inside $name ip link set eth0 addrgenmode eui64
	inside $name sysctl -q -w net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.eth0.accept_ra=0
	inside $name ip link set eth0 up
done
address() { echo "fe80::ff:fe00:$1%eth0"; }
reaches() { inside "$1" ping -q -c "${3:-1}" -i 0.2 -W 1 "$(address "$2")"; }
refused() { ! inside "$1" ping -q -c 2 -i 0.2 -W 0.3 "$2" >/dev/null; }

# ---- two containers of a DPU, two DPUs: both ways; duplicate address detection finds nobody
for pair in "web 6" "db 5" "web 7" "far 5" "far 6"; do
	# shellcheck disable=SC2086
	wait_until 10 "ping $pair" reaches $pair
done
for name in web db far; do
	[ -z "$(inside $name ip -6 address show dev eth0 dadfailed)" ] || lab_fail "$name takes its own address for a duplicate"
done
neighbour=$(inside web ip -6 neighbour show fe80::ff:fe00:6 dev eth0)
[[ $neighbour == "fe80::ff:fe00:6 lladdr 02:00:00:00:00:06 "* ]] || lab_fail "the neighbour has another MAC: $neighbour"
[[ $neighbour != *router* ]] || lab_fail "a neighbour says that it is a router: $neighbour"

# TCP as well, and more than one packet of it.
head -c 3M /dev/urandom >"$LAB_DIR/sent"
lab_transfer "to a link-local address" far fe80::ff:fe00:7%eth0 lab_send web "$(address 7)"
more "hits" "$(($(dpu a -o json vnic show blue/web | json "d['rx_packets'] - d['misses']")))" 50

# ---- the MAC of another is known, its subnet is another
inside web ip neighbour replace fe80::ff:fe00:8 lladdr 02:00:00:00:00:08 dev eth0 nud permanent
dropped_a() { dpu a -o json drops | json "next(row['packets'] for row in d['drops'] if row['reason'] == '$1')"; }
before=$(dropped_a no-mapping)
refused web "$(address 8)" || lab_fail "a link-local address is reached from another subnet"
more "no-mapping" "$(dropped_a no-mapping)" $((before + 2))
has 0 "nobody in the subnet of" dpu a why vnic=blue/web dst=fe80::ff:fe00:8 protocol=icmpv6

# ---- another's address, and a random one (RFC 7217), until it is named
inside web ip address add fe80::1234/64 dev eth0 nodad
before=$(dropped_a spoofed-address)
ping_from() { inside web ping -q -c 1 -W 0.5 -I fe80::1234%eth0 "$(address "$1")" >/dev/null; }
ping_from 6 && lab_fail "a source address that nobody gave is let through"
more "spoofed-address" "$(dropped_a spoofed-address)" $((before + 1))
ok dpu a vnic set blue/web addresses=10.0.0.5,fd00:1::5,fe80::1234
wait_until 5 "ping from the named address" ping_from 6
ok dpu b mapping create blue/random vpc=main address=fe80::1234 mac=02:00:00:00:00:05 vtep=192.0.2.1
wait_until 5 "ping from the named address across" ping_from 7

# ---- by default nothing is allowed in
ok dpu a vnic set blue/db security_groups=closed
before=$(dropped_a ingress-denied)
refused web "$(address 6)" || lab_fail "a closed group lets a neighbour in"
refused far "$(address 6)" || lab_fail "a closed group lets a neighbour on another DPU in"
more "ingress-denied" "$(dropped_a ingress-denied)" $((before + 4))
reaches db 5 >/dev/null || lab_fail "answers need no rule"
ok dpu a security_group_rule create blue/echo group=closed direction=ingress ethertype=ipv6 protocol=icmpv6 remote_ip_prefix=fe80::/64
wait_until 5 "an open group lets it in" reaches web 6

# ---- a dpud that was killed has all of it again, also what follows from MACs alone
lab_dpud_kill a
wait_until 30 "a is back" dpu a version
for pair in "web 6" "web 7" "far 5"; do
	# shellcheck disable=SC2086
	wait_until 10 "ping $pair after the kill" reaches $pair
done
refused web "$(address 8)" || lab_fail "another subnet is reached after the kill"

# ---- it goes when its owner goes
ok dpu b mapping delete blue/web
wait_until 5 "no mapping, no link-local address" refused far "$(address 5)"
