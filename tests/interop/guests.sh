#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Debian guests on two DPUs: DHCPv4 and DHCPv6 from the DPU, ping, UDP and TCP across the overlay by VXLAN and Geneve, two tenants with
# equal addresses, and kill -9 of a dpud in the middle of a TCP transfer behind a default-deny security group.
set -euo pipefail
# shellcheck disable=SC2034 # for machine.sh
machine_guests=1
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
lab_begin guests
for name in a b box; do lab_netns $name; done
lab_veth a up0 b up0
lab_dpud a a --workers 1
lab_dpud b b --workers 2
for name in a b; do
	sed "s|BOX_NETNS|$LAB-box|; s|LAB/|$LAB_DIR/|" "$lab_top/demo/net-$name.yaml" >"$LAB_DIR/net-$name.yaml"
	rpc $name dpu.apply "@$LAB_DIR/net-$name.yaml" >/dev/null
done
inside box ip address add 10.0.0.20/24 dev eth0
inside box ip route add default via 10.0.0.1
lab_guest blue-web "$LAB_DIR/blue-web.sock" 02:00:00:00:00:10 --no-wait
lab_guest red-web "$LAB_DIR/red-web.sock" 02:00:00:00:00:10 --no-wait
lab_guest blue-db "$LAB_DIR/blue-db.sock" 02:00:00:00:01:10 --no-wait
for vm in blue-web red-web blue-db; do lab_guest_wait $vm 240; done

lease() { on "$1" "ip link set eth0 up; dhclient -4 -1 -q -sf /etc/dhclient-script eth0; ip -4 address show dev eth0" | grep -q "inet $2/" || lab_fail "$1 has no $2"; }
lease blue-web 10.0.0.10
lease red-web 10.0.0.10
lease blue-db 10.0.1.10
for vm in blue-web blue-db; do
	on $vm "while ip address show dev eth0 | grep -q tentative; do sleep 0.2; done; dhclient -6 -1 -q -sf /etc/dhclient-script eth0"
done
on blue-web "ip -6 address show dev eth0" | grep -q "fd00:b::10/128" || lab_fail "no DHCPv6 lease"
on blue-web "grep new_dhcp6 /run/lease.eth0.6 /run/lease.eth0. 2>/dev/null; true" >/dev/null

reaches() { on "$1" "ping -q -c 3 -W 2 $2" >/dev/null || lab_fail "$1 does not reach $2 ($3)"; }
for kind in vxlan geneve; do
	for name in a b; do rpc $name vpc.update "{\"tenant\":\"blue\",\"name\":\"prod\",\"fields\":{\"encapsulation\":\"$kind\"}}" >/dev/null; done
	reaches blue-web 10.0.1.10 $kind
	reaches blue-web fd00:b:1::10 $kind
	reaches blue-web 10.0.0.20 local
done
on red-web "ping -q -c 2 -W 1 10.0.0.20" >/dev/null && lab_fail "red reaches blue's container"
on red-web "ping -q -c 2 -W 1 10.0.1.10" >/dev/null && lab_fail "red reaches blue's VM"

# UDP across, counted by iperf3
on blue-db "iperf3 -s -1 -D"
on blue-web "iperf3 -u -c 10.0.1.10 -b 2M -t 2 -J" >"$LAB_DIR/udp.json"
json "d['end']['sum']['lost_percent']" <"$LAB_DIR/udp.json" | awk '{exit !($1 < 20)}' || lab_fail "UDP is lost across the overlay"

# blue-web's group lets nothing in but ping: what comes back in the transfer is admitted by its session alone.
# A guest without KVM sends about 2 MB/s.
size=$((32 * 1048576))
wanted=$(set +o pipefail; yes 0123456789abcdef | head -c $size | sha256sum)
inside box bash -c "nc -d -l 5001 | sha256sum >$LAB_DIR/received" &
receiver=$!
lab_pids+=("$receiver")
sleep 0.5
ON_TIMEOUT=200 on blue-web "yes 0123456789abcdef | head -c $size | nc 10.0.0.20 5001" &
sender=$!
sleep 2
kill -0 $sender 2>/dev/null || lab_fail "the transfer was over before the kill"
lab_dpud_kill a
wait_until 30 "dpud a is back" rpc a dpu.version
wait $sender || lab_fail "the sender broke off after kill -9"
wait $receiver
[ "$(cat "$LAB_DIR/received")" = "$wanted" ] || lab_fail "the transfer through kill -9 is damaged"
adopted=$(rpc a dpu.get '{"name":"dpu","observe":true}' | json "d['adopted_sessions']")
[ "$adopted" -gt 0 ] || lab_fail "no session was adopted"
reaches blue-web 10.0.1.10 "after the restart"
reaches blue-db 10.0.0.10 "after the restart"
echo "guests: DHCP, VXLAN, Geneve, isolation, UDP, TCP through kill -9 ($adopted sessions adopted)"
