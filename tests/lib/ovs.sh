# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Open vSwitches of a lab's own, each with its database, its logs and its sockets in $LAB_DIR/NAME. Include it after lab.sh.
#
#   ovs_needs                           or the test fails
#   ovs_new one a [KEY=VALUE...]        a database; one's ovs-vswitchd will run in namespace $LAB-a; other_config, without it
#                                       offload is on and DPDK has ${ovs_memory:-512} MiB without huge pages; dpdk-init=false is an OVS without DPDK
#   ovs_start one; ovs_kill one         ovs-vswitchd: starts, also once more; is killed as it stands (ovs_stop: is asked to end)
#   ovs_bridge one br0
#   ovs_port one br0 web m [OPTION...]  dpud m's representor web as the bridge's port web, with more options or columns of the interface
#   vsctl one ...; appctl one ...       ovs-vsctl, ovs-appctl
#   ofctl one add-flow br0 ...          ovs-ofctl, whose second word is the bridge
#   ovs_offloaded one                   how many flows are wholly offloaded
#   ovs_pid one
#   ovs_alone m 4 "ping" COMMAND...     COMMAND, whose frames stay in dpud m but for 4

ovs_vswitchd=/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk
ovs_driver=$lab_build/apps/net_softdpu

ovs_needs() {
	[ -x $ovs_vswitchd ] || lab_fail "no OVS with DPDK: install openvswitch-switch-dpdk (./run test does)"
	[ -e "$ovs_driver/librte_net_softdpu.so" ] || lab_skip "librte_net_softdpu.so is not built, see build/meson-logs/meson-log.txt: devtools/dpdk_driver_headers could not fetch DPDK's source package"
}

ovs_new() { # NAME NAMESPACE [KEY=VALUE...]
	local name=$1 namespace=$2 home=$LAB_DIR/$1
	shift 2
	mkdir "$home"
	echo "$namespace" >"$home/namespace"
	ovsdb-tool create "$home/conf.db" /usr/share/openvswitch/vswitch.ovsschema
	ovs_background "$name" ovsdb-server "$home/conf.db" --remote="punix:$home/db.sock" --pidfile="$home/ovsdb-server.pid" --log-file="$LAB_DIR/$name-db.log"
	wait_until 10 "ovsdb-server of $name" test -S "$home/db.sock"
	vsctl "$name" --no-wait init
	vsctl "$name" --no-wait set Open_vSwitch . other_config:dpdk-init=true other_config:hw-offload=true other_config:per-port-memory=true \
		other_config:pmd-maxsleep=500 \
		other_config:dpdk-extra="--no-huge --legacy-mem -m ${ovs_memory:-512} --no-pci --no-telemetry --file-prefix $LAB-$name -d librte_net_softdpu.so" \
		"${@/#/other_config:}"
}
# From its folder: a driver is found by name only from a folder that is not the library's.
ovs_background() { # NAME PROGRAM...
	local name=$1 home=$LAB_DIR/$1
	shift
	lab_background inside "$(cat "$home/namespace")" env -C "$home" OVS_RUNDIR="$home" OVS_LOGDIR="$home" OVS_DBDIR="$home" \
		LD_LIBRARY_PATH="$ovs_driver" "$@" </dev/null >/dev/null 2>&1
}

ovs_start() { # NAME
	local home=$LAB_DIR/$1
	rm -f "$home"/ovs-vswitchd*.ctl
	ovs_background "$1" $ovs_vswitchd "unix:$home/db.sock" --pidfile="$home/ovs-vswitchd.pid" --log-file="$LAB_DIR/$1.log"
	echo "$lab_last" >"$home/vswitchd"
	wait_until 20 "ovs-vswitchd of $1" appctl "$1" version
}
ovs_pid() { cat "$LAB_DIR/$1/vswitchd"; }
ovs_kill() {
	local pid
	pid=$(ovs_pid "$1")
	kill -9 "$pid"
	wait_until 20 "the death of ovs-vswitchd of $1" ovs_gone "$pid"
}
# All of its threads: the last holds the lock on the pid file.
ovs_gone() { [ ! -d "/proc/$1" ] || { lab_gone "$1" && [ "$(find "/proc/$1/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" -le 1 ]; }; }
ovs_stop() {
	local pid
	pid=$(ovs_pid "$1")
	appctl "$1" exit
	wait_until 20 "the end of ovs-vswitchd of $1" ovs_gone "$pid"
}

vsctl() { # NAME ...
	local name=$1
	shift
	command ovs-vsctl --timeout=20 --db="unix:$LAB_DIR/$name/db.sock" "$@"
}
appctl() { # NAME ...
	local name=$1
	shift
	command ovs-appctl --timeout=20 -t "$(echo "$LAB_DIR/$name"/ovs-vswitchd*.ctl)" "$@"
}
ofctl() { # NAME COMMAND BRIDGE ...
	local name=$1 command=$2 bridge=$3
	shift 3
	command ovs-ofctl --timeout=20 "$command" "unix:$LAB_DIR/$name/$bridge.mgmt" "$@"
}

ovs_bridge() { vsctl "$1" add-br "$2" -- set bridge "$2" datapath_type=netdev; }
ovs_port() { # NAME BRIDGE PORT INSTANCE [OPTION...]
	local name=$1 bridge=$2 port=$3 instance=$4 error
	shift 4
	vsctl "$name" add-port "$bridge" "$port" -- set interface "$port" type=dpdk \
		"options:dpdk-devargs=net_softdpu_$port,socket=/run/softdpu/$LAB-$instance/eswitch.sock,port=$port" "$@"
	error=$(vsctl "$name" get interface "$port" error)
	[ "$error" = "[]" ] || lab_fail "OVS cannot use $port: $error"
}
ovs_offloaded() { appctl "$1" dpctl/dump-flows -m type=offloaded | grep -c 'offloaded:yes.*dp:dpdk\|dp:dpdk.*offloaded:yes'; }

# How many frames of dpud m have gone up to its OVS.
ovs_upcalls() { dpu "$1" -o json offload stats | json "d['upcalls']"; }
# COMMAND sends frames of a few flows: once OVS has offloaded them, which takes it a moment, nearly all stay below.
ovs_alone() { # DPUD LIMIT WHAT COMMAND...
	local dpud=$1 limit=$2 what=$3 before after
	shift 3
	for _ in 1 2 3 4; do
		before=$(ovs_upcalls "$dpud")
		"$@" >/dev/null || lab_fail "$what does not work when offloaded"
		after=$(ovs_upcalls "$dpud")
		[ $((after - before)) -gt "$limit" ] || return 0
	done
	lab_fail "$what: $((after - before)) frames have gone up: $(appctl ovs dpctl/dump-flows -m)"
}
