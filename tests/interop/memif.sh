#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# memif with DPDK's driver at the other end, in both roles: testpmd that generates frames, which are echoed, with one and with two
# queues; either side is killed with -9 in the middle and the traffic goes on with its successor. Then OVS-DPDK as switch between a TAP of
# ours and its own: ping with short and long packets.
#
# usage: memif.sh VHOST_PEER
set -euo pipefail
echo_program=$(readlink -f "$1")
. "$(dirname "$0")/../lib/machine.sh"
command -v dpdk-testpmd >/dev/null || { echo "skipped: no dpdk-testpmd (package dpdk-dev)"; exit 77; }
dir=/tmp/memif
mkdir $dir
finish() {
	local status=$?
	[ $status -eq 0 ] || tail -n 30 "$dir"/*.log >&2
}
trap finish EXIT
case=none

fail() {
	echo "FAILED: $case: $*" >&2
	exit 1
}

ours_start() { # option of the role, arguments behind DEVICE
	local role=$1
	shift
	"$echo_program" "memif:$dir/socket$role" uplink - "$@" >"$dir/echo.out" 2>>"$dir/echo.log" &
	echo_pid=$!
}

pmd_start() { # DPDK's role, queues
	rm -f "$dir/commands"
	mkfifo "$dir/commands"
	: >"$dir/testpmd.log"
	dpdk-testpmd --no-huge -m 256 --no-pci --no-telemetry --file-prefix "${dir##*/}" --lcores '0@0,1@0' \
		--vdev "net_memif0,role=$1,id=0,socket=$dir/socket,socket-abstract=no,bsize=2048,rsize=8" \
		-- -i --forward-mode=flowgen --rxq="$2" --txq="$2" --total-num-mbufs=4096 \
		<"$dir/commands" >"$dir/testpmd.log" 2>&1 &
	pmd_pid=$!
	exec 7>"$dir/commands"
	echo start >&7
}

received() { # frames that testpmd got back
	local seen
	echo "show port stats 0" >&7
	sleep 0.3
	seen=$(grep -a 'RX-packets:' "$dir/testpmd.log" | tail -1 | sed 's/.*RX-packets: *\([0-9]*\).*/\1/')
	echo "${seen:-0}"
}

# Waits until more frames than this have come back.
flows_beyond() { # frames, what
	local end=$((SECONDS + 20)) now
	while now=$(received); [ "$now" -le "$1" ]; do
		[ $SECONDS -lt $end ] || fail "$2: $now frames came back, not more than $1"
	done
}

wait_socket() {
	local end=$((SECONDS + 20))
	while [ ! -S "$dir/socket" ]; do
		[ $SECONDS -lt $end ] || fail "nobody listens"
		sleep 0.1
	done
}

killed() { # pid
	kill -9 "$1"
	wait "$1" 2>/dev/null || true
}

start_both() { # our role, queues
	if [ "$1" = server ]; then
		ours_start ,server "$2"
		wait_socket
		pmd_start client "$2"
	else
		ours_start '' "$2"
		pmd_start server "$2"
	fi
}

run_testpmd() { # our role, queues
	local before
	case="testpmd, we are $1, $2 queues"
	: >"$dir/echo.log"
	start_both "$1" "$2"
	flows_beyond 1000 "first"
	for _ in 1 2; do # their end dies; a client of DPDK's does not come back by itself, so each time it is a new one
		killed "$pmd_pid"
		exec 7>&-
		[ "$1" = server ] || rm -f "$dir/socket"
		if [ "$1" = server ]; then pmd_start client "$2"; else pmd_start server "$2"; fi
		flows_beyond 1000 "testpmd was killed"
	done
	if [ "$1" = client ]; then
		for _ in 1 2 3; do
			killed "$echo_pid"
			before=$(received)
			ours_start '' "$2"
			flows_beyond $((before + 2000)) "we were killed"
		done
	fi
	echo stop >&7
	echo quit >&7
	exec 7>&-
	wait "$pmd_pid" || fail "testpmd ended with $?"
	kill -TERM "$echo_pid"
	wait "$echo_pid" || fail "our end ended with $?"
	rm -f "$dir/socket"
	echo "ok: $case: $(cat "$dir/echo.out")"
}

# ---- OVS ----

ovs_start() {
	export OVS_RUNDIR=$dir OVS_LOGDIR=$dir OVS_DBDIR=$dir
	ovsdb-tool create "$dir/conf.db" /usr/share/openvswitch/vswitch.ovsschema
	ovsdb-server "$dir/conf.db" --remote="punix:$dir/db.sock" --log-file="$dir/ovsdb.log" >/dev/null 2>&1 &
	local end=$((SECONDS + 20))
	while [ ! -S "$dir/db.sock" ]; do [ $SECONDS -lt $end ] || fail "no ovsdb-server"; sleep 0.1; done
	vsctl --no-wait init
	vsctl --no-wait set Open_vSwitch . other_config:dpdk-init=true other_config:pmd-cpu-mask=0x1 other_config:per-port-memory=true \
		other_config:pmd-maxsleep=500 \
		"other_config:dpdk-extra=--no-huge --legacy-mem -m 512 --no-pci --no-telemetry --file-prefix ${dir##*/}"
	/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk "unix:$dir/db.sock" --log-file="$dir/vswitchd.log" >/dev/null 2>&1 &
	vsctl add-br bridge -- set bridge bridge datapath_type=netdev
	ip address add 10.9.0.1/24 dev bridge
	ip link set bridge up
}
vsctl() { ovs-vsctl --timeout=30 --db="unix:$dir/db.sock" "$@"; }

run_ovs() { # our role
	local peer=client role=,server end=$((SECONDS + 20))
	case="OVS-DPDK, we are $1"
	[ "$1" = server ] || { peer=server role=''; }
	: >"$dir/echo.log"
	ours_start "$role" 1 far
	[ "$1" = client ] || wait_socket
	vsctl --may-exist add-port bridge m0 -- set interface m0 type=dpdk \
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
	vsctl del-port bridge m0
	kill -TERM "$echo_pid"
	wait "$echo_pid" || fail "our end ended with $?"
	kill -9 "$host"
	wait "$host" 2>/dev/null || true
	rm -f "$dir/socket"
	echo "ok: $case: $(cat "$dir/echo.out")"
}

for queues in 1 2; do
	run_testpmd server $queues
	run_testpmd client $queues
done
if [ ! -x /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk ]; then
	echo "not run: OVS-DPDK (package openvswitch-switch-dpdk)"
else
	ovs_start
	run_ovs server
	run_ovs client
fi
