# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# A laboratory for scripts that need whole DPUs: namespaces, dpud instances that a supervisor restarts, guests. Everything is named after
# the lab and undone by lab_end, also when the script fails or is interrupted.
#
#   . tests/lib/lab.sh; lab_begin NAME
#   lab_netns a                       namespace $LAB-a
#   lab_veth a up0 b up0              a wire between two namespaces
#   lab_dpud one a --workers 1        dpud instance $LAB-one in namespace a, restarted when it dies (not after lab_dpud_stop)
#   dpu one vnic list                 dpuctl of that instance;  rpc one dpu.version '{}'  without dpuctl
#   lab_guest web1 SOCKET MAC         a VM whose NIC is that vhost-user socket;  on web1 COMMAND  runs in it, one command
#                                     at a time: what is to go on beside others is put into the background there
#   lab_guest web1 '' '' --disk SOCKET   a VM with a vhost-user disk, without NIC; it has fio, nvme, mkfs.ext4 (--storage: these without disk)
#   lab_guest_wait web1               after lab_guest … --no-wait
#   inside a COMMAND                  runs in a namespace
#   lab_background COMMAND...         a process that ends with the lab; lab_last is its id
#   lab_transfer WHAT b ADDRESS lab_send a ADDRESS   a file by TCP between two namespaces
#
# What was made is written down in $LAB_DIR/made, so that another process can undo it: lab_adopt LAB DIRECTORY; lab_undo.

lab_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
lab_build=${MESON_BUILD_ROOT:-$lab_top/build}
lab_image=${GUEST_IMAGE:-$lab_top/build/guest}

lab_begin() {
	LAB=sd$1-$$
	LAB_DIR=/tmp/softdpu-$LAB
	mkdir -m 755 "$LAB_DIR"
	lab_arm
}
# From here on the lab is undone when this process ends.
lab_arm() {
	local item
	lab_pids=()
	for item in /run/dpdk /run/softdpu /var/lib/softdpu /run/netns; do [ -d $item ] || lab_made directory $item; done
	trap lab_end EXIT
	trap 'lab_interrupted=1; exit 130' INT
	trap 'exit 143' TERM HUP
}
lab_adopt() { # LAB DIRECTORY
	LAB=$1 LAB_DIR=$2
	lab_pids=()
}
lab_made() { echo "$*" >>"$LAB_DIR/made"; }
# What of a kind was made, the latest first.
lab_list() { # KIND
	[ ! -f "$LAB_DIR/made" ] || tac "$LAB_DIR/made" | sed -n "s/^$1 //p"
}

lab_end() {
	local status=$? item last=$BASH_COMMAND
	trap - EXIT
	trap '' INT TERM HUP
	set +e
	if [ -n "${lab_interrupted:-}" ]; then
		echo "interrupted" >&2
	elif [ "$status" -ne 0 ]; then
		for item in "$LAB_DIR"/*.log "$LAB_DIR"/*.console; do
			[ -s "$item" ] && { echo "--- ${item##*/}"; tail -15 "$item"; } >&2
		done
		# Once more, where it is seen.
		if [ -f "$LAB_DIR/failed" ]; then cat "$LAB_DIR/failed"; else echo "FAILED: status $status of: $last"; fi >&2
	fi
	# A machine of its own ends with this process.
	[ -n "${machine_top:-}" ] || lab_undo
	exit "$status"
}

lab_undo() {
	local item stopping=()
	for item in "${lab_pids[@]}"; do kill "$item" 2>/dev/null; done
	# Side by side: each takes a moment.
	for item in $(lab_list guest); do
		"$lab_top/devtools/guest/guest" stop "$item" --dir "$LAB_DIR" &
		stopping+=($!)
	done
	for item in $(lab_list dpud); do
		lab_dpud_stop "$item" &
		stopping+=($!)
	done
	[ ${#stopping[@]} -eq 0 ] || wait "${stopping[@]}"
	for item in $(lab_list netns); do
		ip netns pids "$LAB-$item" 2>/dev/null | xargs -r kill 2>/dev/null
		ip netns del "$LAB-$item" 2>/dev/null
	done
	rm -rf /run/softdpu/"$LAB"-* /dev/shm/softdpu-"$LAB"-* /var/lib/softdpu/"$LAB"-* /run/dpdk/softdpu-"$LAB"-* /run/dpdk/"$LAB"-*
	# Folders that were not there before, unless others use them meanwhile. "ip netns" mounts its own onto itself.
	for item in $(lab_list directory); do
		[ -z "$(ls -A "$item" 2>/dev/null)" ] || continue
		! mountpoint -q "$item" || umount "$item" 2>/dev/null
		rmdir "$item" 2>/dev/null
	done
	rm -rf "$LAB_DIR"
	return 0
}

lab_fail() {
	echo "FAILED: $*" | tee "$LAB_DIR/failed" >&2
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
lab_gone() { # PID: it has ended, perhaps not been waited for
	[ ! -e "/proc/$1/status" ] || grep -qs '^State:.[ZX]' "/proc/$1/status"
}
lab_background() {
	# A function would run in a shell between us and the program.
	[ "$1" != inside ] || set -- ip netns exec "$LAB-$2" "${@:3}"
	"$@" &
	lab_last=$!
	lab_pids+=("$lab_last")
}

lab_netns() {
	lab_made netns "$1"
	ip netns add "$LAB-$1"
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

# The supervisor has a session of its own: an interrupt at the terminal is not for it, and a lab that is kept outlives its maker.
lab_dpud() {
	local name=$1 namespace=$2
	shift 2
	lab_made dpud "$name"
	setsid "$lab_top/tests/lib/supervise" "$LAB_DIR/$name" \
		ip netns exec "$LAB-$namespace" "$lab_build/src/daemon/dpud" --instance "$LAB-$name" "$@" </dev/null >/dev/null 2>&1 &
	disown $!
	wait_until 30 "dpud $name answers" rpc "$name" dpu.version
}
lab_dpud_pid() { cat "$LAB_DIR/$1.pid"; }
lab_dpud_kill() { kill -9 "$(lab_dpud_pid "$1")"; }
lab_dpud_stop() {
	local supervisor
	supervisor=$(cat "$LAB_DIR/$1.supervisor" 2>/dev/null) || return 0
	kill "$supervisor" 2>/dev/null
	for _ in $(seq 150); do
		lab_gone "$supervisor" && return 0
		sleep 0.1
	done
	kill -9 "$supervisor" "$(lab_dpud_pid "$1")" 2>/dev/null
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
	lab_made guest "$name"
	"$lab_top/devtools/guest/guest" start "$name" --dir "$LAB_DIR" --image "$lab_image" --vhost "$socket" --mac "$mac" "$@"
}
lab_guest_wait() { # NAME [SECONDS]
	"$lab_top/devtools/guest/guest" wait "$1" --dir "$LAB_DIR" --timeout "${2:-120}"
}
on() {
	local name=$1
	shift
	"$lab_top/devtools/guest/guest" exec "$name" --dir "$LAB_DIR" --timeout "${ON_TIMEOUT:-60}" -- "$*"
}
# Listens in NAMESPACE for one TCP connection: what it sends is in $LAB_DIR/got, lab_last ends when it has ended.
lab_listen() { # NAMESPACE ADDRESS
	lab_background inside "$1" nc -d -l "$2" 5001 >"$LAB_DIR/got"
	wait_until 5 "a listener" inside "$1" sh -c "ss -ltn | grep -q :5001"
}
# COMMAND sends its standard input, $LAB_DIR/sent, to ADDRESS of NAMESPACE: it arrives as it was sent.
lab_transfer() { # WHAT NAMESPACE ADDRESS COMMAND...
	local what=$1
	lab_listen "$2" "$3"
	"${@:4}" <"$LAB_DIR/sent" || lab_fail "$what: TCP breaks off"
	wait "$lab_last"
	cmp "$LAB_DIR/sent" "$LAB_DIR/got" || lab_fail "$what: the transfer is damaged"
}
# For that: connects from NAMESPACE.
lab_send() { inside "$1" timeout 40 nc -N "$2" "${3:-5001}"; } # NAMESPACE ADDRESS [PORT]

# Two containers on TAP vNICs, web (10.0.0.5) and db (10.0.0.6), each with a representor of dpud's eswitch ovs.
lab_members() { # DPUD [FIELDS of the eswitch]
	cat >"$LAB_DIR/net.yaml" <<-YAML
		version: 1
		tenants: [{name: blue}]
		eswitches: [{name: ovs${2:+, $2}}]
		vnics:
		  - {name: web, tenant: blue, mac: "02:00:00:00:00:05", backend: tap, netns: $LAB-web}
		  - {name: db, tenant: blue, mac: "02:00:00:00:00:06", backend: tap, netns: $LAB-db}
		representors:
		  - {name: web, eswitch: ovs, vnic: blue/web}
		  - {name: db, eswitch: ovs, vnic: blue/db}
	YAML
	dpu "$1" apply -f "$LAB_DIR/net.yaml" >/dev/null
	for box in web:5 db:6; do
		wait_until 10 "eth0 of ${box%:*}" inside "${box%:*}" ip link show eth0
		inside "${box%:*}" ip address add "10.0.0.${box#*:}/24" dev eth0
		inside "${box%:*}" ip link set eth0 up
	done
}
# Reads JSON on standard input.
json() { /usr/bin/python3 -c "import json,sys; d=json.load(sys.stdin); print($1)"; }
