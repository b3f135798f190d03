#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Is what an OVS with offload sends what the same OVS sends without? Random OpenFlow rules and random frames, ordinary and odd, go to
# two: one drives dpud through librte_net_softdpu.so, the other has neither dpud nor DPDK nor offload. What comes out of each port is
# compared, packet by packet and byte by byte; then the same after OVS, and after dpud, was killed under traffic.
#
# usage: ovs_differential.sh [--seconds N] [--seed N]      N seconds in all (36), seeds from N (1) on; a failure tells its seed
#
#   d1 … d4 ── TAP ── dpud ══ OVS dut        r1 … r6, br-ref ── internal ports ── OVS ref
#   d5, d6 ── veth ── dpud ══ (br-dut is its LOCAL port)
set -euo pipefail
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
. "$(dirname "$0")/../lib/ovs.sh"
seconds=36 seed=1
while [ $# -gt 0 ]; do
	case $1 in
	--seconds) seconds=$2 ;;
	--seed) seed=$2 ;;
	*) sed -n '7s/^# //p' "$0" >&2 && exit 2 ;;
	esac
	shift 2
done
here=$(cd "$(dirname "$0")/differential" && pwd)
lab_begin odif
ovs_needs
for name in a b; do
	lab_netns $name
	inside $name sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
for port in 5 6; do lab_veth a d$port a e$port 9100; done
lab_dpud m a --workers 2 --huge-pages off --memory 256
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
eswitches: [{name: ovs}]
vnics:
  - {name: d1, tenant: blue, backend: tap, tap_name: d1, netns: $LAB-a}
  - {name: d2, tenant: blue, backend: tap, tap_name: d2, netns: $LAB-a}
  - {name: d3, tenant: blue, backend: tap, tap_name: d3, netns: $LAB-a}
  - {name: d4, tenant: blue, backend: tap, tap_name: d4, netns: $LAB-a, mtu: 9000}
ports:
  - {name: e5, device: "af_packet:e5"}
  - {name: e6, device: "af_packet:e6", mtu: 9000}
representors:
  - {name: d1, eswitch: ovs, vnic: blue/d1}
  - {name: d2, eswitch: ovs, vnic: blue/d2}
  - {name: d3, eswitch: ovs, vnic: blue/d3}
  - {name: d4, eswitch: ovs, vnic: blue/d4}
  - {name: d5, eswitch: ovs, port: e5}
  - {name: d6, eswitch: ovs, port: e6}
YAML
dpu m apply -f "$LAB_DIR/net.yaml" >/dev/null
taps_up() {
	local tap
	for tap in d1 d2 d3 d4; do
		wait_until 10 "$tap" inside a ip link show $tap
		inside a ip link set dev $tap arp off up
	done
}
taps_up

ovs_memory=1536 ovs_new dut a max-revalidator=100 max-idle=30000
ovs_start dut
ovs_bridge dut br-dut
for port in 1 2 3 4 5 6; do
	mtu=1500
	[[ $port != [46] ]] || mtu=9000
	ovs_port dut br-dut d$port m ofport_request=$port mtu_request=$mtu
done
inside a ip link set dev br-dut up
ovs_new ref b hw-offload=false dpdk-init=false max-revalidator=100 max-idle=30000
ovs_start ref
ovs_bridge ref br-ref
for port in 1 2 3 4 5 6; do
	vsctl ref add-port br-ref r$port -- set interface r$port type=internal ofport_request=$port mtu_request=9000
	inside b ip link set dev r$port up
done
inside b ip link set dev br-ref up

differential=(/usr/bin/python3 -B "$here/differential.py" --lab "$LAB" --lab-dir "$LAB_DIR" --dpud "/run/softdpu/$LAB-m/dpud.sock")
compare() { # PARTS-OF-SIX WHAT
	"${differential[@]}" --seed "$seed" --seconds "$((seconds * $1 / 6))" >"$LAB_DIR/compared" || {
		cat "$LAB_DIR/compared"
		lab_fail "with offload OVS does not do what it does without, $2"
	}
	cat "$LAB_DIR/compared"
	seed=$(($(sed -n 's/^seeds .* to \([0-9]*\):.*/\1/p' "$LAB_DIR/compared") + 1))
}
traffic_start() {
	lab_background "${differential[@]}" --seed "$seed" --traffic
	traffic=$lab_last
	sleep 1
}
traffic_stop() {
	kill "$traffic"
	wait "$traffic" || true
	sleep 0.5
}
# The database may speak of former times.
links_up() { [ "$(ofctl dut dump-ports-desc br-dut | grep -A2 '(d[1-6])' | grep -c 'state: .*0')" = 6 ]; }

compare 4 "from the beginning"

traffic_start
ovs_kill dut
no_rules() { [ "$(dpu m -o json offload stats | json "d['rules']")" = 0 ]; }
wait_until 10 "the rules of a killed OVS to go" no_rules
ovs_start dut
wait_until 20 "ports of the new OVS" links_up
inside a ip link set dev br-dut up
traffic_stop
compare 1 "after OVS was killed"

traffic_start
lab_dpud_kill m
wait_until 30 "dpud answers again" rpc m dpu.version
taps_up
wait_until 20 "ports of the new dpud" links_up
traffic_stop
compare 1 "after dpud was killed"
