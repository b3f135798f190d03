#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Stock testpmd drives representors by librte_net_softdpu.so: what a user types about ports, frames between two of them, flows that are
# right and flows that are wrong, as many as there can be, dpud killed and back again and again under traffic without a hand, testpmd killed and back;
# then an application that sleeps between frames, and dpdk-test-flow-perf.
set -euo pipefail
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
command -v dpdk-testpmd >/dev/null || { echo "skipped: no dpdk-testpmd (package dpdk-dev)"; exit 77; }
lab_begin pmd
[ -e "$lab_build/apps/net_softdpu/librte_net_softdpu.so" ] || lab_skip "librte_net_softdpu.so is not built, see build/meson-logs/meson-log.txt: devtools/dpdk_driver_headers could not fetch DPDK's source package"
export LD_LIBRARY_PATH=$lab_build/apps/net_softdpu
for name in a web db; do lab_netns $name; done
lab_dpud m a --workers 1 --huge-pages off --memory 128
lab_members m "max_rules: 512"
ping_ok() { inside web ping -c 3 -i 0.1 -W 1 10.0.0.6 >/dev/null; }
rules() { dpu m -o json offload stats | json "d['rules']"; }
rules_are() { [ "$(rules)" = "$1" ]; }

# ---- testpmd, and what it answers
socket=/run/softdpu/$LAB-m/eswitch.sock
eal=(--no-huge --legacy-mem -m 256 --no-pci --no-telemetry --file-prefix "$LAB" --lcores '0@0,1@0' -d librte_net_softdpu.so
	--vdev "net_softdpu_web,socket=$socket,port=web" --vdev "net_softdpu_db,socket=$socket,port=db")
pmd_start() {
	rm -f "$LAB_DIR/commands"
	mkfifo "$LAB_DIR/commands"
	: >"$LAB_DIR/testpmd.log"
	exec 7<>"$LAB_DIR/commands"
	cd "$LAB_DIR" # a driver is found by name only from a folder that is not the library's
	# What runs in the background has no other standard input.
	lab_background bash -c 'exec "$@" <commands >testpmd.log 2>&1 7>&-' - \
		stdbuf -oL dpdk-testpmd "${eal[@]}" -- -i --auto-start --total-num-mbufs=8192 "$@"
	cd - >/dev/null
	pmd_pid=$lab_last
	wait_until 20 "testpmd's prompt" grep -qa 'testpmd>' "$LAB_DIR/testpmd.log"
}
# What it says to a command: all up to its answer to a word that it does not know. It writes of events in between, even within a word.
say() { # COMMAND...
	local from end=$((SECONDS + 60))
	from=$(($(stat -c %s "$LAB_DIR/testpmd.log") + 1))
	printf '%s\nwhat\n' "$*" >&7
	until tail -c +$from "$LAB_DIR/testpmd.log" | grep -qa 'Command not found'; do
		lab_gone "$pmd_pid" && lab_fail "testpmd has ended after: $*"
		[ $SECONDS -lt $end ] || lab_fail "testpmd does not answer: $*"
		sleep 0.05
	done
	answer=$(tail -c +$from "$LAB_DIR/testpmd.log" | tr -d '\r' | grep -av 'what$\|Command not found')
}
says() { # EXPECTED COMMAND...
	say "${@:2}"
	grep -qaE -- "$1" <<<"$answer" || lab_fail "testpmd says of \"${*:2}\", without \"$1\": $answer"
}
never() { # UNEXPECTED COMMAND...
	say "${@:2}"
	! grep -qaE -- "$1" <<<"$answer" || lab_fail "testpmd says of \"${*:2}\": $answer"
}
created() { # COMMAND...: the rule's number
	says 'Flow rule #[0-9]+ created' "$@"
	rule=$(sed -n 's/.*Flow rule #\([0-9]*\) created.*/\1/p' <<<"$answer")
}

pmd_start
wait_until 20 "a ping through testpmd" ping_ok

# ---- ports, as a user asks
says 'MAC address: 02:00:00:00:00:01' show port info 0
for line in 'Driver name: net_softdpu' 'Firmware-version: softdpu eswitch ABI 2' 'Link status: up' 'Link speed: 100 Gbps' 'MTU: 1500' \
	'Promiscuous mode: enabled' 'Max possible RX queues: 16' 'Switch Port Id: 1'; do
	grep -qa "$line" <<<"$answer" || lab_fail "show port info lacks \"$line\": $answer"
done
says 'RX-packets: [1-9]' show port stats 0
says 'rx_q0_packets: [1-9]' show port xstats 0
grep -qa 'tx_queues_broken: 0' <<<"$answer" || lab_fail "no statistics of the driver's own: $answer"
says 'Number of RXDs: 1024' show rxq info 0 0
says 'Number of TXDs: 1024' show txq info 0 0
says 'Desc status = (AVAILABLE|DONE)' show port 0 rxq 0 desc 5 status
says 'ipv4' show port 0 rss-hash
says 'rx_nombuf|RX-nombuf: *0' show port stats 0
never '[Ff]ail|rror' set promisc 0 off
never '[Ff]ail|rror' set allmulti 0 on
never '[Ff]ail|rror' mcast_addr add 0 01:00:5e:00:00:01
never '[Ff]ail|rror' mac_addr set 0 02:00:00:00:00:55
says '02:00:00:00:00:55' show port info 0
says 'device max MTU \(1500\)' port config mtu 0 9000
never '[Ff]ail|rror|nvalid' port config mtu 0 1400
clear_ok() { never '[Ff]ail|rror' clear port stats 0 && never 'RX-packets: [1-9][0-9][0-9]' show port stats 0; }
clear_ok
says 'rx_q0_packets: [0-9]$' show port xstats 0

# ---- flows: right ones
rule=
created flow create 0 transfer pattern eth type is 0x0800 / ipv4 dst is 10.0.0.6 / end actions port_id id 1 / count / end
first=$rule
created flow create 0 transfer pattern represented_port ethdev_port_id is 0 / eth dst is 02:00:00:00:00:77 / end actions represented_port ethdev_port_id 1 / end
wait_until 10 "two rules" rules_are 2
inside web ping -c 5 -i 0.1 10.0.0.6 >/dev/null
says 'hits: [1-9]' flow query 0 "$first" count
says 'active, [1-9][0-9]* packets' flow dump 0 rule "$first"
says 'ETH IPV4 => PORT_ID COUNT' flow list 0
says 'Flow rule validated' flow validate 1 transfer pattern eth / end actions drop / end
says 'Flow rule #'"$first"' destroyed' flow destroy 0 rule "$first"
wait_until 10 "one rule" rules_are 1

# ---- flows: wrong ones, each with its type and sentence; the table stays as it was
refused() { # TYPE SENTENCE COMMAND...
	says 'caused by|Caught' "${@:3}"
	grep -qaF "type $1 (" <<<"$answer" || lab_fail "of \"${*:3}\" not of type $1: $answer"
	grep -qaF "$2" <<<"$answer" || lab_fail "of \"${*:3}\" not \"$2\": $answer"
}
eth="pattern eth / end"
refused 3 "there is group 0 only" flow create 0 group 1 transfer "$eth" actions drop / end
refused 4 "there is priority 0 only" flow create 0 priority 1 transfer "$eth" actions drop / end
refused 6 "is not looked at" flow create 0 egress "$eth" actions drop / end
refused 13 "what can be matched" flow create 0 transfer pattern eth / ipv4 / gre / end actions drop / end
refused 13 "repeated headers" flow create 0 transfer pattern eth / ipv4 / ipv4 / end actions drop / end
refused 13 "needs an IPV4 or IPV6 item" flow create 0 transfer pattern eth / tcp / end actions drop / end
refused 13 "frames that the application sends" flow create 0 transfer pattern port_representor port_id is 0 / end actions drop / end
refused 10 "are created on the port that they match" flow create 0 transfer pattern represented_port ethdev_port_id is 1 / end actions drop / end
refused 12 "of IPv4 can be matched" flow create 0 transfer pattern eth / ipv4 packet_id is 7 / end actions drop / end
refused 12 "the DEI bit" flow create 0 transfer pattern eth / vlan tci spec 0x1000 tci mask 0x1000 / end actions drop / end
refused 12 "of SCTP can be matched" flow create 0 transfer pattern eth / ipv4 / sctp cksum is 1 / end actions drop / end
refused 11 "only fragment offsets can be a range" flow create 0 transfer pattern eth / ipv4 src spec 1.0.0.0 src last 2.0.0.0 src mask 255.0.0.0 / end actions drop / end
refused 15 "no representor of this switch" flow create 0 transfer "$eth" actions port_id id 31 / end
refused 16 "" flow create 0 transfer "$eth" actions jump group 1 / end
refused 15 "a VLAN id has 12 bits" flow create 0 transfer pattern eth / vlan / end actions of_set_vlan_vid vlan_vid 5000 / drop / end
refused 1 "a representor is never isolated" flow isolate 0 1
wait_until 10 "the one rule" rules_are 1
# The operator reads the same. What came too fast to be told at once the driver tells with the next call.
listed() { dpu m -o json offload refused | json "any(r['by'] == 'driver' and 'of SCTP can be matched' in r['sentence'] for r in d['refused'])"; }
told() { say flow create 0 group 1 transfer "$eth" actions drop / end && [ "$(listed)" = True ]; }
wait_until 10 "the driver's refusals in dpuctl" told

# ---- as many as there can be, and more
many=$LAB_DIR/many
for i in $(seq 540); do
	printf 'flow create 0 transfer pattern eth / ipv4 dst is 10.9.%d.%d / end actions port_id id 1 / end\n' $((i / 256)) $((i % 256))
done >"$many"
says 'as many rules as it can' load "$many"
[ "$(rules)" = 512 ] || lab_fail "$(rules) rules, not 512"
inside web ping -c 3 -i 0.1 10.0.0.6 >/dev/null
never '[Ff]ail|rror|Caught' flow flush 0
wait_until 10 "no rules" rules_are 0
created flow create 0 transfer "$eth" actions port_id id 1 / count / end
one=$rule
wait_until 10 "one rule again" rules_are 1

# ---- dpud dies again and again, also while it comes up: without a hand traffic goes on and rules are in force
for round in 1 2 3; do
	lab_dpud_kill m
	says '.' show port info 0
	[ $round = 1 ] || sleep 0.$((round * 3))
	lab_dpud_kill m 2>/dev/null || true
	wait_until 30 "dpud answers again" rpc m dpu.version
	wait_until 30 "a ping after dpud was killed" ping_ok
	wait_until 10 "its rule" rules_are 1
done
says 'times_opened: [4-9]' show port xstats 0
says 'hits: [1-9]' flow query 0 "$one" count
never '[Ff]ail|rror|Caught' flow destroy 0 rule "$one"
wait_until 10 "no rules" rules_are 0

# ---- ports stopped and started, also while dpud is away; closed and detached
never '[Ff]ail|rror' stop
never '[Ff]ail|rror' port stop all
lab_dpud_kill m
never '[Ff]ail|rror' port start all
never '[Ff]ail|rror' start
wait_until 30 "dpud answers again" rpc m dpu.version
wait_until 30 "a ping after ports were started without a dpud" ping_ok
says 'Link status: up' show port info 1
never '[Ff]ail|rror' stop
never '[Ff]ail|rror' port stop all
never '[Ff]ail|rror' port reset all
never '[Ff]ail|rror' port start all
never '[Ff]ail|rror' set fwd io
never '[Ff]ail|rror' start
wait_until 20 "a ping after a reset" ping_ok
never '[Ff]ail|rror' stop
never '[Ff]ail|rror' port stop all
never '[Ff]ail|rror' port close 1
never '[Ff]ail|rror|not stopped' port detach 0
says 'has no representor|nobody' port attach "net_softdpu_nobody,socket=$socket,port=nobody"
says 'Port . is attached' port attach "net_softdpu_web,socket=$socket,port=web"
never '[Ff]ail|rror' port start all
says 'dpdk-testpmd .* has it open' port attach "net_softdpu_again,socket=$socket,port=web"

# ---- testpmd killed and back
kill -9 "$pmd_pid"
wait "$pmd_pid" 2>/dev/null || true
exec 7>&-
pmd_start --forward-mode=io
wait_until 20 "a ping after testpmd was killed" ping_ok
echo quit >&7
exec 7>&-
wait_until 10 "testpmd to end" lab_gone "$pmd_pid"
wait "$pmd_pid" || lab_fail "testpmd ended with $?"

# ---- an application that sleeps, also through a death of dpud, and calls rte_flow when it hears of that
cd "$LAB_DIR"
lab_background "$lab_build/tests/interop/sleeping_peer" "${eal[@]}" >sleeping.out 2>sleeping.log
sleeper=$lab_last
wait_until 20 "the one that sleeps" grep -q ready sleeping.out
wait_until 20 "a ping through one that sleeps" ping_ok
lab_dpud_kill m
wait_until 30 "dpud answers again" rpc m dpu.version
wait_until 30 "a ping through one that sleeps, after dpud was killed" ping_ok
inside web ping -q -c 20 -i 0.02 10.0.0.6 | grep -q ' 0% packet loss' || lab_fail "who sleeps loses packets"
never_told() { ! grep -q "$1" sleeping.out; }
never_told 'reset\|removed' || lab_fail "told of a change that there was not: $(cat sleeping.out)"
# A representor goes, and comes back under its name.
dpu m representor delete web >/dev/null
wait_until 10 "the removal" grep -q 'removed 0' sleeping.out
dpu m representor create web eswitch=ovs vnic=blue/web >/dev/null
never_told ' 1$' || lab_fail "the other port was told: $(cat sleeping.out)"
wait_until 10 "a ping through a representor that is back" ping_ok
never_told reset || lab_fail "told to read anew what is as it was: $(cat sleeping.out)"
sleep 2
kill -TERM "$sleeper"
wait "$sleeper" || lab_fail "the one that sleeps ended with $?"
read -r _ frames _ wakes _ events _ flows _ ms < <(tail -1 sleeping.out)
((frames >= 40 && wakes >= 10 && events >= 3 && flows >= 1 && ms < 1000)) || lab_fail "$(tail -1 sleeping.out)"

# ---- dpdk-test-flow-perf: as many rules as there can be, each in force
dpdk-test-flow-perf "${eal[@]}" -- --transfer --ether --ipv4 --port-id=1 --rules-count=500 --rules-batch=100 --portmask=1 --deletion-rate --total-mbuf-count=8192 >flow-perf.out 2>&1 ||
	lab_fail "dpdk-test-flow-perf: $(tail -5 flow-perf.out)"
grep -q "Flows Count per port: 500" flow-perf.out || lab_fail "dpdk-test-flow-perf: $(tail -5 flow-perf.out)"
grep Throughput flow-perf.out
