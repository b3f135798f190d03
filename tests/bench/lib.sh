# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What the benchmarks share: huge pages for the time of a run.

bench_pages=/proc/sys/vm/nr_hugepages
bench_pages_before=$(cat "$bench_pages")
bench_folder=$(mktemp -d /tmp/softdpu-bench.XXXXXX)
trap bench_end EXIT
trap 'exit 130' INT TERM HUP

bench_end() {
	[ -z "${bench_child:-}" ] || kill -KILL "$bench_child" 2>/dev/null || true
	umount "$bench_folder/huge" 2>/dev/null || true
	rm -rf --one-file-system "$bench_folder"
	[ "$(cat "$bench_pages")" = "$bench_pages_before" ] || echo "$bench_pages_before" >"$bench_pages" || true
}

# bench_huge_pages COUNT: so many pages of 2 MiB are there, and $bench_folder/huge is a hugetlbfs; false if that cannot be.
bench_huge_pages() {
	{ [ "$bench_pages_before" -ge "$1" ] || echo "$1" >"$bench_pages"; } 2>/dev/null || return 1
	[ "$(cat "$bench_pages")" -ge "$1" ] || return 1
	mkdir -p "$bench_folder/huge"
	mount -t hugetlbfs -o pagesize=2M none "$bench_folder/huge" 2>/dev/null
}

# bench_namespaces COMMAND…: in namespaces of its own, which end with it, and with the benchmark: unshare itself ignores SIGTERM.
bench_namespaces() {
	unshare --net --mount --pid --fork --kill-child --mount-proc "$@" &
	bench_child=$!
	wait "$bench_child"
}
