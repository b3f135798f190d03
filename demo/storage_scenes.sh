# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: BSD-3-Clause
# The scenes of the storage demonstration. Each fails if it does not come true.

scenes() {
	scene_file_system
	scene_limit
	scene_clone
	scene_path
	scene_second_vm
	scene_kill
	scene_nothing_lost
	scene_cost
}

sum_of() { on "$1" "sha256sum $2" | cut -d' ' -f1; } # VM FILE
# Whole milliseconds of the volume's slowest request of the last minute, and where they went.
slowest() { dpuctl -o json volume slowest blue/data | json "$1"; }

scene_file_system() {
	title "The VM makes a file system and writes"
	typed "on vm1 'mkfs.ext4 -q /dev/vda && mkdir /mnt && mount /dev/vda /mnt && df -h /mnt'" || lab_fail "no file system"
	typed "on vm1 'head -c 8388608 /dev/urandom >/mnt/letters && sync && sha256sum /mnt/letters'" || lab_fail "no file"
	letters=$(cut -d' ' -f1 <<<"$printed")
	typed "dpuctl volume list -c name,size,allocated_bytes,reads,writes"
	typed "dpuctl -i $LAB-a volume list -c name,size,allocated_bytes,reads,writes"
	show "ext4 on the VM's disk, a file written" "8 MiB"
}

scene_limit() {
	local first second
	title "The limit of the volume, and a new one while it works"
	typed "dpuctl qos_policy list -c name,cap_iops,burst_ms,volumes"
	measure_rate
	first=$rate
	typed "dpuctl qos_policy set blue/silver cap_iops=100"
	measure_rate
	second=$rate
	typed "dpuctl qos_policy set blue/silver cap_iops=1000"
	# Limits are from above: a VM without KVM on a busy machine may not reach them.
	((first > 120 && first <= 550)) || lab_fail "$first requests a second with a limit of 500"
	((second > 20 && second <= 120)) || lab_fail "$second requests a second with a limit of 100"
	show "reads per second, limits 500 and then 100" "$first, $second"
	note "where their time went: waiting for their turn, in the volume's own code, at the medium (DPU a and the wire)"
	typed "dpuctl volume latency blue/data | grep -E '^REQUESTS|^read'"
}
measure_rate() { # sets rate
	typed "on vm1 'fio --name=r --filename=/dev/vda --rw=randread --bs=4k --direct=1 --ioengine=libaio --iodepth=16 --time_based --runtime=2 | grep IOPS'" ||
		lab_fail "fio cannot read"
	rate=$(sed -n 's/.*IOPS=\([0-9]*\).*/\1/p' <<<"$printed")
}

scene_clone() {
	local start took
	title "A snapshot and a clone, while the VM works; a second VM gets them as disks"
	start=$(now)
	typed "dpuctl snapshot create blue/monday volume=data" || lab_fail "no snapshot"
	typed "dpuctl volume create blue/copy pool=rack from_snapshot=monday" || lab_fail "no clone"
	took=$(milliseconds_since "$start")
	typed "dpuctl volume why blue/copy"
	expect "shared with a snapshot or another volume" "why of a clone"
	typed "dpuctl disk create blue/monday snapshot=monday socket=$LAB_DIR/monday.sock" || lab_fail "no disk of the snapshot"
	typed "dpuctl disk create blue/copy volume=copy socket=$LAB_DIR/copy.sock" || lab_fail "no disk of the clone"
	on vm1 "echo written after the snapshot >/mnt/letters && sync" || lab_fail "vm1 cannot write"
	show "snapshot and clone made" "$took ms"
	note "vm2 boots meanwhile"
	second_began=$(now)
	lab_guest vm2 '' '' --no-wait --memory 256 --disk "$LAB_DIR/monday.sock,num-queues=1" --disk "$LAB_DIR/copy.sock,num-queues=1"
}

scene_path() {
	local writer cut longest
	title "One of the two wires is cut under load"
	start_fio path --size=8M --time_based --runtime=6
	writer=$!
	sleep 2
	cut=$(now)
	typed "ip -n $LAB-a link set two down" || lab_fail "the wire cannot be cut"
	wait_until 20 "the path is lost" is 1 field b nvmf_remote rack live_paths
	note "given up after $(milliseconds_since "$cut") ms"
	typed "dpuctl -o json nvmf_remote show rack | jq -r '.paths[]'"
	wait $writer || lab_fail "the VM's requests failed: $(cat "$LAB_DIR/path.fio")"
	longest=$(slowest "round(max(row['whole_us'] for row in d) / 1000)")
	typed "dpuctl volume slowest blue/data | head -4"
	typed "ip -n $LAB-a link set two up"
	wait_until 30 "the path is back" is 2 field b nvmf_remote rack live_paths
	show "a wire cut under load" "no request failed, the longest took $longest ms"
}
# Writes of vm1 that are read back and compared, as fio's options say; in the background, what it says in a file.
start_fio() { # NAME OPTIONS...
	local name=$1
	shift
	note "vm1: fio --name=$name --directory=/mnt --rw=randwrite --bs=4k --iodepth=8 --verify=crc32c $*"
	ON_TIMEOUT=120 on vm1 "fio --name=$name --directory=/mnt --rw=randwrite --bs=4k --direct=1 --ioengine=libaio --iodepth=8 --verify=crc32c \
		--verify_fatal=1 --fsync=64 $*" >"$LAB_DIR/$name.fio" 2>&1 &
}

scene_second_vm() {
	title "The second VM mounts the snapshot and the clone"
	demo_wait_guests "$second_began" vm2
	typed "on vm2 'mkdir /old /copy; mount -o ro,noload /dev/vda /old && mount /dev/vdb /copy && sha256sum /old/letters /copy/letters'" ||
		lab_fail "vm2 cannot mount its disks"
	[ "$(sum_of vm2 /old/letters) $(sum_of vm2 /copy/letters)" = "$letters $letters" ] || lab_fail "the file is not as it was"
	typed "on vm2 'echo of the clone >/copy/own && sync && ls /copy'" || lab_fail "the clone cannot be written to"
	! typed "on vm2 'dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct'" || lab_fail "the snapshot can be written to"
	typed "on vm1 'ls /mnt; cat /mnt/letters'"
	expect "written after the snapshot" "the volume itself"
	show "snapshot and clone mounted by a second VM" "the file as it was, 8 MiB equal"
}

scene_kill() {
	local writer name
	title "kill -9 of both daemons in turn, during fio --verify"
	start_fio killed --size=20M --do_verify=1
	writer=$!
	for name in a b; do
		sleep 2
		kill -0 $writer 2>/dev/null || lab_fail "fio was over before dpud $name was killed: $(cat "$LAB_DIR/killed.fio")"
		murder_and_wait $name
	done
	note "dpud b waits until writes of the killed process, if any are on their way, cannot arrive any more: twice keep_alive, and quiesce"
	wait $writer || lab_fail "fio --verify: $(tail -20 "$LAB_DIR/killed.fio")"
	typed "grep -E 'err=|IOPS' $LAB_DIR/killed.fio"
	show "written and verified through both kills" "20 MiB, no error"
}
murder_and_wait() { # DPU
	local pid killed
	pid=$(lab_dpud_pid "$1")
	killed=$(now)
	typed "kill -9 $pid    # dpud $1"
	wait_until 20 "dpud comes back" dpu "$1" version
	note "dpud $1 answers again after $(milliseconds_since "$killed") ms, process $(lab_dpud_pid "$1")"
	wait_until 30 "two paths are live" is 2 field b nvmf_remote rack live_paths
	wait_until 30 "the disk is ready" is ready field b disk blue/data state
	show "disk ready again after kill -9 of dpud $1" "$(milliseconds_since "$killed") ms"
}

scene_nothing_lost() {
	local name
	title "Nothing is lost"
	typed "on vm1 'umount /mnt && e2fsck -fn /dev/vda' | tail -1" || lab_fail "vm1's file system is damaged"
	typed "on vm2 'sha256sum /copy/letters; cat /copy/own; umount /copy && e2fsck -fn /dev/vdb' | grep -Ev '^(Pass|e2fsck)'" ||
		lab_fail "the clone's file system is damaged"
	expect "$letters" "file in the clone"
	expect "of the clone" "file of the clone"
	for name in a:flash b:rack; do
		typed "dpuctl -i $LAB-${name%:*} pool scrub ${name#*:} wait=true" || lab_fail "no scrub"
		[ "$(field "${name%:*}" pool "${name#*:}" scrub_damaged)" = 0 ] || lab_fail "pool ${name#*:} has damaged blocks"
	done
	typed "dpuctl disk list -c name,state,reads,writes,flushes,errors"
	[ "$(field b disk blue/data errors)" = 0 ] || lab_fail "requests of vm1 have failed"
	show "file systems and every block of both pools" "intact"
}

scene_cost() {
	title "What it costs while nothing happens"
	local name pid used took
	for name in a b; do
		pid=$(lab_dpud_pid $name)
		used=$(run_time "$pid")
		took=$(now)
		sleep 2
		used=$(percent_of $(($(run_time "$pid") - used)) $(($(now) - took)))
		show "CPU and memory of dpud $name" "$used % of a core, $(resident "$pid") MiB"
	done
}

what_to_try() {
	title "It is kept. Try:"
	cat <<-TRY
		  ./run shell                                          a shell with dpuctl and the words below
		  ./run shell on vm1 mount /dev/vda /mnt               a command in a VM (vm1, vm2)
		  ./run shell dpuctl disk list                         DPU b, as dpuctl -i $LAB-a is the other one
		  ./run shell dpuctl volume latency blue/data          where the time of requests goes
		  ./run shell dpuctl nvmf_remote show rack             the remote namespace and its paths
		  ./run demo --stop                                    ends it
	TRY
}
