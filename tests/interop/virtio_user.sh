#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # for flowgen.sh
# DPDK's virtio-user driver as front end of our vhost-user port: both roles, both ring formats, one and two queue pairs, frames
# echoed; where the front end listens, our side is killed with -9 in the middle and the traffic goes on with its successor.
#
# usage: virtio_user.sh VHOST_PEER
set -euo pipefail
echo_program=$1
. "$(dirname "$0")/flowgen.sh"

run_case() { # our role, packed, queue pairs
	local server=0 arguments=("$dir/socket" "$1" /dev/shm/flowgen "$3")
	case="$1, packed=$2, $3 pairs"
	[ "$1" = server ] || server=1
	: >"$dir/echo.log"
	ours_start "${arguments[@]}"
	[ $server = 1 ] || wait_socket
	pmd_start "net_virtio_user0,path=$dir/socket,server=$server,queues=$3,queue_size=256,packed_vq=$2" "$3"
	flows_beyond 10000 "first"
	[ $server = 0 ] || survives "${arguments[@]}"
	pmd_stop
	ours_stop
	grep -q ' bad-header 0 ' "$dir/echo.out" || fail "$(cat "$dir/echo.out")"
	rm -f "$dir/socket"
}

for packed in 0 1; do
	run_case server $packed 1
	run_case client $packed 1
done
run_case client 1 2
run_case server 0 2
