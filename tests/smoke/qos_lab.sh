# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # for those who source this
# What the tests of quality of service share: a dpud with volumes a and b of one tenant, c of another, a disk on each, a namespace on a; loads on them.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

qos_begin() { # NAME
	lab_begin "$1"
	lab_netns m
	lab_dpud m m "${small[@]}" --workers 1
	cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}, {name: red}]
media: [{name: memory, kind: ram, size: 96M}]
pools: [{name: p, media: [memory]}]
volumes: [{name: a, tenant: blue, pool: p, size: 8M}, {name: b, tenant: blue, pool: p, size: 8M}, {name: c, tenant: red, pool: p, size: 8M}]
disks:
  - {name: a, tenant: blue, volume: a, backend: vhost_user_server, socket: $LAB_DIR/a.sock}
  - {name: b, tenant: blue, volume: b, backend: vhost_user_server, socket: $LAB_DIR/b.sock}
  - {name: c, tenant: red, volume: c, backend: vhost_user_server, socket: $LAB_DIR/c.sock}
nvmf_listeners: [{name: l, address: 127.0.0.1}]
nvmf_subsystems: [{name: s, tenant: blue, nqn: "$nqn", allow_any_host: true}]
nvmf_namespaces: [{name: a, tenant: blue, subsystem: s, volume: a}]
YAML
	ctl apply "$LAB_DIR/net.yaml" >/dev/null
	for disk in blue/a blue/b red/c; do wait_until 10 "disk $disk" is ready field disk $disk state; done
	wait_until 10 "the namespace" is ready field nvmf_namespace blue/a state
}
nqn=nqn.2025-01.org.example:qos

loads=()
disk_load() { # DISK WORDS...: at full depth, until the lab or stop_loads ends it
	lab_background timeout -k 5 60 "$lab_build/tests/bench/vhost_blk_load" "$LAB_DIR/$1.sock" seconds=50 warm_up=0 "${@:2}" >/dev/null
	loads+=("$lab_last")
}
nvmf_load() { # WORDS...
	lab_background inside m timeout -k 5 60 "$lab_build/tests/bench/nvmf_load" read 127.0.0.1 4420 $nqn queues=2 seconds=50 "$@" >/dev/null
	loads+=("$lab_last")
}
stop_loads() {
	local load
	for load in "${loads[@]}"; do
		kill "$load" 2>/dev/null || true
		wait "$load" 2>/dev/null || true
	done
	loads=()
}
now_ms() { echo $(($(date +%s%N) / 1000000)); }
waiting() { ctl -o json volume why "$1" | json "next(int(r['what'].split(' ')[0]) for r in d if ' requests wait for their turn' in r['what'])"; } # VOLUME
promised() { ctl -o json volume why "$1" | json "next(int(w) for r in d for w in [r['what'].split(' by a guarantee')[0].split(' ')[-1]] if 'by a guarantee' in r['what'])"; }
# passes COUNT SECONDS BURST_MS CAP ONE OBJECT...: what COUNT counts of the objects in so long is the cap's, and not more than that, what may be saved up, and ONE.
# It is at least so much of the cap: who waits for a core does not ask for all of it.
least_percent=50
passes() {
	local count=$1 seconds=$2 burst=$3 cap=$4 one=$5 before began passed earliest latest
	shift 5
	began=$(now_ms)
	before=$($count "$@")
	earliest=$(now_ms)
	sleep "$seconds"
	latest=$(now_ms)
	passed=$(($($count "$@") - before))
	# Counters are up to 50 ms old, and read one after the other.
	local most=$((cap * ($(now_ms) - began + burst + 100) / 1000 + 2 * one)) least=$((cap * (latest - earliest - 100) * least_percent / 100000))
	[ "$passed" -le $most ] || lab_fail "$passed $count passed, and $most may have ($*)"
	[ "$passed" -ge $least ] || lab_fail "$passed $count passed, and $least must have ($*)"
	echo "qos: $cap $count/s: $passed in $((latest - earliest)) to $(($(now_ms) - began)) ms ($*)"
}
# The sums of these over OBJECT...: CLASS/TENANT/NAME.
reads() {
	local sum=0 object
	for object in "$@"; do sum=$((sum + $(field "${object%%/*}" "${object#*/}" reads))); done
	echo $sum
}
bytes() {
	local sum=0 object
	for object in "$@"; do sum=$((sum + $(ctl -o json "${object%%/*}" show "${object#*/}" | json "d['read_bytes'] + d.get('write_bytes', d.get('written_bytes'))"))); done
	echo $sum
}
exceeds() { [ "$($1 "$2")" -gt "$3" ]; } # COUNT OBJECT THAN
