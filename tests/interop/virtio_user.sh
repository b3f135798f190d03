#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# DPDK's virtio-user driver as front end of our vhost-user port: both roles, both ring formats, one and two queue pairs, frames
# echoed; where the front end listens, our side is killed with -9 in the middle and the traffic goes on with its successor.
#
# usage: virtio_user.sh VHOST_PEER
set -euo pipefail
echo_program=$1
. "$(dirname "$0")/../lib/machine.sh"
command -v dpdk-testpmd >/dev/null || { echo "skipped: no dpdk-testpmd (package dpdk-dev)"; exit 77; }
dir=/tmp/virtio-user
mkdir $dir
finish() {
	local status=$?
	[ $status -eq 0 ] || tail -n 30 "$dir"/*.log >&2
}
trap finish EXIT

fail() {
	echo "FAILED: $case: $*" >&2
	exit 1
}

echo_start() { # role
	"$echo_program" "$dir/socket" "$1" "/dev/shm/${dir##*/}" "$pairs" >"$dir/echo.out" 2>>"$dir/echo.log" &
	echo_pid=$!
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
	local end=$((SECONDS + 15)) now
	while now=$(received); [ "$now" -le "$1" ]; do
		[ $SECONDS -lt $end ] || fail "$2: $now frames came back, not more than $1"
	done
}

run_case() { # our role, packed, queue pairs
	local role=$1 packed=$2
	pairs=$3
	case="$role, packed=$packed, $pairs pairs"
	local server=0
	[ "$role" = server ] || server=1
	: >"$dir/echo.log"
	: >"$dir/testpmd.log"
	mkfifo "$dir/commands"
	echo_start "$role"
	[ $server -eq 1 ] || while [ ! -S "$dir/socket" ]; do sleep 0.1; done
	dpdk-testpmd --no-huge -m 256 --no-pci --no-telemetry --file-prefix "${dir##*/}" --lcores '0@0,1@0' \
		--vdev "net_virtio_user0,path=$dir/socket,server=$server,queues=$pairs,queue_size=256,packed_vq=$packed" \
		-- -i --forward-mode=flowgen --rxq="$pairs" --txq="$pairs" --total-num-mbufs=4096 \
		<"$dir/commands" >"$dir/testpmd.log" 2>&1 &
	pmd_pid=$!
	exec 7>"$dir/commands"
	echo start >&7
	flows_beyond 1000 "first"
	if [ $server -eq 1 ]; then
		for _ in 1 2 3; do
			local before
			kill -9 "$echo_pid"
			wait "$echo_pid" 2>/dev/null || true
			before=$(received)
			echo_start "$role"
			flows_beyond $((before + 2000)) "after kill -9"
		done
	fi
	echo stop >&7
	echo quit >&7
	exec 7>&-
	wait "$pmd_pid" || fail "testpmd ended with $?"
	kill -TERM "$echo_pid"
	wait "$echo_pid" || fail "vhost_peer ended with $?"
	grep -q ' bad-header 0 ' "$dir/echo.out" || fail "$(cat "$dir/echo.out")"
	rm -f "$dir/commands" "$dir/socket"
	echo "ok: $case: $(cat "$dir/echo.out")"
}

for packed in 0 1; do
	run_case server $packed 1
	run_case client $packed 1
done
run_case client 1 2
run_case server 0 2
