# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-3-Clause
# The world of the demonstration: two DPUs, two tenants with the same addresses, and their guests.
#
#        DPU a                         underlay                        DPU b
#   ┌──────────────┐            192.0.2.1 ═══ 192.0.2.2           ┌──────────────┐
#   │ blue/web     │ VM 10.0.0.10                                 │ blue/db      │ VM 10.0.1.10
#   │ blue/box     │ container 10.0.0.20 (TAP)                    └──────────────┘
#   │ red/web      │ VM 10.0.0.10, of another tenant
#   └──────────────┘
demo_guests="blue-web red-web blue-db"
demo_dpus="a b"

world_check() { demo_check_machine 1100 "three VMs and two DPUs"; }

world_start() {
	local name start
	title "Two DPUs, joined by an underlay; two tenants declared"
	"$lab_top/devtools/guest/build" "$lab_image" || lab_fail "the guest image does not build"
	for name in a b box; do lab_netns $name; done
	lab_veth a up0 b up0
	for name in a b; do
		sed "s|BOX_NETNS|$LAB-box|; s|LAB/|$LAB_DIR/|" "demo/net-$name.yaml" >"$LAB_DIR/net-$name.yaml"
		lab_dpud $name $name --workers 1 --huge-pages off
		typed "dpuctl -i $LAB-$name apply -f $LAB_DIR/net-$name.yaml | tail -1"
	done
	note "three VMs boot: Debian's kernel under QEMU without KVM, virtio-net over vhost-user"
	start=$(now)
	lab_guest blue-web "$LAB_DIR/blue-web.sock" 02:00:00:00:00:10 --no-wait
	lab_guest red-web "$LAB_DIR/red-web.sock" 02:00:00:00:00:10 --no-wait
	lab_guest blue-db "$LAB_DIR/blue-db.sock" 02:00:00:00:01:10 --no-wait
	demo_wait_guests "$start"
	show "three VMs up" "$(since "$start") s"
	world_addresses
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
