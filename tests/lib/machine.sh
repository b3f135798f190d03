# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# A machine of its own for a test. A script that includes this first runs anew with processes, mounts and a network of its own: /run, /tmp and /dev/shm are empty, /var/lib has no
# softdpu and what changes there goes nowhere. Nothing of it meets what runs beside it, and
# nothing is left of it whatever it dies of, SIGKILL and a time limit too: the kernel ends the processes with the first of them, and files,
# mounts and interfaces with the processes.
#
#   machine_guests=1                   before it: the guest image is built while there is a network
#   . "$(dirname "$0")/../lib/machine.sh"
#
# The script is process 1 of its machine. A signal for it is one for the process group: unshare, the first of that, heeds only SIGKILL.

[ "$(id -u)" -eq 0 ] || { echo "skipped: not root" >&2; exit 77; }
[ -c /dev/net/tun ] || { echo "skipped: no /dev/net/tun" >&2; exit 77; }
machine_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
machine_build=${MESON_BUILD_ROOT:-$machine_top/build}
if [ -z "${IN_OWN_MACHINE:-}" ]; then
	[ -z "${machine_guests:-}" ] || "$machine_top/devtools/guest/build" "${GUEST_IMAGE:-$machine_top/build/guest}"
	IN_OWN_MACHINE=1 exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private "$0" "$@"
fi
unset IN_OWN_MACHINE
trap 'exit 130' INT
trap 'exit 143' TERM HUP

machine_places() {
	local place
	# The tree may be below a folder that gets empty.
	exec 8<"$machine_top" 9<"$machine_build"
	mount -t tmpfs none /tmp
	mkdir /tmp/changed /tmp/work
	mount -t overlay -o lowerdir=/var/lib,upperdir=/tmp/changed,workdir=/tmp/work none /var/lib
	rm -rf /var/lib/softdpu
	for place in /run /tmp /dev/shm; do mount -t tmpfs none $place; done
	for place in "$machine_top":8 "$machine_build":9; do
		[ "/proc/self/fd/${place##*:}" -ef "${place%:*}" ] && continue
		mkdir -p "${place%:*}"
		mount --no-canonicalize --bind "/proc/self/fd/${place##*:}" "${place%:*}"
	done
	exec 8<&- 9<&-
	ip link set lo up
}
machine_places
# A working directory that was covered is the former one.
cd "$PWD" 2>/dev/null || cd /
