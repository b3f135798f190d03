#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A running guest moves from the vNIC of one DPU to the vNIC of another while traffic flows into its memory. What dpud writes there must be in
# the dirty log: data that no program of the guest has read before the move is only in buffers that nobody but dpud wrote. What QEMU loses of
# the guest's own writes is no matter of this test (lib/moved_memory).
set -euo pipefail
# shellcheck disable=SC2034 # for machine.sh
machine_guests=1
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
lab_begin migrate
for name in a b box; do lab_netns $name; done
lab_veth a up0 b up0
lab_dpud a a
lab_dpud b b

# declare_side DPU NUMBER
declare_side() {
	cat <<-EOT
		version: 1
		tenants: [{name: blue}]
		ports: [{name: uplink, device: "af_packet:up0", mtu: 1600}]
		underlays: [{name: fabric, port: uplink, address: 192.0.2.$2, prefix_length: 24}]
		vpcs: [{name: prod, tenant: blue, vni: 1001, underlay: fabric}]
		subnets: [{name: front, tenant: blue, vpc: prod, prefix_v4: 10.0.0.0/24}]
		vnics:
		  - {name: web, tenant: blue, subnet: front, socket: $LAB_DIR/web-$1.sock, addresses: [10.0.0.10], mac: "02:00:00:00:00:10"}
	EOT
}
{
	declare_side a 1
	echo "  - {name: box, tenant: blue, subnet: front, backend: tap, netns: $LAB-box, addresses: [10.0.0.20], mac: \"02:00:00:00:00:20\"}"
} >"$LAB_DIR/a.yaml"
{
	declare_side b 2
	echo 'mappings: [{name: box, tenant: blue, vpc: prod, address: 10.0.0.20, mac: "02:00:00:00:00:20", vtep: 192.0.2.1}]'
} >"$LAB_DIR/b.yaml"
for name in a b; do dpu $name apply -f "$LAB_DIR/$name.yaml" >/dev/null; done
inside box ip address add 10.0.0.20/24 dev eth0

packed=() kind=split
[ "${1:-}" != packed ] || { packed=(--packed) kind=packed; }
lab_guest web "$LAB_DIR/web-a.sock" 02:00:00:00:00:10 --no-wait "${packed[@]}"
lab_guest_wait web 240
on web "ip link set eth0 up; dhclient -4 -1 -q -sf /etc/dhclient-script eth0; ip -4 address show dev eth0" | grep -q 'inet 10.0.0.10/' ||
	lab_fail "the guest has no address"
on web "iperf3 -s -D"
# What nobody reads is kept: there is room for it, however small the frames are that it comes in.
on web "echo 4096 1048576 6291456 >/proc/sys/net/ipv4/tcp_rmem"
ports="5001 5002 5003 5004"
on web "for port in $ports; do nc -l -p \$port >/tmp/got.\$port & echo \$! >>/tmp/stopped; done
	until [ \$(netstat -ltn | grep -c ':500[1-4] ') -eq 4 ]; do usleep 100000; done; kill -STOP \$(cat /tmp/stopped)"
head -c 60000 /dev/urandom >"$LAB_DIR/data"

# The other half waits on DPU b. QEMU with vhost-user takes the guest over when its NIC is connected.
uri=unix:$LAB_DIR/move.sock
lab_guest web-b "$LAB_DIR/web-b.sock" 02:00:00:00:00:10 --no-wait --paused --incoming "$uri" "${packed[@]}"
wait_until 60 "the destination listens" test -S "$LAB_DIR/move.sock"

ip netns exec "$LAB-box" ping -D -i 0.02 -c 100000 10.0.0.10 >"$LAB_DIR/ping" &
pinger=$!
ip netns exec "$LAB-box" iperf3 -c 10.0.0.10 -u -b 4M -t 300 >/dev/null 2>&1 &
datagrams=$!
lab_pids+=("$pinger" "$datagrams")
sleep 1
monitor() { "$lab_top/devtools/guest/guest" monitor "$1" --dir "$LAB_DIR" "$2"; }
reports() { monitor web "info migrate" >"$LAB_DIR/moved" && grep -qE "$1" "$LAB_DIR/moved"; }
# A guest that keeps writing is not moved with so short a pause: the move goes on until the data is there, and all memory was copied once before.
on web "yes | head -c 16777216 >/tmp/seed; while :; do dd if=/tmp/seed of=/tmp/busy bs=1M conv=notrunc 2>/dev/null; usleep 20000; done & true"
monitor web "migrate_set_parameter max-bandwidth 16M" >/dev/null
monitor web "migrate_set_parameter downtime-limit 1" >/dev/null
monitor web "migrate -d $uri" >/dev/null
wait_until 120 "all memory is copied once" reports 'dirty[ _]syncs?( count: |=)([3-9]|[0-9]{2})'
for port in $ports; do
	ip netns exec "$LAB-box" nc -N 10.0.0.10 "$port" <"$LAB_DIR/data" &
	lab_pids+=($!)
done
# The guest's kernel has acknowledged all, and that there is no more. It never will once the move is over.
arrived() {
	reports '[Ss]tatus:[[:blank:]]+active' || return 0
	inside box ss -Htn dst 10.0.0.10 >"$LAB_DIR/connections.log"
	[ "$(grep -c FIN-WAIT-2 "$LAB_DIR/connections.log")" -eq "$(wc -w <<<"$ports")" ]
}
wait_until 240 "the guest has the data" arrived
reports '[Ss]tatus:[[:blank:]]+active' || lab_fail "the move was over before the data was sent: $(cat "$LAB_DIR/moved")"
monitor web "migrate_set_parameter max-bandwidth 32M" >/dev/null
monitor web "migrate_set_parameter downtime-limit 2000" >/dev/null
wait_until 120 "the move ends" reports '[Ss]tatus:[[:blank:]]+completed'
wait_until 60 "the destination has it all" sh -c "'$lab_top/devtools/guest/guest' monitor web-b --dir '$LAB_DIR' 'info status' | grep -q 'VM status: paused$'"
lost=$("$lab_top/tests/lib/moved_memory" "$(cat "$LAB_DIR/web.pid")" "$(cat "$LAB_DIR/web-b.pid")" "$LAB_DIR/data" 2>&1) || lab_fail "$lost"
monitor web-b cont >/dev/null

# What an orchestrator does then: the address is behind the other DPU.
cat >>"$LAB_DIR/a.yaml" <<-'EOT'
	mappings: [{name: web, tenant: blue, vpc: prod, address: 10.0.0.10, mac: "02:00:00:00:00:10", vtep: 192.0.2.2}]
EOT
sed -i '/name: web, tenant: blue, subnet/d' "$LAB_DIR/a.yaml"
dpu a apply --prune -f "$LAB_DIR/a.yaml" >/dev/null

wait_until 120 "the guest is reached at its new place" inside box ping -c 1 -W 1 10.0.0.10
sleep 1
kill $pinger $datagrams
wait $pinger $datagrams 2>/dev/null || true
inside box ping -q -c 20 -i 0.05 -W 10 10.0.0.10 | grep -q ' 0% packet loss' || lab_fail "pings are lost at the new place"
wanted=$(sha256sum <"$LAB_DIR/data")
for port in $ports; do
	[ "$(ON_TIMEOUT=120 on web-b "kill -CONT \$(cat /tmp/stopped) 2>/dev/null
		for i in \$(seq 300); do [ \$(wc -c </tmp/got.$port) -lt 60000 ] || break; usleep 200000; done
		sha256sum </tmp/got.$port")" = "$wanted" ] ||
		lab_fail "what the guest was sent during the move arrived damaged: $(on web-b "wc -c </tmp/got.$port") of 60000 bytes"
done
on web-b "dmesg | grep -iE 'virtio_net.*(id|used|bad)|NETDEV WATCHDOG'; true" >"$LAB_DIR/complaints"
[ ! -s "$LAB_DIR/complaints" ] || lab_fail "the guest's driver complains: $(cat "$LAB_DIR/complaints")"
# A server of its own: the other serves one client at a time, and has not heard of the end of the former, whose connection was DPU a's.
on web-b "iperf3 -s -1 -D -p 5202"
inside box timeout 40 iperf3 -c 10.0.0.10 -p 5202 -t 2 -J >"$LAB_DIR/tcp.json" ||
	lab_fail "no TCP to the new place: $(json "d['error']" <"$LAB_DIR/tcp.json")"
gap=$(awk -F'[][]' '/bytes from/{ if (last && $2 - last > most) most = $2 - last; last = $2 } END { printf "%.2f", most }' "$LAB_DIR/ping")
down=$(grep -oE '(downtime: |down=)[0-9]+' "$LAB_DIR/moved" | grep -oE '[0-9]+')
echo "migrate ($kind): unreachable for $gap s, QEMU was down for $down ms and lost $lost pages that the guest had written"
