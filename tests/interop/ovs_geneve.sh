#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Tunnels of stock Open vSwitch on the DPU's uplink against Linux's Geneve and GRE devices, which a Debian guest has: OVS's own tunnel
# ports, then a Geneve tunnel that dpud ends.
#
#   web ── TAP ── dpud (m) ── up0 ═══ up0 ── dpud (b) ── vhost-user ── guest: Linux gn5, gn6, gre7
#              OVS: br0 web, tunnels; wire: the uplink and the tunnels' local addresses
set -euo pipefail
# shellcheck disable=SC2034 # for machine.sh
machine_guests=1
. "$(dirname "$0")/tunnel_world.sh"
lab_begin ovsgen
ovs_needs
for name in a b web; do lab_netns $name; done
lab_veth a up0 b up0
lab_dpud b b --workers 1 --huge-pages off --memory 64
cat >"$LAB_DIR/b.yaml" <<YAML
version: 1
tenants: [{name: blue}]
eswitches: [{name: ovs}]
ports: [{name: up, device: "af_packet:up0"}]
vnics: [{name: vm, tenant: blue, mac: "02:00:00:00:00:22", backend: vhost_user_client, socket: $LAB_DIR/vm.sock}]
representors:
  - {name: vm, eswitch: ovs, vnic: blue/vm}
  - {name: up, eswitch: ovs, port: up}
YAML
dpu b apply -f "$LAB_DIR/b.yaml" >/dev/null
lab_guest vm "$LAB_DIR/vm.sock" 02:00:00:00:00:22 --no-wait
# b only joins the guest and the wire.
mkfifo "$LAB_DIR/stop"
/usr/bin/python3 "$(dirname "$0")/eswitch_tunnels.py" "$lab_top/tests/smoke" "/run/softdpu/$LAB-b/eswitch.sock" vm=up \
	<"$LAB_DIR/stop" >"$LAB_DIR/client.out" &
lab_pids+=($!)
exec 8>"$LAB_DIR/stop"
tunnel_dpud 10.5.0.1/24 10.6.0.1/24 10.7.0.1/24
tunnel_ovs
tunnel_port gn5 geneve 5 192.0.2.2
tunnel_port gn6 geneve 6 2001:db8::2
tunnel_port gr7 gre 7 192.0.2.2

lab_guest_wait vm 240
# Busybox prefers its own ip, which knows no such devices.
on vm "/usr/bin/ip link set eth0 up
/usr/bin/ip address add 192.0.2.2/24 dev eth0
/usr/bin/ip address add 2001:db8::2/64 dev eth0 nodad
/usr/bin/ip link add gn5 type geneve id 5 remote 192.0.2.1
/usr/bin/ip link add gn6 type geneve id 6 remote 2001:db8::1 udp6zerocsumrx
/usr/bin/ip link add gr7 type gretap remote 192.0.2.1 local 192.0.2.2 key 7
# Only the device with the address answers a request that comes out of all three.
echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
for device in gn5:5 gn6:6 gr7:7; do
	/usr/bin/ip address add 10.\${device#*:}.0.9/24 dev \${device%:*}
	/usr/bin/ip link set \${device%:*} mtu 1400 up
done" >"$LAB_DIR/guest.log" || lab_fail "the guest has no tunnels: $(cat "$LAB_DIR/guest.log")"

head -c 2000000 /dev/urandom >"$LAB_DIR/sent"
wanted=$(sha256sum <"$LAB_DIR/sent")
transfer() { # WHAT ADDRESS
	local got
	on vm 'nc -l -p 5001 >/tmp/got & sleep 0.5'
	inside web timeout 40 nc -N "$2" 5001 <"$LAB_DIR/sent" || lab_fail "$1: TCP breaks off"
	# shellcheck disable=SC2016 # the guest's shell is to expand it
	got=$(on vm 'for i in $(seq 100); do [ $(wc -c </tmp/got) -lt 2000000 ] || break; sleep 0.1; done; sha256sum </tmp/got')
	[ "$got" = "$wanted" ] || lab_fail "$1: the transfer is damaged"
}
for vni in 5 6 7; do
	wait_until 30 "tunnel $vni of OVS" ping_ok web 10.$vni.0.9
	pings web 10.$vni.0.9 >/dev/null
	# One direction of two stays below: what comes back is OVS's to take apart.
	ovs_alone m 27 "tunnel $vni of OVS" pings web 10.$vni.0.9
	transfer "tunnel $vni of OVS" 10.$vni.0.9
done

# ---- a tunnel that dpud ends
tunnel_to_dpud 5 6 geneve gn5 gn6 gr7
for vni in 5 6; do
	wait_until 30 "Geneve $vni of dpud" ping_ok web 10.$vni.0.9
	pings web 10.$vni.0.9 >/dev/null
	ovs_alone m 6 "Geneve $vni of dpud" pings web 10.$vni.0.9
	transfer "Geneve $vni of dpud" 10.$vni.0.9
done
