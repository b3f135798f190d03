# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# A laboratory for scripts that need whole DPUs: namespaces, dpud instances that a supervisor restarts, guests. Everything is named after
# the lab and undone by lab_end, also when the script fails.
#
#   . tests/lib/lab.sh; lab_begin NAME
#   lab_netns a                       namespace $LAB-a
#   lab_veth a up0 b up0              a wire between two namespaces
#   lab_dpud one a --workers 1        dpud instance $LAB-one in namespace a, restarted when it dies (not after lab_dpud_stop)
#   dpu one vnic list                 dpuctl of that instance;  rpc one dpu.version '{}'  without dpuctl
#   lab_guest web1 SOCKET MAC         a VM whose NIC is that vhost-user socket;  on web1 COMMAND  runs in it
#   inside a COMMAND                  runs in a namespace

lab_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
lab_build=${MESON_BUILD_ROOT:-$lab_top/build}
lab_image=${GUEST_IMAGE:-$lab_top/build/guest}

lab_begin() {
	LAB=sd$1-$$
	LAB_DIR=/tmp/softdpu-$LAB
	mkdir -p "$LAB_DIR"
	lab_namespaces=()
	lab_guests=()
	lab_dpuds=()
	lab_pids=()
	trap lab_end EXIT
	trap 'exit 130' INT TERM HUP
}

lab_end() {
	local status=$? item
	trap - EXIT
	set +e
	for item in "${lab_guests[@]}"; do "$lab_top/devtools/guest/guest" stop "$item" --dir "$LAB_DIR"; done
	for item in "${lab_dpuds[@]}"; do lab_dpud_stop "$item"; done
	for item in "${lab_pids[@]}"; do kill "$item" 2>/dev/null; done
	for item in "${lab_namespaces[@]}"; do
		ip netns pids "$LAB-$item" 2>/dev/null | xargs -r kill 2>/dev/null
		ip netns del "$LAB-$item" 2>/dev/null
	done
	if [ "$status" -ne 0 ]; then
		for item in "$LAB_DIR"/*.log; do
			[ -f "$item" ] && { echo "--- ${item##*/}"; tail -15 "$item"; } >&2
		done
	fi
	rm -rf "$LAB_DIR" /run/softdpu/"$LAB"-* /dev/shm/softdpu-"$LAB"-* /var/lib/softdpu/"$LAB"-*
	rmdir /run/softdpu /var/lib/softdpu 2>/dev/null
	exit "$status"
}

lab_fail() {
	echo "FAILED: $*" >&2
	exit 1
}
lab_skip() {
	echo "skipped: $*" >&2
	exit 77
}

# wait_until SECONDS WHAT COMMAND...: polls, or fails saying what did not come true.
wait_until() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt "$end" ] || lab_fail "not in time: $what ($*)"
		sleep 0.1
	done
}

lab_netns() {
	ip netns add "$LAB-$1"
	lab_namespaces+=("$1")
	ip -n "$LAB-$1" link set lo up
}
inside() {
	local name=$1
	shift
	ip netns exec "$LAB-$name" "$@"
}
lab_veth() {
	ip -n "$LAB-$1" link add "$2" type veth peer name "$4" netns "$LAB-$3"
	ip -n "$LAB-$1" link set "$2" up mtu "${5:-1600}"
	ip -n "$LAB-$3" link set "$4" up mtu "${5:-1600}"
}

# What the service manager does elsewhere: start again whatever dies.
lab_dpud() {
	local name=$1 namespace=$2
	shift 2
	lab_dpuds+=("$name")
	: >"$LAB_DIR/$name.wanted"
	(
		while [ -e "$LAB_DIR/$name.wanted" ]; do
			ip netns exec "$LAB-$namespace" "$lab_build/src/daemon/dpud" --instance "$LAB-$name" "$@" >>"$LAB_DIR/$name.log" 2>&1 &
			echo $! >"$LAB_DIR/$name.pid"
			wait $! 2>/dev/null || true
			sleep 0.05
		done
	) &
	disown $!
	wait_until 30 "dpud $name answers" rpc "$name" dpu.version
}
lab_dpud_pid() { cat "$LAB_DIR/$1.pid"; }
lab_dpud_kill() { kill -9 "$(lab_dpud_pid "$1")"; }
lab_dpud_stop() {
	local pid
	rm -f "$LAB_DIR/$1.wanted"
	pid=$(lab_dpud_pid "$1" 2>/dev/null) || return 0
	kill "$pid" 2>/dev/null
	for _ in $(seq 100); do
		kill -0 "$pid" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -9 "$pid" 2>/dev/null
}
rpc() { # INSTANCE METHOD [JSON | @FILE]
	local name=$1
	shift
	"$lab_top/tests/lib/rpc" "/run/softdpu/$LAB-$name/dpud.sock" "$@"
}
dpu() {
	local name=$1
	shift
	"$lab_build/apps/dpuctl/dpuctl" -i "$LAB-$name" "$@"
}

lab_guest() { # NAME SOCKET MAC [guest start options]
	local name=$1 socket=$2 mac=$3
	shift 3
	"$lab_top/devtools/guest/build" "$lab_image" || lab_fail "the guest image does not build"
	lab_guests+=("$name")
	"$lab_top/devtools/guest/guest" start "$name" --dir "$LAB_DIR" --image "$lab_image" --vhost "$socket" --mac "$mac" "$@"
}
on() {
	local name=$1
	shift
	"$lab_top/devtools/guest/guest" exec "$name" --dir "$LAB_DIR" --timeout "${ON_TIMEOUT:-60}" "$*"
}
# Reads JSON on standard input.
json() { /usr/bin/python3 -c "import json,sys; d=json.load(sys.stdin); print($1)"; }
