#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Changes under stock Open vSwitch while traffic goes on, which loses a few packets at most: ports added and removed, vNICs and their
# representors deleted and made again, bypass switched, queues and bridges configured anew; with two workers and four offload threads.
set -euo pipefail
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
. "$(dirname "$0")/../lib/ovs.sh"
lab_begin ovscha
ovs_needs
for name in a web db app; do lab_netns $name; done
lab_dpud m a --workers 2 --huge-pages off --memory 128
vnic() { echo "{name: $1, tenant: blue, mac: \"02:00:00:00:00:0$2\", backend: tap, netns: $LAB-$1}"; }
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
eswitches: [{name: ovs}]
vnics: [$(vnic web 5), $(vnic db 6), $(vnic app 7)]
representors:
  - {name: web, eswitch: ovs, vnic: blue/web}
  - {name: db, eswitch: ovs, vnic: blue/db}
  - {name: app, eswitch: ovs, vnic: blue/app}
YAML
dpu m apply -f "$LAB_DIR/net.yaml" >/dev/null
address() { # namespace, host
	wait_until 10 "eth0 of $1" inside "$1" ip link show eth0
	inside "$1" ip address add "10.0.0.$2/24" dev eth0
	inside "$1" ip link set eth0 up
}
address web 5
address db 6
address app 7
ovs_new ovs a n-offload-threads=4
ovs_start ovs
ovs_bridge ovs br0
for name in web db; do ovs_port ovs br0 $name m options:n_rxq=2; done

ping_ok() { inside "$1" ping -c 3 -i 0.2 -W 1 "$2" >/dev/null; }
pings() { inside web ping -c 20 -i 0.05 -W 1 10.0.0.6; }
wait_until 20 "a ping" ping_ok web 10.0.0.6
pings >/dev/null
ovs_alone m 4 "a ping over four queues" pings
appctl ovs dpctl/offload-stats-show | grep "\[  3\]" >/dev/null || lab_fail "there are no four offload threads: $(appctl ovs dpctl/offload-stats-show)"

# While COMMAND... runs, 50 packets per second go from web to db.
steadily() { # WHAT, how many may be lost, COMMAND...
	local what=$1 limit=$2 pinger sent got
	shift 2
	ip netns exec "$LAB-web" ping -i 0.02 -W 1 10.0.0.6 >"$LAB_DIR/steady" &
	pinger=$!
	lab_pids+=("$pinger")
	sleep 0.5
	"$@"
	sleep 1
	kill -INT $pinger
	wait $pinger || true
	read -r sent got < <(sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' "$LAB_DIR/steady")
	[ "$sent" -ge 50 ] || lab_fail "$what: $sent packets were sent"
	echo "$what: $((sent - got)) of $sent lost"
	[ $((sent - got)) -le "$limit" ] || lab_fail "$what: $((sent - got)) of $sent packets are lost"
}

ports_come_and_go() {
	for _ in 1 2 3; do
		ovs_port ovs br0 app m
		wait_until 10 "app's ping" ping_ok app 10.0.0.5
		vsctl ovs del-port app
	done
}
steadily "a port that comes and goes" 5 ports_come_and_go

switch_bypass() {
	for _ in 1 2 3; do
		for bypass in true false; do
			dpu m eswitch set ovs bypass=$bypass >/dev/null
			sleep 0.3
		done
	done
}
steadily "bypass" 5 switch_bypass
before=$(ovs_upcalls m)
dpu m eswitch set ovs bypass=true >/dev/null
pings >/dev/null
[ $(($(ovs_upcalls m) - before)) -ge 40 ] || [ "$(dpu m -o json offload stats | json "d['bypassed']")" -ge 40 ] || lab_fail "nothing goes up when everything should"
dpu m eswitch set ovs bypass=false >/dev/null
ovs_alone m 6 "a ping after bypass" pings

# ---- objects deleted and made while OVS has the port
app_is_down() { [ "$(vsctl ovs get interface app link_state)" = down ]; }
remade() {
	ovs_port ovs br0 app m
	wait_until 10 "app's ping" ping_ok app 10.0.0.5
	for _ in 1 2 3; do
		dpu m representor delete app >/dev/null
		dpu m vnic delete blue/app >/dev/null
		wait_until 10 "the end of app's link" app_is_down
		dpu m apply -f "$LAB_DIR/net.yaml" >/dev/null
		address app 7
		wait_until 20 "app's ping after it was made again" ping_ok app 10.0.0.5
	done
}
steadily "a representor that is made again" 5 remade
stale() { [ "$(dpu m -o json offload stats | json "d['rules']")" -le "$(appctl ovs dpctl/dump-flows -m type=offloaded,partially-offloaded | wc -l)" ]; }
vsctl ovs del-port app
wait_until 15 "rules that OVS has not to be gone" stale

# ---- queues, while a transfer goes on
requeue() {
	for queues in 1 4 2; do
		for name in web db; do vsctl ovs set interface $name options:n_rxq=$queues; done
		sleep 0.7
	done
}
head -c 20000000 /dev/urandom >"$LAB_DIR/sent"
lab_listen db 10.0.0.6
listener=$lab_last
slowly() { for part in $(seq 0 39); do dd if="$LAB_DIR/sent" bs=500000 skip="$part" count=1 status=none; sleep 0.1; done; }
slowly | inside web timeout 40 nc -N 10.0.0.6 5001 &
sender=$!
lab_pids+=("$sender")
requeue
switch_bypass
wait $sender || lab_fail "TCP breaks off when queues change"
wait "$listener"
cmp "$LAB_DIR/sent" "$LAB_DIR/got" || lab_fail "the transfer is damaged"
wait_until 10 "a ping after queues changed" ping_ok web 10.0.0.6
pings >/dev/null
ovs_alone m 4 "a ping after queues changed" pings
