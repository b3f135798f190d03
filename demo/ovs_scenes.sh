# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: BSD-3-Clause
# The scenes of the demonstration with Open vSwitch. Each fails if it does not come true.

scenes() {
	scene_first_packet
	scene_uplink
	scene_drop
	scene_rewrite
	scene_ovs_killed
	scene_dpud_killed
}

stat_of() { dpuctl -o json offload stats | json "d['$1']"; }
# Of OVS's flows what a person looks for: without masked-out fields and ids.
brief() { sed -E 's/ufid:[^,]*, //; s/recirc_id\(0\),//; s/[a-z_]+\(0\/0\),//g; s/packet_type\([^)]*\),//; s/[a-z_]+=[^,()]*\/(0\.0\.0\.0|0|::),?//g; s/,?(icmp|tcp|tcp_flags|udp)\(0?\/?0?\)//g; s/, dp-extra-info.*//'; }
answers() { on vm1 "ping -c 1 -W 1 $1"; }
silent() { ! answers "$1"; }
in_force() { [ "$(stat_of rules)" -ge 2 ]; }
none_in_force() { [ "$(stat_of rules)" = 0 ]; }

scene_first_packet() {
	local ups packets
	title "The first packet of a flow goes up to OVS, and its flow comes down"
	ups=$(stat_of upcalls)
	note "packets that have gone up until now: $ups"
	typed "on vm1 ping -c 3 10.0.0.2" || lab_fail "vm1 does not reach vm2"
	wait_until 5 "flows come down" in_force
	note "first packets (ARP, echo request and reply) that went up: $(($(stat_of upcalls) - ups))"
	on vm1 "ping -c 2 -i 0.2 10.0.0.2" >/dev/null # what is learnt of both MAC addresses
	ups=$(stat_of upcalls)
	typed "on vm1 'ping -c 200 -i 0.01 -q 10.0.0.2'" || lab_fail "vm1 does not reach vm2"
	ups=$(($(stat_of upcalls) - ups))
	typed "dpuctl offload flows min_packets=100"
	expect "in_port" "flows in the DPU"
	sleep 1 # OVS reads the counters twice a second
	typed "ovs-appctl dpctl/dump-flows -m type=offloaded | grep icmp | brief" || lab_fail "OVS has no offloaded flow: $(ovs-appctl dpctl/dump-flows -m)"
	expect "offloaded:yes, dp:dpdk" "flows of OVS"
	packets=$(grep -o 'packets:[0-9]*' <<<"$printed" | sort -t: -k2 -n | tail -1)
	[ "${packets#packets:}" -ge 200 ] || lab_fail "OVS's counters say $packets"
	[ $ups -le 4 ] || lab_fail "$ups of 400 packets have gone up"
	show "packets of a flow, and of them up to OVS" "400, of them $ups"
}

scene_uplink() {
	local size=$((16 * 1048576)) ups hits receiver start took used
	title "VM to uplink: a TCP transfer that OVS counts and does not carry"
	lab_background inside lan demo/receive 5001 "$LAB_DIR/progress" >"$LAB_DIR/received"
	receiver=$lab_last
	wait_until 10 "the receiver listens" inside lan grep -q ":1389 .* 0A " /proc/net/tcp
	on vm2 "ping -c 3 -i 0.3 10.0.0.3" >/dev/null || lab_fail "vm2 does not reach the uplink"
	ups=$(stat_of upcalls) hits=$(stat_of hits) used=$(run_time "$(ovs_pid ovs)")
	start=$(now)
	typed "on vm2 'head -c $size /dev/zero | nc 10.0.0.3 5001'" || lab_fail "the transfer broke off"
	wait "$receiver" || lab_fail "the receiver broke off"
	took=$(($(now) - start))
	used=$(($(run_time "$(ovs_pid ovs)") - used))
	ups=$(($(stat_of upcalls) - ups)) hits=$(($(stat_of hits) - hits))
	[ "$(cat "$LAB_DIR/received")" = "$size $(head -c $size /dev/zero | sha256sum | cut -d' ' -f1)" ] ||
		lab_fail "the transfer is damaged: $(cat "$LAB_DIR/received")"
	sleep 1
	typed "ovs-appctl dpctl/dump-flows -m type=offloaded | grep -E 'packets:[0-9]{4}.*uplink|uplink.*packets:[0-9]{4}' | brief" ||
		lab_fail "OVS does not count the transfer: $(ovs-appctl dpctl/dump-flows -m)"
	expect "offloaded:yes, dp:dpdk" "flows of OVS"
	typed "ovs-ofctl dump-flows br0"
	((hits >= 1000 && ups * 20 <= hits)) || lab_fail "$ups of $((ups + hits)) packets have gone up"
	show "16 MiB by TCP, packets, and of them up" "$((ups + hits)), of them $ups"
	show "CPU of ovs-vswitchd meanwhile" "$(percent_of $used $took) % of a core"
}

scene_drop() {
	title "An OpenFlow rule takes effect though packets no longer pass through OVS"
	typed "ovs-ofctl add-flow br0 priority=100,icmp,nw_dst=10.0.0.3,actions=drop" || lab_fail "OVS refuses the rule"
	wait_until 10 "the rule takes effect" silent 10.0.0.3
	! typed "on vm1 'ping -c 3 -W 1 -q 10.0.0.3'" || lab_fail "the rule has no effect"
	sleep 1
	typed "dpuctl offload flows | grep -E 'MATCH|drop'" || lab_fail "no rule that drops"
	answers 10.0.0.2 >/dev/null || lab_fail "the rule stops what it does not mean"
	typed "ovs-ofctl --strict del-flows br0 priority=100,icmp,nw_dst=10.0.0.3" || lab_fail "OVS refuses the rule"
	wait_until 10 "the rule is gone" answers 10.0.0.3
	typed "on vm1 'ping -c 3 -q 10.0.0.3'" || lab_fail "the rule is not gone"
	show "rule that drops, and away again" "in force, then not"
}

scene_rewrite() {
	local answered
	title "Rules that rewrite: vm2 answers for 10.0.0.99, which nobody has"
	on vm2 "mkdir -p /tmp/www; echo hello from vm2 >/tmp/www/index.html; httpd -p 80 -h /tmp/www"
	inside lan ip neighbour replace 10.0.0.99 lladdr 02:00:00:00:00:99 dev eth0
	serves_nothing || lab_fail "somebody has 10.0.0.99"
	typed "ovs-ofctl add-flow br0 priority=50,tcp,in_port=uplink,nw_dst=10.0.0.99,actions=mod_dl_dst:02:00:00:00:00:02,mod_nw_dst:10.0.0.2,output:vm2" ||
		lab_fail "OVS refuses the rule"
	typed "ovs-ofctl add-flow br0 priority=50,tcp,in_port=vm2,tp_src=80,actions=mod_nw_src:10.0.0.99,output:uplink" || lab_fail "OVS refuses the rule"
	wait_until 10 "the rules take effect" serves
	typed "ip netns exec $LAB-lan curl -sS -m 3 http://10.0.0.99/" || lab_fail "no answer by way of the rules"
	expect "hello from vm2" "answer by way of the rules"
	answered=$printed
	typed "dpuctl offload flows | grep set" || lab_fail "no rule that sets a field"
	typed "ovs-ofctl --strict del-flows br0 priority=50,tcp,in_port=uplink,nw_dst=10.0.0.99" || lab_fail "OVS refuses the rule"
	typed "ovs-ofctl --strict del-flows br0 priority=50,tcp,in_port=vm2,tp_src=80" || lab_fail "OVS refuses the rule"
	wait_until 10 "the rules are gone" serves_nothing
	show "rules that rewrite, and away again" "\"$answered\", then none"
}
serves() { inside lan curl -sS -m 1 http://10.0.0.99/; }
serves_nothing() { ! serves >/dev/null 2>&1; }

# ping -D from the host on the network to vm1, until watch_end says how long it was silent.
watch_begin() {
	watched=$LAB_DIR/$1.ping
	# Bash has its background processes ignore interrupts, which ping needs to end well.
	lab_background inside lan env --default-signal=INT ping -D -i 0.02 10.0.0.1 >"$watched" 2>&1
	watcher=$lab_last
	sleep 1
}
watch_end() { # sets silence
	kill -INT "$watcher" 2>/dev/null || true
	wait "$watcher" || true
	silence=$(longest_silence "$watched")
	[ "$silence" -gt 0 ] || lab_fail "no ping came through: $(tail -3 "$watched")"
}

scene_ovs_killed() {
	local pid
	title "kill -9 of OVS: its rules go with it, and come back with it"
	watch_begin ovs
	pid=$(ovs_pid ovs)
	typed "kill -9 $pid    # ovs-vswitchd"
	wait "$pid" 2>/dev/null || true # or bash says what it was
	wait_until 10 "its rules go" none_in_force
	typed "dpuctl offload stats | grep -E '^(clients|rules) '"
	ovs_start ovs
	note "it is started again, as a service manager does: process $(ovs_pid ovs)"
	wait_until 30 "a ping after OVS was killed" answers 10.0.0.3
	wait_until 10 "flows come down again" in_force
	sleep 1
	typed "ovs-appctl dpctl/dump-flows -m type=offloaded | grep icmp | brief" || lab_fail "OVS has no offloaded flow: $(ovs-appctl dpctl/dump-flows -m)"
	expect "offloaded:yes, dp:dpdk" "flows of the new OVS"
	watch_end
	show "silence through kill -9 of OVS" "$silence ms"
}

scene_dpud_killed() {
	local pid killed
	title "kill -9 of dpud: guests and OVS's ports come back by themselves, and the flows"
	watch_begin dpud
	pid=$(lab_dpud_pid dpu)
	killed=$(now)
	typed "kill -9 $pid    # dpud"
	wait_until 20 "dpud comes back" dpuctl version
	note "dpud answers again after $(milliseconds_since "$killed") ms, process $(lab_dpud_pid dpu)"
	wait_until 30 "a ping after dpud was killed" answers 10.0.0.3
	wait_until 30 "flows in the new dpud" in_force
	answers 10.0.0.2 >/dev/null || lab_fail "vm1 does not reach vm2"
	sleep 1
	typed "dpuctl representor list -c name,open,client,up"
	typed "dpuctl offload flows min_packets=1"
	watch_end
	show "silence through kill -9 of dpud" "$silence ms"
	show "memory (RSS) of dpud, and of OVS" "$(resident "$(lab_dpud_pid dpu)") MiB, $(resident "$(ovs_pid ovs)") MiB"
}

what_to_try() {
	title "It is kept. Try:"
	cat <<-TRY
		  ./run shell                                          a shell with dpuctl, OVS's tools and the words below
		  ./run shell on vm1 ping 10.0.0.2                     a command in a VM (vm1, vm2)
		  ./run shell lan ping 10.0.0.1                        the host on the network behind the uplink
		  ./run shell dpuctl offload flows                     the rules in force in the DPU
		  ./run shell ovs-appctl dpctl/dump-flows -m           what OVS knows of them
		  ./run shell ovs-ofctl dump-flows br0                 what decides
		  ./run demo --stop                                    ends it
	TRY
}
