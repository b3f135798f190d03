#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A Linux guest on disks of dpud: file system and fio --verify over several queues while dpud is killed with -9 again and again; read-only,
# resize while attached, discard, a full pool. DISK_KILLS=N and DISK_PACKED=--packed: by hand, longer, and with QEMU's packed rings;
# DISK_QEMU=PATH: another QEMU.
set -euo pipefail
# shellcheck disable=SC2034 # for machine.sh
machine_guests=1
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
command -v qemu-system-x86_64 >/dev/null || lab_skip "no qemu-system-x86_64"
lab_begin diskg
lab_netns m
lab_dpud m m --huge-pages off --memory 64
kills=${DISK_KILLS:-4}

field() { dpu m -o json "$1" show "$2" | json "d['$3']"; }
is() {
	local wanted=$1
	shift
	[ "$("$@")" = "$wanted" ]
}

cat >"$LAB_DIR/disks.yaml" <<-YAML
	version: 1
	tenants: [{name: blue}]
	media:
	  - {name: large, path: /dev/shm/softdpu-$LAB-large, size: 402653184, cached: true}
	  - {name: small, path: /dev/shm/softdpu-$LAB-small, size: 67108864, cached: true}
	pools: [{name: large, media: [large]}, {name: small, media: [small]}]
	volumes:
	  - {name: data, tenant: blue, pool: large, size: 134217728}
	  - {name: thin, tenant: blue, pool: small, size: 268435456}
	snapshots: [{name: empty, tenant: blue, volume: data}]
	disks:
	  - {name: data, tenant: blue, volume: data, socket: $LAB_DIR/data.sock, queues: 2, serial: SOFTDPU-1}
	  - {name: old, tenant: blue, snapshot: empty, socket: $LAB_DIR/old.sock, queues: 1}
	  - {name: thin, tenant: blue, volume: thin, socket: $LAB_DIR/thin.sock, queues: 1}
YAML
dpu m apply -f "$LAB_DIR/disks.yaml" >/dev/null
read -ra more <<<"${DISK_PACKED:-} ${DISK_QEMU:+--qemu $DISK_QEMU}"
lab_guest vm '' '' --memory 256 --cpus 2 "${more[@]}" \
	--disk "$LAB_DIR/data.sock,num-queues=2" --disk "$LAB_DIR/old.sock,num-queues=1" --disk "$LAB_DIR/thin.sock,num-queues=1"

# What the guest sees
seen=$(on vm "cat /sys/block/vda/serial; echo; cat /sys/block/vda/size /sys/block/vda/ro /sys/block/vdb/ro; ls /sys/block/vda/mq | wc -l; cat /sys/block/vda/queue/write_cache" | tr '\n' ' ')
[ "$seen" = "SOFTDPU-1 262144 0 1 2 write back " ] || lab_fail "the guest sees: $seen"
on vm "dd if=/dev/zero of=/dev/vdb bs=4k count=1 oflag=direct" >/dev/null 2>&1 && lab_fail "a snapshot can be written to"

# A file system, and data that is checked, while dpud dies and comes back
on vm "mkfs.ext4 -q /dev/vda && mkdir /mnt && mount /dev/vda /mnt" || lab_fail "no file system"
ON_TIMEOUT=150 on vm "fio --name=v --directory=/mnt --size=20M --rw=randrw --rwmixread=30 --bsrange=4k-32k --ioengine=libaio --iodepth=8 --numjobs=2 --direct=1 \
	--verify=crc32c --verify_fatal=1 --do_verify=1 --fsync=64 --loops=3 --group_reporting" >"$LAB_DIR/fio.out" 2>&1 &
fio=$!
killed=0
while kill -0 $fio 2>/dev/null && [ $killed -lt "$kills" ]; do
	sleep 1.5
	kill -0 $fio 2>/dev/null || break
	lab_dpud_kill m
	killed=$((killed + 1))
	wait_until 30 "dpud is back" rpc m dpu.version
done
wait $fio || lab_fail "fio --verify through kill -9: $(tail -20 "$LAB_DIR/fio.out")"
[ $killed -gt 0 ] || lab_fail "fio was done before dpud was killed"
on vm "umount /mnt && e2fsck -fn /dev/vda" >"$LAB_DIR/fsck.out" 2>&1 || lab_fail "the file system is damaged: $(cat "$LAB_DIR/fsck.out")"
[ "$(field disk blue/data errors)" = 0 ] || lab_fail "the disk has counted errors"

# Resize while attached
dpu m volume set blue/data size=201326592 >/dev/null
wait_until 10 "the guest sees the new size" on vm "[ \$(cat /sys/block/vda/size) = 393216 ]"

# Discard gives space back
before=$(field pool large allocated_bytes)
on vm "blkdiscard /dev/vda" || lab_fail "no discard"
freed() { [ $((before - $(field pool large allocated_bytes))) -gt 30000000 ]; }
wait_until 10 "discarded space is free" freed

# A full pool: the guest gets I/O errors, they are counted, nothing else breaks
on vm "dd if=/dev/zero of=/dev/vdc bs=1M count=200 oflag=direct" >"$LAB_DIR/full.out" 2>&1 && lab_fail "a full pool takes writes"
grep -qi 'error' "$LAB_DIR/full.out" || lab_fail "a full pool: $(cat "$LAB_DIR/full.out")"
[[ $(field disk blue/thin statuses) == *no-space=* ]] || lab_fail "statuses: $(field disk blue/thin statuses)"
on vm "dd if=/dev/zero of=/dev/vda bs=1M count=8 oflag=direct && blkdiscard /dev/vdc && dd if=/dev/zero of=/dev/vdc bs=1M count=4 oflag=direct" >/dev/null 2>&1 ||
	lab_fail "disks do not work after a pool was full"
on vm "dmesg | grep -iE 'virtio_blk.*(id|bad)|virtio.*is not a head|blocked for more'; true" >"$LAB_DIR/complaints"
[ ! -s "$LAB_DIR/complaints" ] || lab_fail "the guest's driver complains: $(cat "$LAB_DIR/complaints")"
echo "disk guest: ext4 and fio --verify through $killed kills, read-only, resize, discard, full pool"
