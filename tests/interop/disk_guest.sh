#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A Linux guest on disks of dpud: what is negotiated; file system and fio --verify over several queues, split and packed, while dpud is killed
# with -9 again and again; read-only, resize while attached, trim, write zeroes, discard, write-through, a full pool, a medium that fails, a
# block that is damaged. DISK_KILLS=N: by hand, more of them. DISK_QEMU=PATH: another QEMU.
set -euo pipefail
# shellcheck disable=SC2034 # for machine.sh
machine_guests=1
. "$(dirname "$0")/../lib/machine.sh"
. "$(dirname "$0")/../lib/lab.sh"
command -v qemu-system-x86_64 >/dev/null || lab_skip "no qemu-system-x86_64"
lab_begin diskg
lab_netns m
# The example of a filter that fails requests.
cp -r "$lab_top/apps/examples/block" "$LAB_DIR/modules"
make -s -C "$LAB_DIR/modules" flaky.so CPPFLAGS="-I$lab_top/include" >"$LAB_DIR/make.log" 2>&1 || lab_fail "flaky.so does not compile"
lab_dpud m m --huge-pages off --memory 64 --module-dir "$LAB_DIR/modules"
kills=${DISK_KILLS:-4}

field() { dpu m -o json "$1" show "$2" | json "d['$3']"; }
is() {
	local wanted=$1
	shift
	[ "$("$@")" = "$wanted" ]
}
has() { # WHAT WORD TEXT
	[[ " $3 " == *"$2"* ]] || lab_fail "$1: no '$2' in '$3'"
}

large=/dev/shm/softdpu-$LAB-large
cat >"$LAB_DIR/disks.yaml" <<-YAML
	version: 1
	tenants: [{name: blue}]
	media:
	  - {name: large, path: $large, size: 384M, cached: true}
	  - {name: small, path: /dev/shm/softdpu-$LAB-small, size: 64M, cached: true}
	  - {name: sound, kind: ram, size: 4M}
	  - {name: flaky, kind: module, module: flaky, below: sound, arguments: every=5}
	pools: [{name: large, media: [large]}, {name: small, media: [small]}]
	volumes:
	  - {name: data, tenant: blue, pool: large, size: 128M}
	  - {name: thin, tenant: blue, pool: small, size: 256M}
	snapshots: [{name: empty, tenant: blue, volume: data}]
	disks:
	  - {name: data, tenant: blue, volume: data, socket: $LAB_DIR/data.sock, queues: 2, serial: SOFTDPU-1}
	  - {name: old, tenant: blue, snapshot: empty, socket: $LAB_DIR/old.sock, queues: 1}
	  - {name: thin, tenant: blue, volume: thin, socket: $LAB_DIR/thin.sock, queues: 1}
	  - {name: flaky, tenant: blue, medium: flaky, socket: $LAB_DIR/flaky.sock, queues: 1}
YAML
dpu m apply -f "$LAB_DIR/disks.yaml" >/dev/null
read -ra more <<<"${DISK_QEMU:+--qemu $DISK_QEMU}"
lab_guest vm '' '' --memory 256 --cpus 2 "${more[@]}" --disk "$LAB_DIR/data.sock,num-queues=2" --disk "$LAB_DIR/old.sock,num-queues=1" \
	--disk "$LAB_DIR/thin.sock,num-queues=1,packed=on" --disk "$LAB_DIR/flaky.sock,num-queues=1"

# ---- what the guest sees, and what was negotiated
seen=$(on vm "cat /sys/block/vda/serial; echo; cat /sys/block/vda/size /sys/block/vda/ro /sys/block/vdb/ro; ls /sys/block/vda/mq | wc -l; cat /sys/block/vda/queue/write_cache" | tr '\n' ' ')
[ "$seen" = "SOFTDPU-1 262144 0 1 2 write back " ] || lab_fail "the guest sees: $seen"
negotiated() { # DISK BIT...: virtio features
	dpu m -o json disk show "blue/$1" | json "[b for b in (${*:2}) if not int(d['features']) >> b & 1]"
}
# flush, multi-queue, discard, write zeroes, indirect descriptors, event index; packed rings
[ "$(negotiated data 9, 12, 13, 14, 28, 29)$(negotiated thin 9, 13, 14, 28, 29, 34)" = "[][]" ] ||
	lab_fail "not negotiated: $(negotiated data 9, 12, 13, 14, 28, 29) $(negotiated thin 9, 13, 14, 28, 29, 34)"
[ "$(field disk blue/data ring) $(field disk blue/thin ring)" = "split packed" ] || lab_fail "rings: $(field disk blue/data ring), $(field disk blue/thin ring)"
on vm "dd if=/dev/zero of=/dev/vdb bs=4k count=1 oflag=direct" >/dev/null 2>&1 && lab_fail "a snapshot can be written to"
[ "$(field disk blue/thin write_back)" = True ] || lab_fail "write-back is not the beginning"
on vm "echo 'write through' >/sys/block/vdc/cache_type && [ \"\$(cat /sys/block/vdc/queue/write_cache)\" = 'write through' ]" || lab_fail "the cache mode cannot be changed"

# ---- a file system, a bare disk with packed rings, and data that is checked, while dpud dies and comes back
on vm "mkfs.ext4 -q /dev/vda && mkdir /mnt && mount /dev/vda /mnt" || lab_fail "no file system"
# Again and again, so that it is at work at each kill, however fast the machine is.
on vm "(until [ -e /run/enough ]; do fio --rw=randrw --rwmixread=30 --bsrange=4k-32k --ioengine=libaio --iodepth=8 --direct=1 --verify=crc32c --verify_fatal=1 \
	--do_verify=1 --fsync=64 --group_reporting --name=v --directory=/mnt --size=12M --numjobs=2 --name=p --filename=/dev/vdc --size=6M --numjobs=1 ||
	{ echo \$? >/run/ended; exit; }; done; echo 0 >/run/ended) >/run/fio.out 2>&1 </dev/null &"
written() { [ "$(field disk blue/data writes)" -gt 100 ] && [ "$(field disk blue/thin writes)" -gt 10 ]; }
killed=0
while [ $killed -lt "$kills" ]; do
	wait_until 60 "the guest writes (after $killed kills)" written
	lab_dpud_kill m
	killed=$((killed + 1))
	wait_until 30 "dpud is back" rpc m dpu.version
done
ended=$(ON_TIMEOUT=150 on vm "touch /run/enough; until [ -e /run/ended ]; do sleep 0.2; done; cat /run/ended")
[ "$ended" = 0 ] || lab_fail "fio --verify through kill -9: $ended: $(on vm "tail -20 /run/fio.out")"
[ "$(field disk blue/data errors) $(field disk blue/thin errors)" = "0 0" ] || lab_fail "the disks have counted errors"
[ "$(field disk blue/thin write_back)" = False ] || lab_fail "the cache mode is forgotten"
on vm "awk '/virtio0-req/ && \$2 + \$3 < 50 {print; few = 1} END {exit few}' /proc/interrupts" || lab_fail "the guest does not use both queues"

# ---- trim gives space back, from files that are no more; flushes are barriers that arrive
allocated() { field pool large allocated_bytes; }
freed() { [ $((before - $(allocated))) -gt 20000000 ]; }
before=$(allocated)
on vm "rm /mnt/v.*; sync; fstrim /mnt" || lab_fail "no trim"
wait_until 10 "trimmed space is free" freed
before=$(field disk blue/data flushes)
on vm "for i in 1 2 3; do echo \$i >/mnt/letter; sync; done; umount /mnt && e2fsck -fn /dev/vda" >"$LAB_DIR/fsck.out" 2>&1 || lab_fail "the file system is damaged: $(cat "$LAB_DIR/fsck.out")"
[ "$(field disk blue/data flushes)" -ge $((before + 3)) ] || lab_fail "three times sync, and $(($(field disk blue/data flushes) - before)) flushes"

# ---- resize while attached; write zeroes, which keep their space or not; discard
dpu m volume set blue/data size=192M >/dev/null
wait_until 10 "the guest sees the new size" on vm "[ \$(cat /sys/block/vda/size) = 393216 ]"
on vm "dd if=/dev/urandom of=/dev/vda bs=1M seek=140 count=2 oflag=direct && /usr/bin/blkdiscard -z -o 146800640 -l 1048576 /dev/vda &&
	dd if=/dev/vda bs=1M skip=140 count=1 iflag=direct | cmp -n 1048576 - /dev/zero && ! dd if=/dev/vda bs=1M skip=141 count=1 iflag=direct | cmp -s -n 1048576 - /dev/zero" \
	>"$LAB_DIR/zeroes.out" 2>&1 || lab_fail "write zeroes: $(cat "$LAB_DIR/zeroes.out")"
[ "$(field disk blue/data write_zeroes)" -ge 1 ] || lab_fail "the guest's kernel wrote the zeroes itself"
on vm "blkdiscard /dev/vda" || lab_fail "no discard"
wait_until 10 "discarded space is free" is 0 allocated

# ---- a full pool: the guest gets I/O errors, they are counted, nothing else breaks
on vm "dd if=/dev/zero of=/dev/vdc bs=1M count=200 oflag=direct" >"$LAB_DIR/full.out" 2>&1 && lab_fail "a full pool takes writes"
grep -qi 'error\|no space' "$LAB_DIR/full.out" || lab_fail "a full pool: $(cat "$LAB_DIR/full.out")"
has "failed requests" no-space= "$(field disk blue/thin statuses)"
on vm "dd if=/dev/zero of=/dev/vda bs=1M count=8 oflag=direct && blkdiscard /dev/vdc && dd if=/dev/zero of=/dev/vdc bs=1M count=4 oflag=direct" >/dev/null 2>&1 ||
	lab_fail "disks do not work after a pool was full"
[ "$(field disk blue/data errors)" = 0 ] || lab_fail "another pool's disk has counted errors"

# ---- a medium that fails one request of five: so many arrive, counted, with the sector in the guest's log
before=$(field disk blue/flaky errors)
failures=$(on vm "dmesg -c >/dev/null; for i in \$(seq 10); do dd if=/dev/vdd of=/dev/null bs=4k skip=\$i count=1 iflag=direct 2>/dev/null || echo \$i; done" | wc -l)
[ "$failures" = 2 ] || lab_fail "$failures of 10 reads failed"
[ "$(field disk blue/flaky errors)" = $((before + 2)) ] || lab_fail "errors of the disk: $(field disk blue/flaky errors)"
has "failed requests" io-error= "$(field disk blue/flaky statuses)"
[ "$(on vm "dmesg | grep -c 'I/O error, dev vdd, sector'")" = 2 ] || lab_fail "the guest's kernel says: $(on vm dmesg)"

# ---- a block that is damaged on the medium: itself cannot be read, those beside it can, scrub finds it, a write makes it good
at() { dpu m -o json volume why blue/data offset=$((2097152 + 4096 * $1)) | json "[int(r['what'].split()[-1]) for r in d if r['step'] == 'medium' and r['what'].startswith('at byte')][0]"; }
on vm "dd if=/dev/urandom of=/run/sent bs=64k count=1 && dd if=/run/sent of=/dev/vda bs=64k seek=32 count=1 oflag=direct" >/dev/null 2>&1 || lab_fail "no write"
/usr/bin/python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(int(sys.argv[2])); byte = f.read(1)[0]; f.seek(-1, 1); f.write(bytes([byte ^ 1]))' "$large" "$(at 5)"
damaged=$(on vm "for i in \$(seq 0 15); do dd if=/dev/vda of=/run/got bs=4k skip=\$((512 + i)) count=1 iflag=direct 2>/dev/null || { echo \$i; continue; }
	dd if=/run/sent bs=4k skip=\$i count=1 2>/dev/null | cmp -s - /run/got || echo wrong \$i; done")
[ "$damaged" = 5 ] || lab_fail "damaged blocks: $damaged"
has "failed requests" integrity= "$(field disk blue/data statuses)"
[ "$(field volume blue/data integrity_errors)" -ge 1 ] || lab_fail "the volume has counted no damage"
on vm "dmesg | grep 'I/O error, dev vda, sector'" | grep -q "sector 4136 " || lab_fail "the guest's kernel says: $(on vm dmesg)"
scrubbed() { dpu m pool scrub large wait=true >/dev/null && field pool large scrub_damaged; }
[ "$(scrubbed)" = 1 ] || lab_fail "scrub finds $(field pool large scrub_damaged) damaged blocks"
on vm "dd if=/run/sent of=/dev/vda bs=4k skip=5 seek=517 count=1 oflag=direct && dd if=/dev/vda bs=64k skip=32 count=1 iflag=direct | cmp - /run/sent" >/dev/null 2>&1 ||
	lab_fail "a damaged block cannot be written anew"
[ "$(scrubbed)" = 0 ] || lab_fail "scrub still finds $(field pool large scrub_damaged) damaged blocks"

on vm "dmesg | grep -iE 'virtio_blk.*(id|bad)|virtio.*is not a head|blocked for more'; true" >"$LAB_DIR/complaints"
[ ! -s "$LAB_DIR/complaints" ] || lab_fail "the guest's driver complains: $(cat "$LAB_DIR/complaints")"
echo "disk guest: ext4 and fio --verify through $killed kills, read-only, trim, resize, write zeroes, discard, full pool, failing medium, damaged block"
