# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: BSD-3-Clause
# Who may have the machine's one place for a demonstration, and until when. Its folder holds owner (process id and start time), play (which
# demonstration it is) and, if it is kept, a file of that name.
LAB=demo
LAB_DIR=/run/softdpu-demo

dpuctl() { "$lab_build/apps/dpuctl/dpuctl" "$@"; }

demo_check_machine() { # MiB, for what
	local free
	[ "$(id -u)" = 0 ] || die "demo: needs root, for network namespaces and TAP interfaces"
	[ -c /dev/net/tun ] || die "demo: there is no /dev/net/tun, so the kernel gives no TAP interfaces"
	unshare --net true 2>/dev/null || die "demo: this system refuses network namespaces (unshare --net)"
	free=$(awk '/^MemAvailable/{print int($2 / 1024)}' /proc/meminfo)
	[ "$free" -ge "$1" ] || die "demo: needs $1 MiB of free memory for $2; there are $free MiB"
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

demo_claim() { # which demonstration
	local item
	case $(demo_state) in
	kept) die "demo: one is kept already: ./run shell enters it, ./run demo --stop ends it" ;;
	running) die "demo: one is running already, process $(cut -d' ' -f1 $LAB_DIR/owner)" ;;
	left)
		note "cleaning up after a demo that was killed"
		undo_other
		;;
	esac
	for item in /run/netns/"$LAB"-* /run/softdpu/"$LAB"-* /var/lib/softdpu/"$LAB"-* /dev/shm/softdpu-"$LAB"-*; do
		[ ! -e "$item" ] || die "demo: $item is there and is not the demo's: remove it first"
	done
	item=$(mktemp -d /run/softdpu-demo.XXXXXX)
	echo "$$ $(started $$)" >"$item/owner"
	echo "$1" >"$item/play"
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

# All VMs answer, or it is said which does not.
demo_wait_guests() { # the moment of their start, those of $demo_guests that are meant: all by default
	local vm waiting=()
	for vm in ${2:-$demo_guests}; do
		{ lab_guest_wait "$vm" 120 && note "$vm is up after $(since "$1") s"; } &
		waiting+=($!)
	done
	for vm in "${waiting[@]}"; do wait "$vm" || lab_fail "a VM does not boot"; done
}
