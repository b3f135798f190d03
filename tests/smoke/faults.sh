#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What the machine does to a DPU: the uplink's interface vanishes and comes back, the disk under the store is full.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin faults
for name in a b box far red redfar; do lab_netns $name; done
lab_veth a up0 b up0

# Two DPUs, two tenants with equal addresses on both, IPv4 and IPv6 inside.
mkdir "$LAB_DIR/store"
mount -t tmpfs -o size=2m,mode=700 none "$LAB_DIR/store"
lab_dpud m a "${small[@]}" --workers 1 --store-dir "$LAB_DIR/store"
lab_dpud n b "${small[@]}" --workers 1
document() { # own VTEP, other VTEP, own host, other host, namespaces of blue and red
	cat <<YAML
version: 1
tenants: [{name: blue}, {name: red}]
ports: [{name: up, device: "af_packet:up0"}]
underlays: [{name: fabric, port: up, address: 192.0.2.$1, prefix_length: 24}]
vpcs:
  - {name: main, tenant: blue, vni: 1, underlay: fabric}
  - {name: main, tenant: red, vni: 2, encapsulation: geneve, underlay: fabric}
subnets:
  - {name: front, tenant: blue, vpc: main, prefix_v4: 10.0.0.0/24, prefix_v6: "fd00::/64"}
  - {name: front, tenant: red, vpc: main, prefix_v4: 10.0.0.0/24, prefix_v6: "fd00::/64"}
vnics:
  - {name: own, tenant: blue, subnet: front, addresses: [10.0.0.$3, "fd00::$3"], mac: "02:00:00:00:00:0$3", backend: tap, netns: $5}
  - {name: own, tenant: red, subnet: front, addresses: [10.0.0.$3, "fd00::$3"], mac: "02:00:00:00:00:0$3", backend: tap, netns: $6}
mappings:
  - {name: other, tenant: blue, vpc: main, address: 10.0.0.$4, mac: "02:00:00:00:00:0$4", vtep: 192.0.2.$2}
  - {name: other6, tenant: blue, vpc: main, address: "fd00::$4", mac: "02:00:00:00:00:0$4", vtep: 192.0.2.$2}
  - {name: other, tenant: red, vpc: main, address: 10.0.0.$4, mac: "02:00:00:00:00:0$4", vtep: 192.0.2.$2}
YAML
}
document 1 2 5 6 "$LAB-box" "$LAB-red" >"$LAB_DIR/m.yaml"
document 2 1 6 5 "$LAB-far" "$LAB-redfar" >"$LAB_DIR/n.yaml"
ctl apply -f "$LAB_DIR/m.yaml" >/dev/null
dpu n apply -f "$LAB_DIR/n.yaml" >/dev/null
box box 10.0.0.5/24 fd00::5/64
box far 10.0.0.6/24 fd00::6/64
reaches() { inside box ping -q -c 1 -W 1 "$1"; }
wait_until 10 "IPv4 across the overlay" reaches 10.0.0.6
wait_until 10 "IPv6 across the overlay" reaches fd00::6
# Red has the same addresses, and reaches its own.
box red 10.0.0.5/24
box redfar 10.0.0.6/24
count() { dpu n -o json vnic show "$1" | json "d['tx_packets']"; }
wait_until 10 "red across the overlay" inside red ping -q -c 1 -W 1 10.0.0.6
blue=$(count blue/own)
red=$(count red/own)
inside red ping -q -f -c 50 10.0.0.6 >/dev/null
more "packets at red's vNIC" "$(count red/own)" $((red + 50))
[ "$(count blue/own)" -le $((blue + 5)) ] || lab_fail "red's packets are at blue's vNIC"

# ---- the uplink's interface is deleted under dpud, and comes back by itself
"$dpuctl" -i "$LAB-m" watch port >"$LAB_DIR/events" 2>&1 &
lab_pids+=($!)
sleep 0.5
ip -n "$LAB-a" link delete up0
wait_until 10 "the port is down" is False field port up up
wait_until 10 "the event" grep -q "link-down" "$LAB_DIR/events"
reaches 10.0.0.6 >/dev/null && lab_fail "packets pass without an uplink"
has 0 "the link is down, or the interface behind it is gone" ctl port show up
ok ctl vpc set blue/main labels=while=down
lab_veth a up0 b up0
wait_until 20 "the port is up again" is True field port up up
wait_until 20 "IPv4 across the overlay again" reaches 10.0.0.6
wait_until 10 "IPv6 across the overlay again" reaches fd00::6
wait_until 10 "the event" grep -q "link-up" "$LAB_DIR/events"
# Only the carrier goes.
inside b ip link set up0 down
wait_until 10 "the port is down" is False field port up up
inside b ip link set up0 up
wait_until 20 "IPv4 across the overlay after the carrier" reaches 10.0.0.6

# ---- a full disk: a change is refused with a sentence, nothing is lost, traffic goes on
dd if=/dev/zero of="$LAB_DIR/store/filler" bs=4k >/dev/null 2>&1 || true
before=$(ctl export)
refused=
for number in $(seq 400); do
	if ! ctl security_group create "blue/group$number" description="$(printf 'x%.0s' $(seq 200))" >"$LAB_DIR/says" 2>&1; then
		refused=$number
		break
	fi
	before=$(ctl export)
done
[ -n "$refused" ] || lab_fail "a full disk refuses nothing"
grep -q "full" "$LAB_DIR/says" || lab_fail "the refusal does not say what is wrong: $(cat "$LAB_DIR/says")"
[ "$before" = "$(ctl export)" ] || lab_fail "a refused change is there"
reaches 10.0.0.6 >/dev/null || lab_fail "no traffic while the disk is full"
lab_dpud_kill m
wait_until 20 "dpud comes back on a full disk" ctl version
[ "$before" = "$(ctl export)" ] || lab_fail "something is lost"
rm "$LAB_DIR/store/filler"
ok ctl security_group create "blue/group$refused"
lab_dpud_stop m
umount "$LAB_DIR/store"
