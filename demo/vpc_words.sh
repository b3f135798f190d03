# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: BSD-3-Clause
# What a shell inside the demonstration of two DPUs knows besides demo/words.sh.

# box COMMAND...: runs in the container.
box() {
	[ $# -gt 0 ] || { echo "usage: box COMMAND..." >&2; return 2; }
	ip netns exec "$LAB-box" "$@"
}
# use a|b: whom dpuctl talks to.
use() {
	is_dpu "${1:-}" use || return
	export DPUCTL_INSTANCE=$LAB-$1
}
words() {
	cat <<-WORDS
		on VM COMMAND...   in a VM: $demo_guests        on blue-web ping 10.0.1.10
		box COMMAND...     in the container                        box ping 10.0.0.10
		dpuctl ...         a DPU; use a, use b: which one          dpuctl vnic list
		log a, log b       what a dpud has logged
		murder a           kill -9 of a dpud; it comes back by itself
		words              this list; dpuctl help says more
	WORDS
}
