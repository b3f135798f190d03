#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every kind of uplink between two DPUs, with IPv4 and IPv6 underlay, small and large MTU: ping and TCP across, and both ends of the wire
# count the same frames.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin uplinks
for name in a b box-a box-b; do lab_netns $name; done
lab_veth a up0 b up0 9300
# A TAP uplink hands its frames to the stack of the host, here a bridge.
inside a ip link add bridge type bridge
inside a ip link set bridge mtu 9300 up
lab_dpud a a "${small[@]}" --workers 2
lab_dpud b b "${small[@]}"

head -c 20M /dev/urandom >"$LAB_DIR/sent"

# declare DPU NUMBER DEVICE MTU VTEP PEER-VTEP PREFIX-LENGTH
declare_side() {
	local dpu=$1 own=$2 other=$((3 - $2))
	cat >"$LAB_DIR/$dpu.yaml" <<-EOT
		version: 1
		tenants: [{name: blue}]
		ports: [{name: uplink, device: "$3", mtu: $4}]
		underlays: [{name: fabric, port: uplink, address: "$5", prefix_length: $7}]
		vpcs: [{name: prod, tenant: blue, vni: 1001, underlay: fabric}]
		subnets: [{name: front, tenant: blue, vpc: prod, prefix_v4: 10.0.0.0/24, prefix_v6: "fd00:b::/64"}]
		vnics:
		  - {name: box, tenant: blue, subnet: front, backend: tap, netns: $LAB-box-$dpu, mtu: $(($4 - 100)),
		     addresses: [10.0.0.1$own, "fd00:b::1$own"], mac: "02:00:00:00:00:1$own"}
		mappings:
		  - {name: v4, tenant: blue, vpc: prod, address: 10.0.0.1$other, mac: "02:00:00:00:00:1$other", vtep: "$6"}
		  - {name: v6, tenant: blue, vpc: prod, address: "fd00:b::1$other", mac: "02:00:00:00:00:1$other", vtep: "$6"}
	EOT
	dpu "$dpu" apply -f "$LAB_DIR/$dpu.yaml" --prune >"$LAB_DIR/apply.out"
	wait_until 5 "$dpu has its container's interface" inside "box-$dpu" ip link show eth0
	inside "box-$dpu" ip address add "10.0.0.1$own/24" dev eth0
	inside "box-$dpu" ip -6 address add "fd00:b::1$own/64" dev eth0 nodad
}

counter() { dpu "$1" -o json port show uplink | json "d['$2']"; }
same_frames() { [ "$(counter a tx_packets)" = "$(counter b rx_packets)" ] && [ "$(counter a rx_packets)" = "$(counter b tx_packets)" ]; }

exchange() { # KIND
	local what=$1 address
	wait_until 10 "$what: ping across" inside box-a ping -c 1 -W 1 10.0.0.12
	inside box-a ping -q -c 3 -i 0.2 -s 1400 fd00:b::12 >/dev/null || lab_fail "$what: no IPv6"
	for address in 10.0.0.12 fd00:b::12; do lab_transfer "$what, to $address" box-b "$address" lab_send box-a "$address"; done
	# Frames of the hosts' own stacks go over a veth, too: only a memif has two ends and nothing else.
	case $what in memif*) wait_until 5 "$what: both ends count the same frames" same_frames ;; esac
	echo "uplinks: $what: $(counter a tx_packets) frames sent, $(counter a tx_drops) dropped"
}

declare -A device_a=([af_packet]=af_packet:up0 [af_xdp]=af_xdp:up0 [memif]="memif:$LAB_DIR/m.sock,server" [tap]=tap:wire)
declare -A device_b=([af_packet]=af_packet:up0 [af_xdp]=af_xdp:up0 [memif]="memif:$LAB_DIR/m.sock" [tap]=af_packet:up0)
for kind in af_packet af_xdp memif tap; do
	for mtu in 1600 9216; do
		# AF_XDP has one page for a frame.
		[ "$kind" != af_xdp ] || [ $mtu = 1600 ] || continue
		vteps=(192.0.2.1 192.0.2.2 24)
		[ $mtu = 1600 ] || vteps=(2001:db8::1 2001:db8::2 64)
		inside a ip link set up0 mtu $mtu
		inside b ip link set up0 mtu $mtu
		declare_side a 1 "${device_a[$kind]}" $mtu "${vteps[@]}"
		declare_side b 2 "${device_b[$kind]}" $mtu "${vteps[1]}" "${vteps[0]}" "${vteps[2]}"
		if [ "$kind" = tap ]; then
			wait_until 5 "the TAP is there" inside a ip link show wire
			inside a ip link set wire master bridge up
			inside a ip link set up0 master bridge
		fi
		exchange "$kind, MTU $mtu"
		for name in a b; do dpu $name apply --prune -f /dev/stdin <<<'version: 1' >/dev/null; done
	done
done
