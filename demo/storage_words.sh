# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: BSD-3-Clause
# What a shell inside the storage demonstration knows besides demo/words.sh.

# use a|b: whom dpuctl talks to.
use() {
	is_dpu "${1:-}" use || return
	export DPUCTL_INSTANCE=$LAB-$1
}
words() {
	cat <<-WORDS
		on VM COMMAND...   in a VM: $demo_guests                          on vm1 ls /mnt
		dpuctl ...         a DPU; use a, use b: which one          dpuctl disk list
		log a, log b       what a dpud has logged
		murder a           kill -9 of a dpud; it comes back by itself
		words              this list; dpuctl help says more
	WORDS
}
