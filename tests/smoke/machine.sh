#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What a test leaves that is killed in the middle: nothing. A test with namespaces, a dpud that a supervisor restarts, a mount, memory, and
# processes with sessions of their own is killed as a time limit and a hand would do it.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin machine
cat >"$LAB_DIR/victim" <<VICTIM
#!/usr/bin/env bash
set -euo pipefail
. "$lab_top/tests/lib/machine.sh"
. "$lab_top/tests/lib/lab.sh"
lab_begin victim
for name in a b; do lab_netns \$name; done
lab_veth a up0 b up0
lab_dpud m a ${small[*]}
ip link add left0 type veth peer name left1
mount -t tmpfs none /mnt
: >/dev/shm/left
setsid sleep 1000 &
lab_background inside a setsid sleep 1000
[ "\$1" != TERM ] || trap '' TERM
echo ready >&5
sleep 1000
VICTIM
chmod +x "$LAB_DIR/victim"
mkfifo "$LAB_DIR/ready"
exec 5<>"$LAB_DIR/ready"
there_is() {
	{ cat /proc/[0-9]*/cmdline 2>/dev/null || true; } | tr '\0' ' ' | { grep -oE 'sdvicti[m]|sleep 100[0]' || true; } | sort | uniq -c
	ip -o link | cut -d' ' -f2
	find /run /dev/shm /tmp /var/lib -path '*/softdpu*'
	find /run /dev/shm -mindepth 1
	cut -d' ' -f2 /proc/self/mounts
}
gone() { there_is >"$LAB_DIR/after" && cmp -s "$LAB_DIR/before" "$LAB_DIR/after"; }
: >"$LAB_DIR/before"
: >"$LAB_DIR/after"
: >"$LAB_DIR/victim.log"
there_is >"$LAB_DIR/before"

# Process 1 of the machine, unshare in front of it, and the process group: a time limit ends that, at last with SIGKILL.
for way in first front TERM; do
	setsid "$LAB_DIR/victim" $way >"$LAB_DIR/victim.log" 2>&1 &
	front=$!
	read -r -t 60 -u 5 || lab_fail "the victim does not come so far: $(cat "$LAB_DIR/victim.log")"
	more "processes of it" "$(there_is | awk '/sdvictim/ {print $1}')" 3
	case $way in
	first) kill -KILL "$(cat /proc/$front/task/$front/children)" ;;
	front) kill -KILL $front ;;
	TERM) kill -TERM -- -$front && sleep 0.5 && kill -KILL -- -$front ;;
	esac
	wait $front 2>/dev/null && lab_fail "a victim that is killed ends well"
	for _ in $(seq 50); do gone && break; sleep 0.1; done
	gone || lab_fail "$way: something is left: $(diff "$LAB_DIR/before" "$LAB_DIR/after")"
done
echo "machine: nothing is left"
