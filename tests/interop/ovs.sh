#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Stock Open vSwitch drives dpud through librte_net_softdpu.so: first packets go up, flows come down and forward alone; a changed OpenFlow
# rule takes effect; OVS killed and dpud killed under traffic, and both back.
set -euo pipefail
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
. "$(dirname "$0")/../lib/ovs.sh"
lab_begin ovs
ovs_needs
for name in a web db; do lab_netns $name; done
lab_dpud m a --workers 1 --huge-pages off --memory 128
lab_members m

ovs_new ovs a
ovs_start ovs
ovs_bridge ovs br0
for name in web db; do ovs_port ovs br0 $name m; done

ping_ok() { inside web ping -c 5 -i 0.2 -W 2 10.0.0.6 >/dev/null; }
wait_until 20 "a ping through OVS" ping_ok
wait_until 10 "flows that are offloaded" ping_ok
inside web ping -i 0.1 -c 20 10.0.0.6 >/dev/null
[ "$(ovs_offloaded ovs)" -ge 2 ] || lab_fail "nothing is offloaded: $(appctl ovs dpctl/dump-flows -m)"
ups() { dpu m -o json offload stats | json "d['upcalls']"; }
before=$(ups)
inside web ping -i 0.05 -c 20 10.0.0.6 >/dev/null
after=$(ups)
[ $((after - before)) -le 4 ] || lab_fail "$((after - before)) of 40 packets of an offloaded flow have gone up"
dpu m offload flows | grep -q "ipv4" || lab_fail "dpuctl shows no flows: $(dpu m offload flows)"

# ---- OpenFlow decides
ofctl ovs add-flow br0 "priority=100,icmp,actions=drop"
wait_until 10 "the rule to take effect" bash -c "! ip netns exec $LAB-web ping -c 1 -W 1 10.0.0.6"
ofctl ovs del-flows br0 icmp
wait_until 10 "the rule to be gone" ping_ok

# ---- OVS configures a port anew: its flows are in force again
has_rules() { [ "$(dpu m -o json offload stats | json "d['rules']")" -ge 2 ]; }
vsctl ovs set interface web options:n_rxq=2
wait_until 20 "a ping after a port was configured anew" ping_ok
inside web ping -i 0.1 -c 10 10.0.0.6 >/dev/null
wait_until 10 "rules after a port was configured anew" has_rules
before=$(ups)
inside web ping -i 0.05 -c 20 10.0.0.6 >/dev/null
after=$(ups)
[ $((after - before)) -le 4 ] || lab_fail "$((after - before)) of 40 packets have gone up after a port was configured anew"

# ---- OVS killed under traffic, and back
ovs_kill ovs
no_rules() { [ "$(dpu m -o json offload stats | json "d['rules']")" = 0 ]; }
wait_until 10 "its rules to go" no_rules
ovs_start ovs
wait_until 30 "a ping after OVS was killed" ping_ok
inside web ping -i 0.1 -c 20 10.0.0.6 >/dev/null
[ "$(ovs_offloaded ovs)" -ge 2 ] || lab_fail "nothing is offloaded after OVS was killed"

# ---- dpud killed, and back
lab_dpud_kill m
wait_until 30 "dpud answers again" rpc m dpu.version
wait_until 30 "a ping after dpud was killed" ping_ok
inside web ping -i 0.1 -c 20 10.0.0.6 >/dev/null
wait_until 20 "rules in the new dpud" has_rules
