# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What tests against drivers of DPDK share: testpmd generates frames over a device of its own, and vhost_peer, our end, echoes them.
# Everything is in $dir; $case says what is being tried.
. "$(dirname "$0")/../lib/machine.sh"
command -v dpdk-testpmd >/dev/null || { echo "skipped: no dpdk-testpmd (package dpdk-dev)"; exit 77; }
dir=/tmp/flowgen
mkdir $dir
case=none
finish() {
	local status=$?
	[ $status -eq 0 ] || tail -n 30 "$dir"/*.log >&2
}
trap finish EXIT
fail() {
	echo "FAILED: $case: $*" >&2
	exit 1
}

ours_start() { # ARGUMENT of vhost_peer...
	"$echo_program" "$@" >"$dir/echo.out" 2>>"$dir/echo.log" &
	echo_pid=$!
}
ours_stop() {
	kill -TERM "$echo_pid"
	wait "$echo_pid" || fail "our end ended with $?"
	echo "ok: $case: $(cat "$dir/echo.out")"
}
killed() { # PID
	kill -9 "$1"
	wait "$1" 2>/dev/null || true
}
wait_socket() {
	local end=$((SECONDS + 20))
	until [ -S "$dir/socket" ]; do
		[ $SECONDS -lt $end ] || fail "nobody listens"
		sleep 0.05
	done
}

pmd_start() { # DEVICE as for --vdev, QUEUES
	rm -f "$dir/commands"
	mkfifo "$dir/commands"
	: >"$dir/testpmd.log"
	stdbuf -oL dpdk-testpmd --no-huge -m 256 --no-pci --no-telemetry --file-prefix flowgen --lcores '0@0,1@0' --vdev "$1" \
		-- -i --forward-mode=flowgen --rxq="$2" --txq="$2" --total-num-mbufs=4096 <"$dir/commands" >"$dir/testpmd.log" 2>&1 &
	pmd_pid=$!
	exec 7>"$dir/commands"
	pmd_go
}
pmd_kill() {
	killed "$pmd_pid"
	exec 7>&-
}
pmd_halts() { grep -ac '^Done\.' "$dir/testpmd.log"; }
pmd_halt() { # it generates no more
	local before end=$((SECONDS + 20))
	before=$(pmd_halts || true)
	echo stop >&7
	until [ "$(pmd_halts)" -gt "$before" ]; do
		[ $SECONDS -lt $end ] || fail "testpmd does not stop"
		sleep 0.03
	done
}
pmd_go() { echo start >&7; }
pmd_stop() {
	printf 'stop\nquit\n' >&7
	exec 7>&-
	wait "$pmd_pid" || fail "testpmd ended with $?"
}

pmd_answers() { grep -ac 'RX-packets:' "$dir/testpmd.log"; }
received() { # frames that testpmd got back
	local before end=$((SECONDS + 20))
	before=$(pmd_answers || true)
	echo "show port stats 0" >&7
	until [ "$(pmd_answers)" -gt "$before" ]; do
		[ $SECONDS -lt $end ] || fail "testpmd does not answer"
		sleep 0.03
	done
	sed -n 's/.*RX-packets: *\([0-9]*\).*/\1/p' "$dir/testpmd.log" | tail -1
}
# Waits until more frames than this have come back.
flows_beyond() { # FRAMES WHAT
	local end=$((SECONDS + 20)) now
	while now=$(received); [ "$now" -le "$1" ]; do
		[ $SECONDS -lt $end ] || fail "$2: $now frames came back, not more than $1"
		sleep 0.05
	done
}
# Our end dies, again and again, and its successor goes on.
survives() { # ARGUMENT of vhost_peer...
	local before
	for _ in 1 2 3; do
		killed "$echo_pid"
		before=$(received)
		ours_start "$@"
		flows_beyond $((before + 10000)) "we were killed"
	done
}
