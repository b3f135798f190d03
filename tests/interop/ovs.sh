#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Stock Open vSwitch drives dpud through librte_net_softdpu.so: first packets go up, flows come down and forward alone; a changed OpenFlow
# rule takes effect; OVS killed and dpud killed under traffic, and both back.
set -euo pipefail
. "$(dirname "$0")/../lib/lab.sh"
vswitchd=/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk
lab_begin ovs
[ -x $vswitchd ] || lab_skip "no OVS with DPDK is installed"
[ -e "$lab_build/apps/net_softdpu/librte_net_softdpu.so" ] || lab_skip "the driver is not built: DPDK's driver headers are missing"
for name in a web db; do lab_netns $name; done
lab_dpud m a --workers 1 --huge-pages off --memory 128
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
eswitches: [{name: ovs}]
vnics:
  - {name: web, tenant: blue, mac: "02:00:00:00:00:05", backend: tap, netns: $LAB-web}
  - {name: db, tenant: blue, mac: "02:00:00:00:00:06", backend: tap, netns: $LAB-db}
representors:
  - {name: web, eswitch: ovs, vnic: blue/web}
  - {name: db, eswitch: ovs, vnic: blue/db}
YAML
dpu m apply -f "$LAB_DIR/net.yaml" >/dev/null
for box in web:5 db:6; do
	wait_until 10 "eth0 of ${box%:*}" inside "${box%:*}" ip link show eth0
	inside "${box%:*}" ip address add "10.0.0.${box#*:}/24" dev eth0
	inside "${box%:*}" ip link set eth0 up
done

# ---- an OVS of our own, in a namespace of its own
ovs=$LAB_DIR/ovs
mkdir "$ovs"
export OVS_RUNDIR=$ovs OVS_LOGDIR=$ovs OVS_DBDIR=$ovs
export LD_LIBRARY_PATH=$lab_build/apps/net_softdpu
vsctl() { ovs-vsctl --timeout=20 --db="unix:$ovs/db.sock" "$@"; }
appctl() { ovs-appctl -t "$(echo "$ovs"/ovs-vswitchd*.ctl)" "$@"; }
ofctl() { ovs-ofctl "$1" "unix:$ovs/br0.mgmt" "${@:2}"; }
ovsdb-tool create "$ovs/conf.db" /usr/share/openvswitch/vswitch.ovsschema
lab_background inside a ovsdb-server "$ovs/conf.db" --remote="punix:$ovs/db.sock" --pidfile="$ovs/ovsdb-server.pid" --log-file="$ovs/db.log" 2>/dev/null
wait_until 10 "ovsdb-server" test -S "$ovs/db.sock"
vsctl --no-wait init
vsctl --no-wait set Open_vSwitch . other_config:dpdk-init=true other_config:hw-offload=true other_config:per-port-memory=true \
	other_config:pmd-maxsleep=500 other_config:dpdk-extra="--no-huge --legacy-mem -m 512 --no-pci --no-telemetry --file-prefix $LAB -d librte_net_softdpu.so"
vswitchd_start() {
	rm -f "$ovs"/ovs-vswitchd*.ctl
	cd "$ovs" # a driver is found by name only from a folder that is not the library's
	lab_background inside a $vswitchd "unix:$ovs/db.sock" --pidfile="$ovs/ovs-vswitchd.pid" --log-file="$LAB_DIR/vswitchd.log" 2>/dev/null
	vswitchd_pid=$lab_last
	cd - >/dev/null
	wait_until 20 "ovs-vswitchd" appctl version
}
vswitchd_start
vsctl add-br br0 -- set bridge br0 datapath_type=netdev
for name in web db; do
	vsctl add-port br0 $name -- set interface $name type=dpdk \
		"options:dpdk-devargs=net_softdpu_$name,socket=/run/softdpu/$LAB-m/eswitch.sock,port=$name"
done
error=$(vsctl get interface web error)
[ "$error" = "[]" ] || lab_fail "OVS cannot use the port: $error"

ping_ok() { inside web ping -c 5 -i 0.2 -W 2 10.0.0.6 >/dev/null; }
wait_until 20 "a ping through OVS" ping_ok
offloaded() { appctl dpctl/dump-flows -m type=offloaded | grep -c 'offloaded:yes.*dp:dpdk\|dp:dpdk.*offloaded:yes'; }
wait_until 10 "flows that are offloaded" ping_ok
inside web ping -i 0.1 -c 20 10.0.0.6 >/dev/null
[ "$(offloaded)" -ge 2 ] || lab_fail "nothing is offloaded: $(appctl dpctl/dump-flows -m)"
ups() { dpu m -o json offload stats | json "d['upcalls']"; }
before=$(ups)
inside web ping -i 0.05 -c 20 10.0.0.6 >/dev/null
after=$(ups)
[ $((after - before)) -le 4 ] || lab_fail "$((after - before)) of 40 packets of an offloaded flow have gone up"
dpu m offload flows | grep -q "ipv4" || lab_fail "dpuctl shows no flows: $(dpu m offload flows)"

# ---- OpenFlow decides
ofctl add-flow "priority=100,icmp,actions=drop"
wait_until 10 "the rule to take effect" bash -c "! ip netns exec $LAB-web ping -c 1 -W 1 10.0.0.6"
ofctl del-flows icmp
wait_until 10 "the rule to be gone" ping_ok

# ---- OVS configures a port anew: its flows are in force again
has_rules() { [ "$(dpu m -o json offload stats | json "d['rules']")" -ge 2 ]; }
vsctl set interface web options:n_rxq=2
wait_until 20 "a ping after a port was configured anew" ping_ok
inside web ping -i 0.1 -c 10 10.0.0.6 >/dev/null
wait_until 10 "rules after a port was configured anew" has_rules
before=$(ups)
inside web ping -i 0.05 -c 20 10.0.0.6 >/dev/null
after=$(ups)
[ $((after - before)) -le 4 ] || lab_fail "$((after - before)) of 40 packets have gone up after a port was configured anew"

# ---- OVS killed under traffic, and back
kill -9 "$vswitchd_pid"
no_rules() { [ "$(dpu m -o json offload stats | json "d['rules']")" = 0 ]; }
wait_until 10 "its rules to go" no_rules
vswitchd_start
wait_until 30 "a ping after OVS was killed" ping_ok
inside web ping -i 0.1 -c 20 10.0.0.6 >/dev/null
[ "$(offloaded)" -ge 2 ] || lab_fail "nothing is offloaded after OVS was killed"

# ---- dpud killed, and back
lab_dpud_kill m
wait_until 30 "dpud answers again" rpc m dpu.version
wait_until 30 "a ping after dpud was killed" ping_ok
inside web ping -i 0.1 -c 20 10.0.0.6 >/dev/null
wait_until 20 "rules in the new dpud" has_rules
