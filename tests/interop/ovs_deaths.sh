#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Stock Open vSwitch and dpud end, killed or asked to, again and again and quickly, under a ping and a TCP connection that go on: each
# time traffic comes back by itself and is forwarded below OVS, and no rule is left that OVS does not have.
set -euo pipefail
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
. "$(dirname "$0")/../lib/ovs.sh"
lab_begin ovsdea
ovs_needs
for name in a web db; do lab_netns $name; done
lab_dpud m a --workers 2 --huge-pages off --memory 128
lab_members m
ovs_new ovs a
ovs_start ovs
ovs_bridge ovs br0
for name in web db; do ovs_port ovs br0 $name m; done

ping_ok() { inside web ping -c 3 -i 0.2 -W 1 10.0.0.6 >/dev/null; }
pings() { inside web ping -c 20 -i 0.05 -W 1 10.0.0.6; }
wait_until 20 "a ping" ping_ok

# Lines with their numbers, 20 a second, by one connection until the end: none may be missing then.
lab_listen db 10.0.0.6
listener=$lab_last
talk() {
	local line=0
	until [ -e "$LAB_DIR/enough" ]; do
		echo $((line++))
		sleep 0.05
	done
	echo "end $line"
}
talk | inside web nc -N 10.0.0.6 5001 &
talker=$!
lab_pids+=("$talker")
inside web ping -i 0.02 10.0.0.6 >/dev/null &
lab_pids+=($!)

no_more_rules() { [ "$(dpu m -o json offload stats | json "d['rules']")" -le "$(appctl ovs dpctl/dump-flows -m type=offloaded,partially-offloaded | wc -l)" ]; }
is_up() { [ "$(vsctl ovs get interface "$1" link_state)" = up ]; }
well() { # WHAT
	wait_until 30 "a ping $1" ping_ok
	for _ in $(seq 100); do
		pings >/dev/null || true
		ovs_alone_now && break
	done
	ovs_alone m 6 "a ping $1" pings
	wait_until 10 "no rules that OVS has not, $1" no_more_rules
	for name in web db; do
		wait_until 10 "the link of $name $1" is_up $name # OVS looks every five seconds
	done
}
# Flows of both directions are below.
ovs_alone_now() { [ "$(ovs_offloaded ovs)" -ge 2 ]; }
answers() { [ "$(lab_dpud_pid m)" != "$1" ] && rpc m dpu.version >/dev/null; }

well "at first"
for round in 1 2 3 4 5; do
	ovs_kill ovs
	ovs_start ovs
	[ "$round" != 2 ] || sleep 1 # its ports are there, or not yet
done
well "after OVS was killed five times"
for _ in 1 2 3; do
	ovs_stop ovs
	ovs_start ovs
done
well "after OVS ended three times"
for _ in 1 2 3 4 5; do
	old=$(lab_dpud_pid m)
	lab_dpud_kill m
	wait_until 20 "dpud is back" answers "$old"
done
well "after dpud was killed five times"
for _ in 1 2 3; do
	old=$(lab_dpud_pid m)
	kill "$old"
	wait_until 20 "dpud is back" answers "$old"
done
well "after dpud ended three times"
# Twice in a row: the second time while OVS starts its ports anew.
for pause in 0.05 0.2 0.4; do
	old=$(lab_dpud_pid m)
	lab_dpud_kill m
	wait_until 20 "dpud is back" answers "$old"
	sleep $pause
	lab_dpud_kill m
	well "after dpud died twice within $pause s"
done
# Both at once.
lab_dpud_kill m
ovs_kill ovs
ovs_start ovs
well "after both died"

touch "$LAB_DIR/enough"
wait $talker || lab_fail "the connection is lost"
wait "$listener"
tail -1 "$LAB_DIR/got" | grep -q "^end " || lab_fail "the connection ended early"
[ "$(grep -vc end "$LAB_DIR/got")" = "$(sed -n 's/^end //p' "$LAB_DIR/got")" ] || lab_fail "lines of the connection are missing"
