# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: BSD-3-Clause
# The scenes of the demonstration of two DPUs. Each fails if it does not come true.

scenes() {
	scene_addresses
	scene_overlay vxlan
	scene_overlay geneve
	scene_isolation
	scene_security_group
	scene_sessions
	scene_kill
	scene_cost
}

address_of() { # VM FAMILY
	on "$1" "ip -$2 address show dev eth0 scope global" | awk '/inet/{print $2; exit}'
}

scene_addresses() {
	local ra=$LAB_DIR/ra vm
	title "Guests have got their addresses from the DPU: DHCPv4, DHCPv6, router advertisements"
	typed "dpuctl -i $LAB-a vnic list -c tenant,name,addresses,backend,up"
	expect "10.0.0.10" "list of vNICs"
	for vm in $demo_guests; do
		printf '    %-9s %-15s %s\n' "$vm" "$(address_of "$vm" 4)" "$(address_of "$vm" 6)"
	done
	[ "$(address_of blue-web 4) $(address_of red-web 4)" = "10.0.0.10/24 10.0.0.10/24" ] || lab_fail "wrong leases"
	[ "$(address_of blue-web 6) $(address_of blue-db 6)" = "fd00:b::10/128 fd00:b:1::10/128" ] || lab_fail "wrong IPv6 leases"
	typed "on blue-web 'ip route; ip -6 route show default'"
	expect "default via 10.0.0.1 dev eth0" "IPv4 default route"
	expect "default via fe80::" "IPv6 default route of the router advertisement"
	note "a router advertisement as tshark reads it in the container: router, flags (managed), prefix"
	background_tshark "$ra" box eth0 -c 1 -f "icmp6 and ip6[40] == 134" -T fields -e ipv6.src -e icmpv6.nd.ra.flag.m -e icmpv6.opt.prefix
	solicit_router
	finish_tshark "$ra"
	grep -qE "^fe80::[0-9a-f:]+.(1|True).fd00:b::" "$ra" || lab_fail "no managed router advertisement: $(cat "$ra")"
	show "DHCPv4, DHCPv6, router advertisements" "3 VMs; 10.0.0.10 twice, in two tenants"
}

# A router solicitation from the container (RFC 4861 4.1).
solicit_router() {
	inside box /usr/bin/python3 - <<-'PY'
		import socket
		link = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
		link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
		link.sendto(bytes([133] + [0] * 7), ("ff02::2", 0, 0, socket.if_nametoindex("eth0")))
	PY
}

# tshark in a namespace, its output in a file; returns when it listens.
background_tshark() { # FILE NAMESPACE INTERFACE ARGUMENTS...
	local file=$1 namespace=$2 interface=$3
	shift 3
	lab_background timeout 20 ip netns exec "$LAB-$namespace" tshark -l -n -i "$interface" "$@" >"$file" 2>"$file.err"
	tshark_pid=$lab_last
	wait_until 15 "tshark listens" grep -q "Capture started\|Capturing on" "$file.err"
	sleep 0.3
}
finish_tshark() { # FILE
	wait "$tshark_pid" || lab_fail "tshark has not seen it: $(cat "$1.err")"
	sed 's/^/    /' "$1"
}

reach() { # WHAT ADDRESS
	local text
	text=$(on blue-web "ping -q -c 5 -i 0.2 $2" | ping_result)
	printf '    %-34s %s\n' "$1" "$text"
	[[ $text == "5 of 5"* ]] || lab_fail "$1: $text"
	reached=$text
}

scene_overlay() {
	local seen=$LAB_DIR/tshark.$1 across port=4789
	[ "$1" = vxlan ] || port=6081
	title "Blue reaches blue: on the same DPU, and across the overlay by $1"
	if [ "$1" != vxlan ]; then
		typed "dpuctl -i $LAB-a vpc set blue/prod encapsulation=$1"
		typed "dpuctl -i $LAB-b vpc set blue/prod encapsulation=$1"
	fi
	background_tshark "$seen" a up0 -c 2 -f "udp port $port" -T fields -e ip.dst -e "$1.vni" -e frame.protocols
	reach "web -> box, the container" 10.0.0.20
	reach "web -> db, on the other DPU" 10.0.1.10
	across=$reached
	reach "web -> db, by IPv6" fd00:b:1::10
	note "what the underlay carries, as tshark reads it"
	finish_tshark "$seen"
	grep -q ":$1:" "$seen" || lab_fail "tshark saw no $1 on the underlay"
	show "blue across the overlay by $1" "$across"
}

scene_isolation() {
	title "Red has the same addresses and sees nothing of blue"
	local target
	for target in 10.0.1.10 10.0.0.20; do
		! typed "on red-web ping -q -c 2 -W 1 $target | grep loss; on red-web ping -c 1 -W 1 $target >/dev/null" ||
			lab_fail "red reached $target"
		expect "100% packet loss" "red's ping"
	done
	typed "dpuctl -i $LAB-a why vnic=red/web dst=10.0.0.20 protocol=icmp | grep -E '^(verdict|reason)'"
	expect "drop" "why"
	show "red reaches blue" "no: $(awk '/^reason/{print $2}' <<<"$printed")"
}

scene_security_group() {
	title "A security group blocks a port; a new rule opens it while traffic flows"
	local get="ip netns exec $LAB-box curl -sS -m 3 http://10.0.0.10/" answered
	on blue-web "mkdir -p /tmp/www; echo hello from blue/web >/tmp/www/index.html; httpd -p 80 -h /tmp/www"
	lab_background inside box ping -i 0.02 -c 300 -q 10.0.0.10 >"$LAB_DIR/flow.ping"
	if typed "$get"; then lab_fail "port 80 should be closed"; fi
	typed "dpuctl -i $LAB-a why vnic=blue/box dst=10.0.0.10 protocol=tcp dst_port=80 | grep -E '^(verdict|reason)'"
	expect "ingress-denied" "why"
	typed "dpuctl -i $LAB-a security_group_rule create blue/web-http group=web direction=ingress protocol=tcp port_range_min=80" ||
		lab_fail "the rule is refused"
	typed "$get" || lab_fail "port 80 is still closed"
	expect "hello from blue/web" "answer of the web server"
	wait "$lab_last" || true
	answered=$(awk '/packet loss/{print $4 " of " $1}' "$LAB_DIR/flow.ping")
	[ "$answered" = "300 of 300" ] || lab_fail "the change cost packets: $answered"
	show "port 80 closed, then opened by a rule" "pings meanwhile: $answered answered"
}

counter() { dpuctl -i "$LAB-a" -o json vnic show blue/box | json "d['$1']"; }

scene_sessions() {
	title "The first packet of a flow takes the policy path, the rest hit the session"
	local misses packets
	misses=$(counter misses)
	packets=$(counter rx_packets)
	typed "ip netns exec $LAB-box ping -i 0.01 -c 200 -q 10.0.1.10 | grep loss" || lab_fail "no ping"
	misses=$(($(counter misses) - misses))
	packets=$(($(counter rx_packets) - packets))
	typed "dpuctl -i $LAB-a session list vnic=blue/box protocol=icmp address=10.0.1.10 -c source,destination,out,forward_packets,reverse_packets"
	typed "dpuctl -i $LAB-a vnic list name=box -c name,rx_packets,misses,tx_packets"
	((packets >= 200 && misses >= 1 && misses <= 4)) || lab_fail "$packets packets, $misses of them missed"
	show "packets of a flow, and to policy" "$packets, of them $misses"
}

scene_kill() {
	title "kill -9 of dpud in the middle of a TCP transfer: guests reconnect by themselves, and it goes on"
	local size=$((24 * 1048576)) receiver sender pinger start old killed back took gap adopted
	lab_background inside box demo/receive 5001 "$LAB_DIR/progress" >"$LAB_DIR/received"
	receiver=$lab_last
	# Bash has its background processes ignore interrupts, which ping needs to end well.
	lab_background inside box env --default-signal=INT ping -D -i 0.02 10.0.0.10 >"$LAB_DIR/kill.ping" 2>&1
	pinger=$lab_last
	wait_until 10 "the receiver listens" inside box grep -q ":1389 .* 0A " /proc/net/tcp
	note "blue/web sends $((size / 1048576)) MiB to the container; nothing but its session admits the answers"
	start=$(now)
	ON_TIMEOUT=100 on blue-web "yes 0123456789abcdef | head -c $size | nc 10.0.0.20 5001" &
	sender=$!
	wait_until 60 "the transfer starts" received_beyond $((size / 4))
	typed "dpuctl -i $LAB-a session list vpc=blue/prod protocol=tcp port=5001 -c source,destination,state,forward_packets,reverse_packets"
	expect established "session of the transfer"
	old=$(lab_dpud_pid a)
	killed=$(now)
	typed "kill -9 $old    # dpud a, at $(($(received) / 1048576)) MiB"
	wait_until 20 "dpud comes back" dpuctl -i "$LAB-a" version
	back=$(milliseconds_since "$killed")
	[ "$(received)" -lt $size ] || lab_fail "the transfer was over before the kill"
	adopted=$(dpuctl -i "$LAB-a" -o json dpu show | json "d['adopted_sessions']")
	note "dpud a answers again after $back ms, process $(lab_dpud_pid a), with $adopted sessions of its predecessor"
	wait $sender || lab_fail "the sender broke off at $(received) bytes"
	wait "$receiver" || lab_fail "the receiver broke off"
	took=$(since "$start")
	[ "$(cat "$LAB_DIR/received")" = "$size $(yes 0123456789abcdef 2>/dev/null | head -c $size | sha256sum | cut -d' ' -f1)" ] ||
		lab_fail "the transfer is damaged: $(cat "$LAB_DIR/received")"
	kill -INT "$pinger" 2>/dev/null || true
	wait "$pinger" || true
	gap=$(longest_silence "$LAB_DIR/kill.ping")
	[ "$adopted" -ge 1 ] || lab_fail "no session was adopted"
	show "transfer through kill -9 of dpud" "$((size / 1048576)) MiB intact in $took s"
	[ "$gap" -gt 0 ] || lab_fail "no ping came through: $(tail -3 "$LAB_DIR/kill.ping")"
	show "longest silence of a ping through it" "$gap ms"
}

scene_cost() {
	title "What a DPU costs while nothing happens"
	local pid used took
	pid=$(lab_dpud_pid a)
	sleep 1
	used=$(run_time "$pid")
	took=$(now)
	sleep 3
	used=$(percent_of $(($(run_time "$pid") - used)) $(($(now) - took)))
	show "CPU of an idle dpud with three vNICs" "$used % of a core"
	show "memory (RSS) of dpud" "$(resident "$pid") MiB"
}

what_to_try() {
	title "It is kept. Try:"
	cat <<-TRY
		  ./run shell                                          a shell with dpuctl and the words below
		  ./run shell on blue-web ping 10.0.1.10               a command in a VM (blue-web, red-web, blue-db)
		  ./run shell dpuctl vnic list                         DPU a; dpuctl -i $LAB-b is the other one
		  ./run shell dpuctl why vnic=red/web dst=10.0.0.20    what would happen to a packet
		  ip netns exec $LAB-box ping 10.0.1.10                 the container
		  ./run demo --stop                                    ends it
	TRY
}
