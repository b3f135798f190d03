#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Our initiator against Linux's nvmet-tcp in a guest: discovery, a host that is not allowed, two paths, digests, a pool; and, while data is verified,
# kill -9 of dpud, ANA states, a path that falls silent, one that is closed, a target that stands still; a namespace that grows and goes.
set -euo pipefail
# shellcheck disable=SC2034 # for machine.sh
machine_guests=1
. "$(dirname "$0")/../smoke/common.sh"
command -v qemu-system-x86_64 >/dev/null || lab_skip "no qemu-system-x86_64"
lab_begin nvmfr
nqn=nqn.2025-01.org.example:far
host=nqn.2025-01.org.example:dpu
lab_netns a
inside a ip tuntap add tap0 mode tap
for net in 10.9.0.1/24 10.9.1.1/24; do inside a ip address add $net dev tap0; done
inside a ip link set tap0 up
lab_made guest vm
"$lab_top/devtools/guest/build" "$lab_image" || lab_fail "the guest image does not build"
inside a "$lab_top/devtools/guest/guest" start vm --dir "$LAB_DIR" --image "$lab_image" --tap tap0 --storage --memory 256 --no-wait
lab_dpud m a "${small[@]}"
lab_guest_wait vm

# ---- the target: a file and a block device, the first in an ANA group of its own, over two ports
on vm "set -e
ip link set eth0 up
ip address add 10.9.0.2/24 dev eth0
ip address add 10.9.1.2/24 dev eth0
modprobe nvmet-tcp; modprobe loop
mount -t configfs none /sys/kernel/config
cd /sys/kernel/config/nvmet
truncate -s 64M /run/one; truncate -s 16M /run/two; truncate -s 64M /run/three
losetup /dev/loop0 /run/two
mkdir hosts/$host subsystems/$nqn
for n in 1:/run/one 2:/dev/loop0 3:/run/three; do
	ns=subsystems/$nqn/namespaces/\${n%:*}
	mkdir \$ns
	echo -n \${n#*:} >\$ns/device_path
	[ -b \${n#*:} ] || echo 1 >\$ns/buffered_io # its file has no direct I/O
	echo 1 >\$ns/enable
done
for port in 1:10.9.0.2 2:10.9.1.2; do
	p=ports/\${port%:*}
	mkdir \$p
	echo tcp >\$p/addr_trtype; echo ipv4 >\$p/addr_adrfam
	echo \${port#*:} >\$p/addr_traddr; echo 4420 >\$p/addr_trsvcid
	mkdir \$p/ana_groups/2
	echo optimized >\$p/ana_groups/2/ana_state
	ln -s subsystems/$nqn \$p/subsystems/
done
echo 2 >subsystems/$nqn/namespaces/1/ana_grpid" || lab_fail "nvmet does not take its configuration"
nvmet() { on vm "cd /sys/kernel/config/nvmet; $*"; }
far="addresses=10.9.0.2,10.9.1.2 nqn=$nqn host_nqn=$host keep_alive=1000 quiesce=100"

# ---- who may
# shellcheck disable=SC2086
ok ctl nvmf_remote create one $far nsid=1 queues=2
refused() { [[ $(field nvmf_remote one why) == *"this host is not allowed"* ]]; }
wait_until 10 "a refusal" refused
nvmet "ln -s hosts/$host subsystems/$nqn/allowed_hosts/"
found=$(ctl -o json nvmf_remote discover address=10.9.1.2 host_nqn=$host | json "sum(e['nqn'] == '$nqn' for e in d)")
same "what discovery knows of its port" "$found" 1
# shellcheck disable=SC2086
ok ctl nvmf_remote create two $far nsid=2 header_digest=true data_digest=true
live() { [ "$(field nvmf_remote "$1" live_paths)" = "$2" ]; }
# shellcheck disable=SC2086
ok ctl nvmf_remote create three $far nsid=3 data_digest=true
# A connection on which the target says nothing is given up after 30 s, and tried again.
wait_until 45 "two paths" live one 2
wait_until 45 "two paths with digests" live two 2
same "size" "$(field nvmf_remote one bytes)" 67108864
ok ctl tenant create blue
for name in one two; do ok ctl -t blue disk create $name remote=$name backend=vhost_user_server; done
ok ctl pool create far remotes=three
ok ctl -t blue volume create three pool=far size=32M
ok ctl -t blue disk create three volume=three
for name in one two three; do wait_until 45 "disk $name is ready" is ready field disk blue/$name state; done

# ---- verified I/O, with digests, in the capsule and by R2T
blk_load=$lab_build/tests/bench/vhost_blk_load
disk() { echo "/run/softdpu/$LAB-m/blue-$1.disk.sock"; }
verified() { # WHAT FILE
	grep -q '"errors": 0,' "$2" || lab_fail "$1: $(cat "$2")"
}
for form in "bytes=4096 depth=8" "bytes=131072 depth=4"; do
	# shellcheck disable=SC2086
	timeout -k 5 30 "$blk_load" "$(disk two)" survive kills=0 seconds=0.7 span=8388608 $form >"$LAB_DIR/load" || lab_fail "$form: lost or wrong"
	verified "$form" "$LAB_DIR/load"
done
same "wrong digests" "$(field nvmf_remote two digest_errors)" 0

# ---- dpud dies and comes back, remote, pool and volume with it: every block that was acknowledged is there
timeout -k 5 60 "$blk_load" "$(disk three)" listen survive "kill=$LAB_DIR/m.pid" kills=2 seconds=4 depth=8 bytes=8192 span=8388608 >"$LAB_DIR/load" ||
	lab_fail "kill -9: lost or wrong"
verified "kill -9" "$LAB_DIR/load"
same "kills" "$(json "d['kills']" <"$LAB_DIR/load")" 2
same "wrong digests" "$(field nvmf_remote three digest_errors)" 0
ctl pool scrub far wait=true >/dev/null
same "damaged blocks" "$(field pool far scrub_damaged)" 0
wait_until 45 "two paths after kill -9" live one 2
wait_until 10 "disk one is ready" is ready field disk blue/one state

# ---- paths come and go under it
lab_background "$blk_load" "$(disk one)" survive kills=0 seconds=60 depth=8 bytes=8192 span=16777216 >"$LAB_DIR/load"
ana() { nvmet "echo $2 >ports/$1/ana_groups/2/ana_state"; }
says() { [[ $(ctl -o json nvmf_remote show one | json "' '.join(d['paths'])") == *"$1"*"$2"* ]]; }
goes_on() { # WHAT
	local before
	before=$(field nvmf_remote one requests)
	more_requests() { [ "$(field nvmf_remote one requests)" -ge $((before + 20)) ]; }
	wait_until 20 "I/O goes on $1" more_requests
}
ana 1 inaccessible
wait_until 10 "one path is inaccessible" says inaccessible optimized
ana 2 change
wait_until 10 "the other one changes" says inaccessible change
ana 2 non-optimized
wait_until 10 "it is slow" says inaccessible non-optimized
ana 1 optimized
wait_until 10 "the first one is as before" says optimized non-optimized
on vm "ip address del 10.9.1.2/24 dev eth0"
wait_until 10 "a path that falls silent is lost" live one 1
goes_on "by the other path"
on vm "ip address add 10.9.1.2/24 dev eth0"
wait_until 45 "and comes back" live one 2
nvmet "rm ports/1/subsystems/$nqn"
wait_until 10 "a path that is closed is lost" live one 1
nvmet "ln -s subsystems/$nqn ports/1/subsystems/"
wait_until 45 "and comes back" live one 2
# It stands still with all that is under way, longer than its keep-alive.
guest_says() { "$lab_top/devtools/guest/guest" monitor vm --dir "$LAB_DIR" "$1" >/dev/null; }
guest_says stop
wait_until 10 "both paths are lost" live one 0
sleep 2
guest_says cont
wait_until 45 "and come back" live one 2
goes_on "after it stood still"
kill "$lab_last"
wait "$lab_last" || lab_fail "I/O while paths came and went"
verified "I/O while paths came and went" "$LAB_DIR/load"
more "lost paths" "$(field nvmf_remote one path_losses)" 4

# ---- a namespace grows, another one goes
nvmet "truncate -s 96M /run/one; echo 1 >subsystems/$nqn/namespaces/1/revalidate_size"
wait_until 10 "the new size" is 100663296 field nvmf_remote one bytes
wait_until 10 "the new size of the disk" is 100663296 field disk blue/one size
nvmet "echo 0 >subsystems/$nqn/namespaces/2/enable"
wait_until 10 "the second namespace is gone" is gone field nvmf_remote two state
same "state of the first" "$(field nvmf_remote one state)" ready
echo "nvmf remote: Linux's target and we agree"
