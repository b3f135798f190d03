# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-3-Clause
# The scenes of the demonstration, in the order in which demo/demo plays them.

scene_start() {
	title "Two DPUs, joined by an underlay; two tenants declared"
	lab_netns a
	lab_netns b
	lab_netns box
	lab_veth a up0 b up0
	lab_dpud a a --workers 1
	lab_dpud b b --workers 1
	for name in a b; do sed "s|BOX_NETNS|$LAB-box|; s|LAB/|$LAB_DIR/|" "demo/net-$name.yaml" >"$LAB_DIR/net-$name.yaml"; done
	run dpu a apply -f "$LAB_DIR/net-a.yaml"
	run dpu b apply -f "$LAB_DIR/net-b.yaml"
	step "three VMs boot: Debian's kernel under QEMU (TCG), virtio-net over vhost-user"
	local start
	start=$(now)
	lab_guest blue-web "$LAB_DIR/blue-web.sock" 02:00:00:00:00:10 --no-wait
	lab_guest red-web "$LAB_DIR/red-web.sock" 02:00:00:00:00:10 --no-wait
	lab_guest blue-db "$LAB_DIR/blue-db.sock" 02:00:00:00:01:10 --no-wait
	for vm in blue-web red-web blue-db; do wait_until 90 "$vm boots" on "$vm" true; done
	show "three VMs up" "$(seconds_of "$start") s"
}

scene_addresses() {
	title "Guests get their addresses by DHCP from the DPU"
	for vm in blue-web red-web blue-db; do
		on "$vm" "ip link set eth0 up; dhclient -4 -1 -q -sf /etc/dhclient-script eth0" >/dev/null
		printf '    %-9s %s\n' "$vm" "$(on "$vm" "ip -4 address show dev eth0" | awk '/inet /{print $2}')"
	done
	for vm in blue-web blue-db; do
		# DHCPv6 is sent from the link-local address, once duplicate address detection has passed.
		on "$vm" "while ip address show dev eth0 | grep -q tentative; do sleep 0.2; done; dhclient -6 -1 -q -sf /etc/dhclient-script eth0" >/dev/null
	done
	printf '    %-9s %s\n' blue-web "$(on blue-web "ip -6 address show dev eth0 scope global" | awk '/inet6 /{print $2}' | paste -sd' ')"
	inside box ip address add 10.0.0.20/24 dev eth0
	inside box ip route add default via 10.0.0.1
	inside box ip -6 address add fd00:b::20/64 dev eth0 nodad
	show "DHCPv4, DHCPv6, router advertisements" "3 VMs, $(on blue-web "ip -4 address show dev eth0" | awk '/inet /{print $2}') twice, in two tenants"
}

ping_loss() { on "$1" "ping -q -c 5 -i 0.2 $2" | awk '/packet loss/{print $1" sent, "$4" received"} /round-trip|rtt/{print $(NF-1)" ms (min/avg/max)"}' | paste -sd', '; }

scene_overlay() {
	title "Blue reaches blue: on the same DPU, and across the overlay by $1"
	if [ "$1" != vxlan ]; then
		run dpu a vpc set blue/prod "encapsulation=$1"
		run dpu b vpc set blue/prod "encapsulation=$1"
	fi
	step "what the underlay carries, as tshark reads it"
	timeout 20 ip netns exec "$LAB-a" tshark -l -n -i up0 -c 2 -Y icmp -T fields -e ip.src -e udp.dstport -e "$1.vni" -e frame.protocols 2>/dev/null \
		>"$LAB_DIR/tshark.$1" &
	local tshark=$!
	sleep 1.5
	ping_loss blue-web 10.0.0.20 | sed 's/^/    web -> box (container): /'
	local across
	across=$(ping_loss blue-web 10.0.1.10)
	printf '    web -> db  (other DPU): %s\n' "$across"
	printf '    web -> db  over IPv6  : %s\n' "$(ping_loss blue-web fd00:b:1::10)"
	wait $tshark || true
	sed 's/^/    /' "$LAB_DIR/tshark.$1"
	grep -q ":$1:" "$LAB_DIR/tshark.$1" || lab_fail "tshark saw no $1 on the underlay"
	on blue-web "ping -q -c 3 10.0.1.10" >/dev/null || lab_fail "no way from blue/web to blue/db by $1"
	on blue-web "ping -q -c 3 fd00:b:1::10" >/dev/null || lab_fail "no IPv6 from blue/web to blue/db by $1"
	show "blue across the overlay by $1" "$across"
}

scene_isolation() {
	title "Red has the same addresses and sees nothing of blue"
	local seen
	if seen=$(on red-web "ping -q -c 3 -W 1 10.0.1.10"); then lab_fail "red reached blue: $seen"; fi
	printf '%s\n' "$seen" | awk '/packet loss/{print "    red/web -> 10.0.1.10: " $0}'
	if on red-web "ping -q -c 3 -W 1 10.0.0.20" >/dev/null; then lab_fail "red reached blue's container"; fi
	run dpu a why red/web proto=icmp src=10.0.0.10 dst=10.0.1.10
	show "red reaches blue" "no"
}

scene_security_group() {
	title "A security group blocks a port; a new rule opens it while traffic flows"
	on blue-web "mkdir -p /tmp/www; echo hello from blue/web >/tmp/www/index.html; httpd -p 80 -h /tmp/www; [ ! -x /usr/sbin/httpd ] || true" >/dev/null
	inside box ping -i 0.02 -c 400 -q 10.0.0.10 >"$LAB_DIR/flow.ping" &
	local flow=$!
	if inside box timeout 3 bash -c 'exec 3<>/dev/tcp/10.0.0.10/80' 2>/dev/null; then lab_fail "port 80 should be closed"; fi
	run dpu a why blue/box proto=tcp src=10.0.0.20 dst=10.0.0.10 dst_port=80
	run dpu a security_group_rule create blue/web-http group=web direction=ingress ethertype=ipv4 protocol=tcp port_range_min=80 port_range_max=80
	step "GET http://10.0.0.10/ from the container"
	inside box timeout 5 bash -c 'exec 3<>/dev/tcp/10.0.0.10/80; printf "GET / HTTP/1.0\r\n\r\n" >&3; tail -1 <&3' | sed 's/^/    /'
	wait $flow
	local loss
	loss=$(awk '/packet loss/{print $1" pings, "$4" answered"}' "$LAB_DIR/flow.ping")
	show "rule opened port 80 under traffic" "$loss"
}

field() { dpu a -o json "$1" show "$2" | json "d['$3']"; }

scene_sessions() {
	title "The first packet of a flow takes the policy path, the rest hit the session"
	local before after packets
	before=$(field vnic blue/box misses)
	packets=$(field vnic blue/box rx_packets)
	inside box ping -i 0.01 -c 200 -q 10.0.0.10 >/dev/null
	after=$(field vnic blue/box misses)
	packets=$(($(field vnic blue/box rx_packets) - packets))
	run dpu a session list vpc=blue/prod proto=icmp
	show "packets from the container / of them to policy" "$packets / $((after - before))"
}

scene_kill() {
	title "kill -9 of dpud in the middle of a TCP transfer"
	local size=$((160 * 1048576)) wanted got start gap
	wanted=$(set +o pipefail; yes 0123456789abcdef | head -c $size | sha256sum | cut -d' ' -f1)
	inside box bash -c "nc -d -l 5001 | sha256sum >$LAB_DIR/received" &
	local receiver=$!
	sleep 0.3
	inside box ping -D -i 0.02 -c 600 10.0.0.10 >"$LAB_DIR/kill.ping" 2>&1 &
	local pinger=$!
	start=$(now)
	on blue-web "yes 0123456789abcdef | head -c $size | nc 10.0.0.20 5001" &
	local sender=$!
	sleep 1.5
	local session_before
	session_before=$(dpu a -o json session list vpc=blue/prod proto=tcp port=5001 | json "d['sessions'][0]['forward_packets'] + d['sessions'][0]['reverse_packets']")
	local old
	old=$(lab_dpud_pid a)
	step "kill -9 $old"
	lab_dpud_kill a
	wait_until 20 "dpud comes back" dpu a version
	wait $sender || lab_fail "the sender broke off"
	wait $receiver || lab_fail "the receiver broke off"
	got=$(cut -d' ' -f1 "$LAB_DIR/received")
	[ "$got" = "$wanted" ] || lab_fail "the transfer is damaged: $got instead of $wanted"
	kill -INT $pinger 2>/dev/null || true
	wait $pinger || true
	gap=$(awk -F'[][]' '/bytes from/{if (last && $2-last > gap) gap=$2-last; last=$2} END{printf "%.0f", gap*1000}' "$LAB_DIR/kill.ping")
	show "transfer through kill -9 of dpud ($session_before packets before it)" "$((size / 1048576)) MiB intact, $(seconds_of "$start") s"
	show "longest silence for a ping through it" "$gap ms"
}

scene_cost() {
	title "What it costs while nothing happens"
	local pid ticks rss
	pid=$(lab_dpud_pid a)
	sleep 2
	ticks=$(awk '{print $14+$15}' "/proc/$pid/stat")
	sleep 3
	ticks=$(($(awk '{print $14+$15}' "/proc/$pid/stat") - ticks))
	rss=$(awk '/VmRSS/{print int($2/1024)}' "/proc/$pid/status")
	show "CPU of an idle dpud with three vNICs" "$(/usr/bin/python3 -c "print(f'{$ticks/3:.1f} % of a core')")"
	show "memory (RSS) of dpud" "$rss MiB"
}
