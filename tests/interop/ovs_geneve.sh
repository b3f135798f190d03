#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Tunnels of stock Open vSwitch on the DPU's uplink against Linux's Geneve and GRE devices, which a Debian guest has: OVS's own tunnel
# ports, then a Geneve tunnel that dpud ends.
#
#   web ── TAP ── dpud (m) ── up0 ═══ up0 ── dpud (b) ── vhost-user ── guest: Linux gn5, gn6, gre7
#              OVS: br0 web, tunnels; wire: the uplink and the tunnels' local addresses
set -euo pipefail
. "$(dirname "$0")/../lib/lab.sh"
. "$(dirname "$0")/../lib/ovs.sh"
lab_begin ovsgen
ovs_needs
for name in a b web; do lab_netns $name; done
lab_veth a up0 b up0
lab_dpud m a --workers 2 --huge-pages off --memory 128
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
cat >"$LAB_DIR/m.yaml" <<YAML
version: 1
tenants: [{name: blue}]
eswitches: [{name: ovs}]
ports: [{name: up, device: "af_packet:up0"}]
vnics: [{name: web, tenant: blue, backend: tap, netns: $LAB-web, mtu: 1400}]
representors:
  - {name: web, eswitch: ovs, vnic: blue/web}
  - {name: up, eswitch: ovs, port: up}
YAML
for name in b m; do dpu $name apply -f "$LAB_DIR/$name.yaml" >/dev/null; done
lab_guest vm "$LAB_DIR/vm.sock" 02:00:00:00:00:22 --no-wait
# b only joins the guest and the wire.
mkfifo "$LAB_DIR/stop"
/usr/bin/python3 "$(dirname "$0")/eswitch_tunnels.py" "$lab_top/tests/smoke" "/run/softdpu/$LAB-b/eswitch.sock" vm=up \
	<"$LAB_DIR/stop" >"$LAB_DIR/client.out" &
lab_pids+=($!)
exec 8>"$LAB_DIR/stop"
wait_until 10 "eth0 of web" inside web ip link show eth0
for vni in 5 6 7; do inside web ip address add 10.$vni.0.1/24 dev eth0; done
inside web ip link set eth0 up mtu 1400

ovs_new ovs a
ovs_start ovs
ovs_bridge ovs br0
ovs_bridge ovs wire
ovs_port ovs br0 web m
ovs_port ovs wire up m
inside a ip address add 192.0.2.1/24 dev wire
inside a ip address add 2001:db8::1/64 dev wire nodad
inside a ip link set wire up
tunnel() { vsctl ovs add-port br0 "$1" -- set interface "$1" type="$2" options:key="${1#g[ nr]}" options:remote_ip="\"$3\""; }
tunnel gn5 geneve 192.0.2.2
tunnel gn6 geneve 2001:db8::2
tunnel gr7 gre 192.0.2.2

lab_guest_wait vm 240
# Busybox prefers its own ip, which knows no such devices.
on vm "/usr/bin/ip link set eth0 up
/usr/bin/ip address add 192.0.2.2/24 dev eth0
/usr/bin/ip address add 2001:db8::2/64 dev eth0 nodad
/usr/bin/ip link add gn5 type geneve id 5 remote 192.0.2.1
/usr/bin/ip link add gn6 type geneve id 6 remote 2001:db8::1 udp6zerocsumrx
/usr/bin/ip link add gr7 type gretap remote 192.0.2.1 local 192.0.2.2 key 7
for device in gn5:5 gn6:6 gr7:7; do
	/usr/bin/ip address add 10.\${device#*:}.0.9/24 dev \${device%:*}
	/usr/bin/ip link set \${device%:*} mtu 1400 up
done" >"$LAB_DIR/guest.log" || lab_fail "the guest has no tunnels: $(cat "$LAB_DIR/guest.log")"

ping_ok() { inside web ping -c 3 -i 0.2 -W 2 "$1" >/dev/null; }
pings() { inside web ping -c 20 -i 0.05 -W 2 "$1"; }
head -c 2000000 /dev/urandom >"$LAB_DIR/sent"
wanted=$(sha256sum <"$LAB_DIR/sent")
transfer() { # WHAT ADDRESS
	local got
	on vm 'nc -l -p 5001 >/tmp/got & echo $! >/tmp/listener; sleep 0.5'
	inside web timeout 40 nc -N "$2" 5001 <"$LAB_DIR/sent" || lab_fail "$1: TCP breaks off"
	# shellcheck disable=SC2016 # the guest's shell is to expand it
	got=$(on vm 'for i in $(seq 100); do kill -0 $(cat /tmp/listener) 2>/dev/null || break; sleep 0.1; done; sha256sum </tmp/got')
	[ "$got" = "$wanted" ] || lab_fail "$1: the transfer is damaged"
}
for vni in 5 6 7; do
	wait_until 30 "tunnel $vni of OVS" ping_ok 10.$vni.0.9
	pings 10.$vni.0.9 >/dev/null
	# One direction of two stays below: what comes back is OVS's to take apart.
	ovs_alone m 27 "tunnel $vni of OVS" pings 10.$vni.0.9
	transfer "tunnel $vni of OVS" 10.$vni.0.9
done

# ---- a tunnel that dpud ends
for port in gn5 gn6 gr7 up; do vsctl ovs del-port $port; done
inside a ip address flush dev wire
dpu m representor delete up >/dev/null
cat >"$LAB_DIR/tunnels.yaml" <<YAML
version: 1
underlays:
  - {name: v4, port: up, address: 192.0.2.1, prefix_length: 24}
  - {name: v6, port: up, address: "2001:db8::1", prefix_length: 64}
representors:
  - {name: t5, eswitch: ovs, tunnel_underlay: v4, tunnel_remote: 192.0.2.2, vni: 5, encapsulation: geneve}
  - {name: t6, eswitch: ovs, tunnel_underlay: v6, tunnel_remote: "2001:db8::2", vni: 6, encapsulation: geneve}
YAML
dpu m apply -f "$LAB_DIR/tunnels.yaml" >/dev/null
for port in t5 t6; do ovs_port ovs br0 $port m; done
for vni in 5 6; do
	wait_until 30 "Geneve $vni of dpud" ping_ok 10.$vni.0.9
	pings 10.$vni.0.9 >/dev/null
	ovs_alone m 6 "Geneve $vni of dpud" pings 10.$vni.0.9
	transfer "Geneve $vni of dpud" 10.$vni.0.9
done
