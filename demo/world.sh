# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: BSD-3-Clause
# The world of the demonstration: who may have it, two DPUs, two tenants with the same addresses, and their guests.
#
#        DPU a                         underlay                        DPU b
#   ┌──────────────┐            192.0.2.1 ═══ 192.0.2.2           ┌──────────────┐
#   │ blue/web     │ VM 10.0.0.10                                 │ blue/db      │ VM 10.0.1.10
#   │ blue/box     │ container 10.0.0.20 (TAP)                    └──────────────┘
#   │ red/web      │ VM 10.0.0.10, of another tenant
#   └──────────────┘
#
# There is one on a machine at a time. Its folder holds owner (process id and start time) and, if it is kept, a file of that name.
LAB=demo
LAB_DIR=/run/softdpu-demo
demo_guests="blue-web red-web blue-db"

dpuctl() { "$lab_build/apps/dpuctl/dpuctl" "$@"; }

demo_check_machine() {
	local free
	[ "$(id -u)" = 0 ] || die "demo: needs root, for network namespaces and TAP interfaces"
	[ -c /dev/net/tun ] || die "demo: there is no /dev/net/tun, so the kernel gives no TAP interfaces"
	unshare --net true 2>/dev/null || die "demo: this system refuses network namespaces (unshare --net)"
	free=$(awk '/^MemAvailable/{print int($2 / 1024)}' /proc/meminfo)
	[ "$free" -ge 1100 ] || die "demo: needs 1100 MiB of free memory for three VMs and two DPUs; there are $free MiB"
}

started() { awk '{sub(/.*\) /, ""); print $20}' "/proc/$1/stat" 2>/dev/null; }

# kept, running, left (its maker was killed) or none
demo_state() {
	local pid start
	[ -d $LAB_DIR ] || { echo none; return; }
	[ ! -f $LAB_DIR/kept ] || { echo kept; return; }
	read -r pid start <$LAB_DIR/owner && [ "$(started "$pid")" = "$start" ] && { echo running; return; }
	echo left
}

demo_claim() {
	local item
	case $(demo_state) in
	kept) die "demo: one is kept already: ./run shell enters it, ./run demo --stop ends it" ;;
	running) die "demo: one is running already, process $(cut -d' ' -f1 $LAB_DIR/owner)" ;;
	left)
		note "cleaning up after a demo that was killed"
		undo_other
		;;
	esac
	for item in /run/netns/$LAB-{a,b,box} /run/softdpu/$LAB-{a,b} /var/lib/softdpu/$LAB-{a,b}; do
		[ ! -e "$item" ] || die "demo: $item is there and is not the demo's: remove it first"
	done
	item=$(mktemp -d /run/softdpu-demo.XXXXXX)
	echo "$$ $(started $$)" >"$item/owner"
	chmod 755 "$item"
	mv -T "$item" $LAB_DIR 2>/dev/null || { rm -rf "$item"; die "demo: one is running already"; }
	lab_arm
}

demo_keep() {
	touch $LAB_DIR/kept
	trap - EXIT INT TERM HUP
}

demo_stop() {
	case $(demo_state) in
	none) die "demo: there is none" ;;
	running) die "demo: one is running, process $(cut -d' ' -f1 $LAB_DIR/owner): interrupt that" ;;
	esac
	[ "$(id -u)" = 0 ] || die "demo: only root can stop it"
	undo_other
	echo "demo: stopped; nothing is left of it"
}
# Wholly: half of it undone would be in the way of the next.
undo_other() {
	trap '' INT TERM HUP
	lab_adopt $LAB $LAB_DIR
	lab_undo || true
	trap - INT TERM HUP
}

world_start() {
	local name vm start waiting
	title "Two DPUs, joined by an underlay; two tenants declared"
	"$lab_top/devtools/guest/build" "$lab_image" || lab_fail "the guest image does not build"
	for name in a b box; do lab_netns $name; done
	lab_veth a up0 b up0
	for name in a b; do
		sed "s|BOX_NETNS|$LAB-box|; s|LAB/|$LAB_DIR/|" "demo/net-$name.yaml" >"$LAB_DIR/net-$name.yaml"
		lab_dpud $name $name --workers 1
		typed "dpuctl -i $LAB-$name apply -f $LAB_DIR/net-$name.yaml | tail -1"
	done
	note "three VMs boot: Debian's kernel under QEMU without KVM, virtio-net over vhost-user"
	start=$(now)
	lab_guest blue-web "$LAB_DIR/blue-web.sock" 02:00:00:00:00:10 --no-wait
	lab_guest red-web "$LAB_DIR/red-web.sock" 02:00:00:00:00:10 --no-wait
	lab_guest blue-db "$LAB_DIR/blue-db.sock" 02:00:00:00:01:10 --no-wait
	waiting=()
	for vm in $demo_guests; do
		{ lab_guest_wait "$vm" 120 && note "$vm is up after $(since "$start") s"; } &
		waiting+=($!)
	done
	for vm in "${waiting[@]}"; do wait "$vm" || lab_fail "a VM does not boot"; done
	show "three VMs up" "$(since "$start") s"
}

# The container's addresses are set by who makes it; VMs ask the DPU for theirs.
world_addresses() {
	local vm waiting=()
	inside box ip address add 10.0.0.20/24 dev eth0
	inside box ip route add default via 10.0.0.1
	inside box ip -6 address add fd00:b::20/64 dev eth0 nodad
	for vm in $demo_guests; do
		on "$vm" "ip link set eth0 up; dhclient -4 -1 -q -sf /etc/dhclient-script eth0" >/dev/null &
		waiting+=($!)
	done
	for vm in "${waiting[@]}"; do wait "$vm" || lab_fail "a VM has got no lease"; done
	# DHCPv6 is sent from the link-local address, once duplicate address detection has passed.
	waiting=()
	for vm in blue-web blue-db; do
		on "$vm" "until ip -6 address show dev eth0 scope link | grep inet6 | grep -qv tentative; do usleep 100000; done
			dhclient -6 -1 -v -sf /etc/dhclient-script eth0" >"$LAB_DIR/$vm-dhclient6.log" &
		waiting+=($!)
	done
	for vm in "${waiting[@]}"; do wait "$vm" || lab_fail "a VM has got no IPv6 lease"; done
}
