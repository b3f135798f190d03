#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# dpuctl beside a stock Open vSwitch: dpud's rules joined with OVS's flows and their ufids, why flows are not offloaded, how long insertions
# take, offload threads, and bypass, in which OVS forwards everything.
set -euo pipefail
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
. "$(dirname "$0")/../lib/ovs.sh"
ovs_needs
lab_begin ovsctl
for name in a web db; do lab_netns $name; done
lab_dpud m a --workers 1 --huge-pages off --memory 128
lab_members m
ovs_new ovs a
ovs_start ovs
ovs_bridge ovs br0
for name in web db; do ovs_port ovs br0 $name m; done
ping_ok() { inside web ping -c 3 -i 0.2 -W 2 10.0.0.6 >/dev/null; }
wait_until 20 "a ping through OVS" ping_ok
ctl=$(echo "$LAB_DIR"/ovs/ovs-vswitchd*.ctl)
joined() { dpu m -o json offload flows --ovs "$ctl"; }

# ---- the flows of both, with OVS's ufids
both() { ping_ok && [ "$(joined | json "len([r for r in d['flows'] if r['where'] == 'both' and r['offloaded'] == 'yes' and 'eth_type(0x0800)' in r['match']])")" = 2 ]; }
wait_until 20 "both directions of the ping in both" both
appctl ovs dpctl/dump-flows -m type=offloaded >"$LAB_DIR/flows"
joined | json "'\n'.join(r['ufid'] for r in d['flows'] if r['where'] == 'both' and 'eth_type(0x0800)' in r['match'])" >"$LAB_DIR/ufids"
while read -r ufid; do grep -q "ufid:$ufid.*eth_type(0x0800)" "$LAB_DIR/flows" || lab_fail "OVS has no such flow: $ufid"; done <"$LAB_DIR/ufids"
# Everything that OVS believes to be offloaded is there, and what it has offloaded in part is known, too.
agree() { [ "$(joined | json "[r for r in d['flows'] if r['where'] != 'both' and r['offloaded'] != 'no']")" = "[]" ]; }
wait_until 10 "OVS and dpud to have the same" agree

# ---- what OVS keeps, and why
ofctl ovs add-flow br0 "priority=100,udp,tp_dst=53,actions=ct(table=1)"
ofctl ovs add-flow br0 "table=1,priority=1,actions=normal"
for _ in 1 2 3; do
	inside web bash -c 'echo x >/dev/udp/10.0.0.6/53' || :
	sleep 0.2
done
dpu m -o json offload refused --ovs "$ctl" | json "' '.join(r['why'] for r in d['kept_by_ovs'])" >"$LAB_DIR/why"
grep -q "connection tracking" "$LAB_DIR/why" || lab_fail "nothing is said of ct: $(cat "$LAB_DIR/why")"
grep -q "recirculated" "$LAB_DIR/why" || lab_fail "nothing is said of recirculation: $(cat "$LAB_DIR/why")"
grep -q "no representor" "$LAB_DIR/why" || lab_fail "nothing is said of the bridge's port: $(cat "$LAB_DIR/why")"

# ---- insertions and the thread that makes them
dpu m -o json offload stats >"$LAB_DIR/stats"
[ "$(json "all(r['commands'] > 0 and 0 < r['p50_ns'] <= r['max_ns'] for r in d['insertion'])" <"$LAB_DIR/stats")" = True ] ||
	lab_fail "insertions are not measured: $(cat "$LAB_DIR/stats")"
[ "$(dpu m -o json offload threads | json "[r['installed'] > 0 and r['health'] in ('idle', 'busy') for r in d['rings']]")" = "[True]" ] ||
	lab_fail "OVS has one offload thread: $(dpu m offload threads)"

# ---- why, for a packet of the ping and for one that OVS must see
why() { dpu m -o json why vnic=blue/web src=10.0.0.5 dst=10.0.0.6 dst_mac=02:00:00:00:00:06 "$@" | json "d['verdict']"; }
forwarded() { ping_ok && [ "$(why protocol=icmp)" = forward ]; }
wait_until 10 "why to find the rule of the ping" forwarded
[ "$(why protocol=tcp dst_port=80)" = upcall ] || lab_fail "why finds a rule for TCP"

# ---- bypass: OVS forwards, and dpud counts
dpu m eswitch set ovs bypass=true
before=$(dpu m -o json offload stats | json "d['bypassed']")
wait_until 10 "a ping by OVS alone" ping_ok
after=$(dpu m -o json offload stats | json "d['bypassed']")
[ $((after - before)) -ge 6 ] || lab_fail "in bypass only $((after - before)) of 6 packets have gone up"
dpu m eswitch set ovs bypass=false
wait_until 10 "a ping by dpud" ping_ok
