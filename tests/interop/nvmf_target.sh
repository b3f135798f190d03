#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Linux's NVMe/TCP initiator and nvme-cli in a guest against our target: discovery, two paths with and without digests, fio --verify, reset,
# namespaces that come, grow and go, reservations, the loss of a path and kill -9 of dpud during I/O; a capture that tshark reads.
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
lab_background inside a tcpdump -q -i tap0 -s 0 -c 2500 -w "$LAB_DIR/wire.pcap" port 4420
lab_guest_wait vm 120
on vm "ip address add 10.9.0.2/24 dev eth0; ip address add 10.9.1.2/24 dev eth0; ip link set eth0 up; modprobe nvme-tcp"
connect() { on vm "nvme connect -t tcp -a $1 -s 4420 -n $nqn --hostnqn=nqn.2025-01.org.example:vm --reconnect-delay=1 ${*:2}"; }
expect() { # WORDS COMMAND in the guest
	local got
	got=$(on vm "$2" 2>&1) || true
	[[ $got == *"$1"* ]] || lab_fail "the guest: '$2' printed '$got', which has no '$1'"
}
paths() { [ "$(on vm "nvme list-subsys | grep -c '$1'")" = "$2" ]; }

# ---- who may, and what there is
expect "Number of Records 3" "nvme discover -t tcp -a 10.9.0.1 -s 4420 --hostnqn=nqn.2025-01.org.example:vm" # itself twice, the referral
connect 10.9.0.1 2>/dev/null && lab_fail "a host that is not allowed connects"
dpu one -t blue nvmf_host create vm nqn=nqn.2025-01.org.example:vm
expect "Number of Records 5" "nvme discover -t tcp -a 10.9.0.1 -s 4420 --hostnqn=nqn.2025-01.org.example:vm"
connect 10.9.0.1 --hdr-digest --data-digest
connect 10.9.1.1
wait_until 10 "two paths" paths " live" 2
expect "softdpu" "nvme id-ctrl /dev/nvme0"
expect "$(dpu one -t blue -o json nvmf_namespace show one | json "d['uuid'].replace('-','')")" "nvme id-ns /dev/nvme0n1"
expect "optimized" "cat /sys/block/nvme0n1/device/nvme*/nvme*/ana_state /sys/class/nvme/nvme*/nvme*c*n*/ana_state 2>/dev/null"

# ---- data: in the capsule and by R2T, by both paths
verify() { # SIZE [OPTION...]
	on vm "fio --name=v --filename=/dev/nvme0n1 --ioengine=libaio --direct=1 --iodepth=16 --rw=randwrite --bsrange=4k-256k --size=$1 --verify=crc32c --verify_fatal=1 ${*:2} --minimal >/dev/null"
}
verify 12M
on vm "nvme reset /dev/nvme0"
wait_until 10 "two paths after a reset" paths " live" 2
on vm "for p in /sys/class/nvme-subsystem/nvme-subsys0/iopolicy; do echo round-robin >\$p; done"
verify 4M --offset=32M
on vm "blkdiscard -o 0 -l 1048576 /dev/nvme0n1 && nvme write-zeroes /dev/nvme0n1 -s 0 -c 7 && nvme flush /dev/nvme0n1 -n 1" >/dev/null
on vm "cmp -n 1048576 /dev/nvme0n1 /dev/zero"

# ---- reservations, which the file of them keeps
expect "success" "nvme resv-register /dev/nvme0n1 -n 1 --nrkey=170 --rrega=0 --cptpl=3 && nvme resv-acquire /dev/nvme0n1 -n 1 --crkey=170 --rtype=1 --racqa=0"
expect "rtype     : 1" "nvme resv-report /dev/nvme0n1 -n 1 --eds"

# ---- namespaces come, grow, go
dpu one -t blue nvmf_namespace create two subsystem=disks volume=two
wait_until 10 "the second namespace" on vm "test -b /dev/nvme0n2"
dpu one -t blue volume set two size=32M
wait_until 10 "its new size" on vm "test \$(blockdev --getsize64 /dev/nvme0n2) = 33554432"
dpu one -t blue nvmf_namespace delete two
wait_until 10 "its end" on vm "test ! -b /dev/nvme0n2"

# ---- a path goes, dpud dies: I/O goes on
on vm "fio --name=v --filename=/dev/nvme0n1 --ioengine=libaio --direct=1 --iodepth=8 --rw=randwrite --bs=16k --size=16M --verify=crc32c --verify_fatal=1 --rate_iops=300 --minimal >/run/fio.log 2>&1; echo \$? >/run/fio.status" &
fio=$!
sleep 1
dpu one nvmf_listener set left ana_state=inaccessible
sleep 1
dpu one nvmf_listener set left ana_state=optimized
dpu one nvmf_listener delete right
wait_until 10 "one path" paths " live" 1
# … and its pool's file is another's for a while: Linux is told to come again, and keeps its disk.
/usr/bin/python3 -c 'import fcntl, sys, time; f = open(sys.argv[1], "r+b"); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(3)' "$LAB_DIR/disk.img" &
sleep 0.3
lab_dpud_kill one
wait "$fio"
expect 0 "cat /run/fio.status"
wait_until 20 "the path is back" paths " live" 1
expect "rtype     : 1" "nvme resv-report /dev/nvme0n1 -n 1 --eds"
same=$(dpu one -t blue -o json nvmf_namespace show one | json "d['reservation_conflicts'] + d['errors']")
[ "$same" = 0 ] || lab_fail "$same errors in the namespace"
expect "disconnected" "nvme disconnect -n $nqn"
wait_until 10 "nobody is connected" [ "$(dpu one -t blue -o json nvmf_subsystem show disks | json "d['connections']")" = 0 ]

# ---- what was on the wire
kill "$lab_last" 2>/dev/null || true
sleep 0.3
tshark -r "$LAB_DIR/wire.pcap" -d tcp.port==4420,nvme-tcp -Y '_ws.malformed' 2>/dev/null | head -5 >"$LAB_DIR/malformed"
[ ! -s "$LAB_DIR/malformed" ] || lab_fail "tshark finds malformed PDUs: $(cat "$LAB_DIR/malformed")"
[ "$(tshark -r "$LAB_DIR/wire.pcap" -c 3000 -d tcp.port==4420,nvme-tcp -Y nvme-tcp 2>/dev/null | wc -l)" -gt 20 ] || lab_fail "tshark sees no NVMe/TCP"
echo "nvmf target: Linux and we agree"
