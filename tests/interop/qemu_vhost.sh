#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A Linux guest in QEMU against the vhost-user port, wired to a TAP of the host's kernel: split and packed rings, QEMU
# as server and as client. Files pass both ways with checksum and segmentation offload, while our side is killed with -9 again and again.
#
# usage: qemu_vhost.sh VHOST_PEER
set -euo pipefail
peer=$1
# shellcheck disable=SC2034 # for machine.sh
machine_guests=1
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
command -v qemu-system-x86_64 >/dev/null || lab_skip "no qemu-system-x86_64"
lab_begin qv
lab_netns host
megabytes=24
: >"$LAB_DIR/peer.log"

peer_start() {
	ip netns exec "$LAB-host" "$peer" "$socket" "$role" "/dev/shm/softdpu-$LAB-peer" 1 t0 >"$LAB_DIR/peer.out" 2>>"$LAB_DIR/peer.log" &
	peer_pid=$!
}
peer_kill() {
	kill -9 "$peer_pid"
	wait "$peer_pid" 2>/dev/null || true
}

# The peer dies and is restarted until the transfer is through. QEMU as client looks for us once a second only.
murder_until() { # pid of the transfer, what
	local kills=0 pause=0.7
	while kill -0 "$1" 2>/dev/null; do
		sleep "$pause"
		[ "$role" = client ] || pause=4
		if [ $kills -lt 4 ]; then
			peer_kill
			sleep 0.1
			peer_start
			kills=$((kills + 1))
		fi
	done
	wait "$1" || lab_fail "$case: $2"
	[ $kills -gt 0 ] || lab_fail "$case: $2 was over before anything was killed"
}

fetch_from_guest() {
	inside host curl -sS --fail --max-time 120 -o "$LAB_DIR/up" http://10.9.0.2:8080/file
}
send_file='
import socket, sys
with socket.create_server(("10.9.0.1", 9000)) as listener:
    listener.settimeout(60)
    link = listener.accept()[0]
    link.settimeout(60)
    link.sendall(open(sys.argv[1], "rb").read())
    link.shutdown(socket.SHUT_WR)
    while link.recv(4096):
        pass
'
fetch_from_host() {
	inside host /usr/bin/python3 -c "$send_file" "$LAB_DIR/file" &
	ON_TIMEOUT=120 on "$guest" "sleep 0.3; nc 10.9.0.1 9000 </dev/null >/tmp/down" && wait $!
}
same_up() {
	local sum
	sum=$(on "$guest" "sha256sum /tmp/file")
	[ "$(sha256sum <"$LAB_DIR/up")" = "${sum%% *}  -" ] || lab_fail "$case: the file from the guest differs, $1"
}
same_down() {
	local sum
	sum=$(on "$guest" "sha256sum /tmp/down")
	[ "$(sha256sum <"$LAB_DIR/file")" = "${sum%% *}  -" ] ||
		lab_fail "$case: the file to the guest differs, $1: $(on "$guest" "ls -l /tmp/down")"
}

run_case() { # our role, packed
	role=$1
	case="our side $role, packed=$2"
	guest=g$role$2
	socket=$LAB_DIR/$guest.sock
	local options=()
	[ "$role" = client ] || options+=(--vhost-client)
	[ "$2" = 0 ] || options+=(--packed)
	peer_start
	lab_guest "$guest" "$socket" 02:00:00:00:09:02 "${options[@]}"
	wait_until 20 "TAP" inside host ip addr replace 10.9.0.1/24 dev t0
	inside host ip link set t0 up
	on "$guest" "ip addr add 10.9.0.2/24 dev eth0 && ip link set eth0 up"
	wait_until 30 "$case: ping" inside host ping -c1 -W1 10.9.0.2
	on "$guest" "dd if=/dev/urandom of=/tmp/file bs=1M count=$megabytes 2>/dev/null; cd /tmp; httpd -p 8080"
	head -c ${megabytes}M /dev/urandom >"$LAB_DIR/file"

	fetch_from_guest || lab_fail "$case: from the guest"
	same_up "undisturbed"
	fetch_from_host || lab_fail "$case: to the guest"
	same_down "undisturbed"
	fetch_from_guest &
	murder_until $! "from the guest, with kills"
	same_up "with kills"
	fetch_from_host &
	murder_until $! "to the guest, with kills"
	same_down "with kills"

	# Idle while our side goes: it must come back without traffic that pushes.
	peer_kill
	sleep 1
	peer_start
	wait_until 20 "$case: ping after an idle kill" inside host ping -c1 -W1 10.9.0.2
	kill -TERM "$peer_pid"
	wait "$peer_pid" || lab_fail "$case: the peer ended with $?"
	grep -q ' bad-header 0 ' "$LAB_DIR/peer.out" || lab_fail "$case: $(cat "$LAB_DIR/peer.out")"
	"$lab_top/devtools/guest/guest" stop "$guest" --dir "$LAB_DIR"
	inside host ip link del t0 2>/dev/null || true
	rm -f "/dev/shm/softdpu-$LAB-peer"
	echo "ok: $case: $(cat "$LAB_DIR/peer.out")"
}

run_case client 0
run_case client 1
run_case server 0
run_case server 1
