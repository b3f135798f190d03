#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Linux's NVMe/TCP initiator and nvme-cli in a guest against our target: every command that nvme-cli has, discovery and a log of it that changes, two paths with and without
# digests, fio --verify, namespaces that come, grow, fail and go, reservations; during I/O a reset, a cut wire, the loss of a path and kill -9 of
# dpud; a damaged block; a capture that tshark reads.
set -euo pipefail
# shellcheck disable=SC2034 # for machine.sh
machine_guests=1
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
lab_begin nvmft
nqn=nqn.2025-01.org.example:disks
lab_netns a
inside a ip link set lo up
inside a ip tuntap add tap0 mode tap
for net in 10.9.0.1/24 10.9.1.1/24; do inside a ip address add $net dev tap0; done
inside a ip link set tap0 up
lab_made guest vm
"$lab_top/devtools/guest/build" "$lab_image" || lab_fail "the guest image does not build"
inside a "$lab_top/devtools/guest/guest" start vm --dir "$LAB_DIR" --image "$lab_image" --tap tap0 --storage --memory 256 --no-wait
lab_dpud one a --workers 2 --huge-pages off
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
media: [{name: disk, kind: file, path: $LAB_DIR/disk.img, size: 300M, cached: true}]
pools: [{name: pool, media: [disk]}]
volumes: [{name: one, tenant: blue, pool: pool, size: 64M}, {name: two, tenant: blue, pool: pool, size: 16M}]
nvmf_listeners: [{name: left, address: 10.9.0.1}, {name: right, address: 10.9.1.1, ana_state: non-optimized}]
nvmf_referrals: [{name: other, address: 10.9.0.7}]
nvmf_subsystems: [{name: disks, tenant: blue, nqn: "$nqn"}]
nvmf_namespaces: [{name: one, tenant: blue, subsystem: disks, volume: one}]
YAML
dpu one apply "$LAB_DIR/net.yaml" >/dev/null
# Whole frames: where one was cut, the next PDU could not be found.
lab_background inside a tcpdump -q -i tap0 -s 0 -c 3500 -w "$LAB_DIR/wire.pcap" port 4420
lab_guest_wait vm 120
on vm "ip address add 10.9.0.2/24 dev eth0; ip address add 10.9.1.2/24 dev eth0; ip link set eth0 up; modprobe nvme-tcp"
connect() { on vm "nvme connect -t tcp -a $1 -s 4420 -n $nqn --hostnqn=nqn.2025-01.org.example:vm --reconnect-delay=1 --keep-alive-tmo=3 ${*:2}"; }
expect() { # WORDS COMMAND in the guest
	local got
	got=$(on vm "$2" 2>&1) || true
	[[ $got == *"$1"* ]] || lab_fail "the guest: '$2' printed '$got', which has no '$1'"
}
field() { dpu one -t blue -o json "$1" show "$2" | json "d['$3']"; }
is() { # VALUE COMMAND...: for wait_until
	local value=$1
	shift
	[ "$("$@")" = "$value" ]
}
paths() { [ "$(on vm "cat /sys/class/nvme/nvme*/state | grep -c $1")" = "$2" ]; } # STATE COUNT

# ---- who may, and what there is
expect "Number of Records 3" "nvme discover -t tcp -a 10.9.0.1 -s 4420 --hostnqn=nqn.2025-01.org.example:vm" # itself twice, the referral
connect 10.9.0.1 2>/dev/null && lab_fail "a host that is not allowed connects"
dpu one -t blue nvmf_host create vm nqn=nqn.2025-01.org.example:vm
expect "Number of Records 5" "nvme discover -t tcp -a 10.9.0.1 -s 4420 --hostnqn=nqn.2025-01.org.example:vm"
connect 10.9.0.1 --hdr-digest --data-digest
connect 10.9.1.1
wait_until 10 "two paths" paths live 2
expect "softdpu" "nvme id-ctrl /dev/nvme0"
expect "$(dpu one -t blue -o json nvmf_namespace show one | json "d['uuid'].replace('-','')")" "nvme id-ns /dev/nvme0n1"
expect "optimized" "cat /sys/block/nvme0n1/device/nvme*/nvme*/ana_state /sys/class/nvme/nvme*/nvme*c*n*/ana_state 2>/dev/null"

# ---- all that nvme-cli has commands for
cli=$(ON_TIMEOUT=240 on vm "$(cat "$lab_top/tests/interop/nvme_cli.sh")") || lab_fail "nvme-cli: $cli"
[ -z "$cli" ] || lab_fail "nvme-cli: $cli"

# ---- what is served changes: a discovery controller that stays connected says so, and Linux hands that on
discovery=$(on vm "nvme discover -t tcp -a 10.9.0.1 -s 4420 --hostnqn=nqn.2025-01.org.example:vm --persistent >/dev/null; setsid uevent sh -c 'echo \"\$NVME_AEN\" >>/run/events' >/dev/null 2>&1 &
	sleep 0.5; ls /sys/class/nvme | tail -n 1")
dpu one nvmf_referral create another address=10.9.0.8
wait_until 10 "Linux hears of the change" on vm "grep -q 0x70f002 /run/events"
expect "Number of Records 6" "nvme discover --device=$discovery"
expect "10.9.0.8" "nvme discover --device=$discovery"
on vm "nvme disconnect --device=$discovery" >/dev/null

# ---- data: in the capsule and by R2T, by both paths
verify() { # SIZE [OPTION...]
	on vm "fio --name=v --filename=/dev/nvme0n1 --ioengine=libaio --direct=1 --iodepth=16 --rw=randwrite --bsrange=4k-256k --size=$1 --verify=crc32c --verify_fatal=1 ${*:2} --minimal >/dev/null"
}
verify 8M
on vm "for p in /sys/class/nvme-subsystem/nvme-subsys0/iopolicy; do echo round-robin >\$p; done"
verify 4M --offset=32M
on vm "blkdiscard -o 0 -l 1048576 /dev/nvme0n1 && dd if=/dev/urandom of=/dev/nvme0n1 bs=4k count=1 oflag=direct 2>/dev/null && nvme write-zeroes /dev/nvme0n1 -s 0 -c 7 && nvme flush /dev/nvme0n1 -n 1" >/dev/null
on vm "cmp -n 1048576 /dev/nvme0n1 /dev/zero"

# ---- reservations, which a file for each namespace keeps
reserve() { # NAMESPACE
	expect "success" "nvme resv-register /dev/nvme0n$1 -n $1 --nrkey=170 --rrega=0 --cptpl=3 && nvme resv-acquire /dev/nvme0n$1 -n $1 --crkey=170 --rtype=1 --racqa=0"
	expect "rtype     : 1" "nvme resv-report /dev/nvme0n$1 -n $1 --eds"
}
reserve 1

# ---- namespaces come, grow, go
second() { # whether the guest has it
	wait_until 10 "the second namespace: $1" on vm "test $1 /dev/nvme0n2"
}
dpu one -t blue nvmf_namespace create two subsystem=disks volume=two
second -b
dpu one -t blue volume set two size=32M
wait_until 10 "its new size" on vm "test \$(blockdev --getsize64 /dev/nvme0n2) = 33554432"
dpu one -t blue nvmf_namespace delete two
second "! -b"
dpu one -t blue nvmf_namespace create two subsystem=disks volume=two nsid=2
second -b
reserve 2

# ---- I/O goes on, whatever becomes of controllers, paths and dpud: all that was written is read again and compared
# Again and again 2 MiB, with other data each time.
begin_io() {
	on vm "rm -f /run/stop /run/fio.status; { (until [ -e /run/stop ]; do
		fio --name=v --filename=/dev/nvme0n1 --ioengine=libaio --direct=1 --iodepth=8 --rw=randwrite --bs=16k --size=2M --rate_iops=64 --randrepeat=0 --verify=crc32c --verify_fatal=1 --minimal || exit
	done); echo \$? >/run/fio.status; } >/run/fio.log 2>&1 &"
	sleep 1
}
end_io() {
	on vm "touch /run/stop"
	wait_until 60 "the end of fio" on vm "test -s /run/fio.status"
	[ "$(on vm "cat /run/fio.status")" = 0 ] || lab_fail "fio: $(on vm "cat /run/fio.log; dmesg | tail -5")"
}
begin_io
on vm "nvme reset /dev/nvme0"
sleep 0.5
on vm "nvme reset /dev/nvme1"
# What is sent is lost, and nobody is told: both ends find out by their keep-alive.
inside a ip link set tap0 down
wait_until 30 "dpud finds that the host is silent" is 2 field nvmf_subsystem disks keep_alive_expired
wait_until 30 "Linux finds that dpud is silent" paths connecting 2
inside a ip link set tap0 up
end_io
wait_until 45 "two paths after a cut wire" paths live 2
begin_io
# dpud dies. Its successor finds that the second namespace's file of reservations is damaged, and keeps that one namespace to itself;
# its pool's file is another's for a while: Linux is told to come again, and keeps its disk.
truncate -s -1 "/var/lib/softdpu/$LAB-one/nvmf-reservations/$(field nvmf_namespace two uuid)"
/usr/bin/python3 -c 'import fcntl, sys, time; f = open(sys.argv[1], "r+b"); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(3)' "$LAB_DIR/disk.img" &
sleep 0.3
lab_dpud_kill one
wait_until 45 "both paths are back" paths live 2
# Paths come and go.
dpu one nvmf_listener set left ana_state=inaccessible
sleep 1
dpu one nvmf_listener set left ana_state=optimized
dpu one nvmf_listener delete right
wait_until 10 "one path" paths live 1
end_io
[ "$(field nvmf_namespace one writes)" -gt 10 ] || lab_fail "nothing was written after dpud was killed"
expect "rtype     : 1" "nvme resv-report /dev/nvme0n1 -n 1 --eds"
on vm "nvme disconnect -d nvme1" >/dev/null # by which Linux would still hope for it
second "! -b"
[ "$(field nvmf_namespace two state)" = failed ] || lab_fail "the second namespace is $(field nvmf_namespace two state)"
[ "$(field nvmf_namespace one reservation_conflicts) $(field nvmf_namespace one errors)" = "0 0" ] || lab_fail "errors in the namespace"
dpu one -t blue nvmf_namespace delete two
dpu one -t blue nvmf_namespace create two subsystem=disks volume=two
second -b

# ---- a block that is damaged on the medium: an error of the medium for Linux, of that block alone, until it is written again
place=$(dpu one -t blue -o json volume why one offset=40960 | json "[int(r['what'].split()[-1]) for r in d if r['what'].startswith('at byte')][0]")
/usr/bin/python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(int(sys.argv[2])); byte = f.read(1)[0]; f.seek(-1, 1); f.write(bytes([byte ^ 1]))' "$LAB_DIR/disk.img" "$place"
damaged=$(on vm "for i in \$(seq 8 12); do dd if=/dev/nvme0n1 of=/dev/null bs=4k skip=\$i count=1 iflag=direct 2>/dev/null || echo \$i; done")
[ "$damaged" = 10 ] || lab_fail "damaged blocks: $damaged"
expect "critical medium error, dev nvme0c" "dmesg"
expect "sector 80 " "dmesg | grep 'critical medium error'"
[ "$(field nvmf_namespace one errors)" -ge 1 ] || lab_fail "the namespace has counted no error"
on vm "dd if=/dev/zero of=/dev/nvme0n1 bs=4k seek=10 count=1 oflag=direct && dd if=/dev/nvme0n1 of=/dev/null bs=64k count=1 iflag=direct" 2>/dev/null || lab_fail "the block cannot be written again"
expect "disconnected" "nvme disconnect -n $nqn"
wait_until 10 "nobody is connected" is 0 field nvmf_subsystem disks connections

# ---- what was on the wire
kill "$lab_last" 2>/dev/null || true
sleep 0.3
# It has bugs of its own with some answers to features, and says so.
tshark -r "$LAB_DIR/wire.pcap" -d tcp.port==4420,nvme-tcp -Y '_ws.malformed' 2>/dev/null | { grep -v 'Dissector bug' || true; } | head -5 >"$LAB_DIR/malformed"
[ ! -s "$LAB_DIR/malformed" ] || lab_fail "tshark finds malformed PDUs: $(cat "$LAB_DIR/malformed")"
[ "$(tshark -r "$LAB_DIR/wire.pcap" -c 3000 -d tcp.port==4420,nvme-tcp -Y nvme-tcp 2>/dev/null | wc -l)" -gt 20 ] || lab_fail "tshark sees no NVMe/TCP"
echo "nvmf target: Linux and we agree"
