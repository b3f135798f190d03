# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What the commands of ./run share. Sourced with the repository's root as working directory ($top).

top=${top:-$(pwd)}

say() { printf '%s\n' "$*" >&2; }
die() {
	say "run: $*"
	exit 1
}

need_root() { # COMMAND
	[ "$(id -u)" = 0 ] || die "$1: needs root, for network namespaces and TAP interfaces: sudo ./run $1"
}

# Packages of one group of devtools/packages.txt.
packages_of() {
	sed -n "s/^$1: //p" "$top/devtools/packages.txt"
}

# Install what is missing of the named groups.
need_packages() {
	local group name missing=()
	for group in "$@"; do
		for name in $(packages_of "$group"); do
			dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
		done
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || die "these packages are missing, and only root can install them: ${missing[*]}"
	say "run: installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	# Another apt, an automatic update perhaps, is waited for.
	apt-get -qq update || die "apt-get update failed: is a Debian mirror configured and reachable?"
	apt-get -qq install -y --no-install-recommends -o DPkg::Lock::Timeout=600 "${missing[@]}" >"$top/.apt.log" 2>&1 ||
		{ tail -20 "$top/.apt.log" >&2; die "apt-get could not install ${missing[*]}"; }
	rm -f "$top/.apt.log"
}

# build_into DIR [meson options]: configure once, then compile.
build_into() {
	configure_into "$@"
	compile_into "$1"
}
configure_into() {
	local dir=$1
	shift
	if [ ! -f "$dir/build.ninja" ]; then
		meson setup "$dir" "$@" >"$dir.log" 2>&1 || { tail -30 "$dir.log" >&2; die "meson setup failed"; }
		rm -f "$dir.log"
	fi
}
compile_into() { # DIR [targets]
	local dir=$1
	shift
	ninja -C "$dir" "$@" >"$dir/compile.log" 2>&1 || { grep -A12 -E 'FAILED|error' "$dir/compile.log" | head -60 >&2; die "the build failed: see $dir/compile.log"; }
}

# Makes a folder the root of this process and of what it starts, in a mount namespace of its own. Unlike after chroot, "/" is a mount
# point there, which unshare, ip netns and mount propagation need.
enter_root() { # FOLDER, a mount point
	cd "$1" || exit
	mkdir -p .outside
	pivot_root . .outside
	umount -l /.outside
	cd / || exit
	export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
	hash -r
}

# Shows the header comment of a command file, without the licence line.
show_help() {
	sed -n '3,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$1"
}
