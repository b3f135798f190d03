# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: BSD-3-Clause
# What a shell inside the demonstration with Open vSwitch knows besides demo/words.sh; ovs-vsctl, ovs-appctl and ovs-ofctl are those of
# demo/ovs_world.sh.

# lan COMMAND...: runs on the host behind the uplink.
lan() {
	[ $# -gt 0 ] || { echo "usage: lan COMMAND..." >&2; return 2; }
	ip netns exec "$LAB-lan" "$@"
}
words() {
	cat <<-WORDS
		on VM COMMAND...   in a VM: $demo_guests                          on vm1 ping 10.0.0.2
		lan COMMAND...     on the host behind the uplink          lan ping 10.0.0.1
		dpuctl ...         the DPU                                dpuctl offload flows
		ovs-vsctl ...      the OVS that drives it; ovs-appctl ..., ovs-ofctl ...
		log dpu            what dpud has logged
		murder dpu         kill -9 of dpud; it comes back by itself
		words              this list; dpuctl help says more
	WORDS
}
