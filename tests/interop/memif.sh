#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # for flowgen.sh
# memif with DPDK's driver at the other end, in both roles: testpmd that generates frames, which are echoed, with one and with two
# queues; either side is killed with -9 and the traffic goes on with its successor. Then OVS-DPDK as switch between a TAP of
# ours and its own: ping with short and long packets.
#
# usage: memif.sh VHOST_PEER
set -euo pipefail
echo_program=$(readlink -f "$1")
. "$(dirname "$0")/flowgen.sh"

memif_ours() { ours_start "memif:$dir/socket$1" uplink - "$2"; } # OPTION of the role, QUEUES
memif_pmd() { pmd_start "net_memif0,role=$1,id=0,socket=$dir/socket,socket-abstract=no,bsize=2048,rsize=8" "$2"; } # DPDK's role, QUEUES

# One after the other: when our end goes, DPDK's driver takes rings away under a core that polls them, and it gives up its memory under its
# interrupt thread; so testpmd stands still meanwhile.
survives_halted() { # queues
	local before
	for _ in 1 2 3; do
		pmd_halt
		before=$(received)
		killed "$echo_pid"
		sleep 0.3
		memif_ours '' "$1"
		pmd_go
		flows_beyond $((before + 10000)) "we were killed"
	done
}

run_testpmd() { # our role, queues
	local role=,server theirs=client
	[ "$1" = server ] || { role='' theirs=server; }
	case="testpmd, we are $1, $2 queues"
	: >"$dir/echo.log"
	memif_ours "$role" "$2"
	[ "$1" = client ] || wait_socket
	memif_pmd $theirs "$2"
	flows_beyond 10000 "first"
	for _ in 1 2; do # their end dies; a client of DPDK's does not come back by itself, so each time it is a new one
		pmd_kill
		[ "$1" = server ] || rm -f "$dir/socket"
		memif_pmd $theirs "$2"
		flows_beyond 10000 "testpmd was killed"
	done
	[ "$1" = server ] || survives_halted "$2"
	pmd_halt
	ours_stop
	sleep 0.3
	pmd_stop
	rm -f "$dir/socket"
}

# ---- OVS ----

ovs_start() {
	export OVS_RUNDIR=$dir OVS_LOGDIR=$dir OVS_DBDIR=$dir
	ovsdb-tool create "$dir/conf.db" /usr/share/openvswitch/vswitch.ovsschema
	ovsdb-server "$dir/conf.db" --remote="punix:$dir/db.sock" --log-file="$dir/ovsdb.log" >/dev/null 2>&1 &
	ovs_pids=$!
	local end=$((SECONDS + 20))
	while [ ! -S "$dir/db.sock" ]; do [ $SECONDS -lt $end ] || fail "no ovsdb-server"; sleep 0.1; done
	vsctl --no-wait init
	vsctl --no-wait set Open_vSwitch . other_config:dpdk-init=true other_config:pmd-cpu-mask=0x1 other_config:per-port-memory=true \
		other_config:pmd-maxsleep=500 \
		"other_config:dpdk-extra=--no-huge --legacy-mem -m 512 --no-pci --no-telemetry --file-prefix ${dir##*/}"
	/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk "unix:$dir/db.sock" --log-file="$dir/vswitchd.log" >/dev/null 2>&1 &
	ovs_pids="$ovs_pids $!"
	vsctl add-br bridge -- set bridge bridge datapath_type=netdev
	ip address add 10.9.0.1/24 dev bridge
	ip link set bridge up
}
ovs_stop() {
	for pid in $ovs_pids; do killed "$pid"; done
	! ip link show bridge >/dev/null 2>&1 || ip link delete bridge
	rm -f "$dir/conf.db" "$dir/db.sock"
}
vsctl() { ovs-vsctl --timeout=30 --db="unix:$dir/db.sock" "$@"; }

run_ovs() { # our role
	local peer=client role=,server end
	case="OVS-DPDK, we are $1"
	[ "$1" = server ] || { peer=server role=''; }
	: >"$dir/echo.log"
	ovs_start
	end=$((SECONDS + 20))
	ours_start "memif:$dir/socket$role" uplink - 1 far
	[ "$1" = client ] || wait_socket
	vsctl add-port bridge m0 -- set interface m0 type=dpdk \
		"options:dpdk-devargs=net_memif_$1,role=$peer,id=0,socket=$dir/socket,socket-abstract=no"
	while ! ip link show far >/dev/null 2>&1; do [ $SECONDS -lt $end ] || fail "no TAP"; sleep 0.1; done
	# The TAP is a host of its own.
	unshare --net sleep 300 &
	local host=$!
	sleep 0.3
	ip link set far netns "$host"
	nsenter --net --target "$host" sh -c 'ip link set far up && ip address add 10.9.0.2/24 dev far'
	ip neighbour flush dev bridge
	while ! ping -q -c 1 -W 1 10.9.0.2 >/dev/null; do [ $SECONDS -lt $end ] || fail "no ping"; done
	ping -q -c 20 -i 0.02 -s 56 10.9.0.2 | grep -q ' 0% packet loss' || fail "short packets are lost"
	ping -q -c 20 -i 0.02 -s 1400 10.9.0.2 | grep -q ' 0% packet loss' || fail "long packets are lost"
	ours_stop
	killed "$host"
	ovs_stop
	rm -f "$dir/socket"
}

for queues in 1 2; do
	run_testpmd server $queues
	run_testpmd client $queues
done
if [ ! -x /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk ]; then
	echo "not run: OVS-DPDK (package openvswitch-switch-dpdk)"
else
	run_ovs server
	run_ovs client
fi
