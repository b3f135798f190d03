#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Quality of service in bytes a second through dpud: caps of a volume and of a tenant over a disk and an NVMe namespace, for requests of 4 and of 128 KiB
# both ways, what is saved up for a burst, changes in use, a guarantee beside a noisy neighbour. Rates are over the time that really was.
set -euo pipefail
. "$(dirname "$0")/qos_lab.sh"
qos_begin qos-bytes
MIB=$((1 << 20)) LARGE=$((128 << 10))
rate() { passes bytes "$1" "$2" "$3" $LARGE "${@:4}"; } # SECONDS BURST_MS CAP OBJECT...

# ---- one cap for what comes over both, large beside small, reads beside writes; what is larger than the burst (40 KiB) goes, too
ctl qos_policy create blue/gold cap_bandwidth=4MiB burst_ms=10
ok ctl volume set blue/a qos=gold
both() { # DISK-WORDS… -- NVMF-WORDS…
	local disk=() before_disk before_namespace
	while [ "$1" != -- ]; do disk+=("$1"); shift; done
	shift
	before_disk=$(bytes disk/blue/a) before_namespace=$(bytes nvmf_namespace/blue/a)
	disk_load a "${disk[@]}"
	nvmf_load "$@"
	wait_until 10 "bytes over the disk" exceeds bytes disk/blue/a $((before_disk + LARGE))
	wait_until 10 "bytes over NVMe/TCP" exceeds bytes nvmf_namespace/blue/a $((before_namespace + LARGE))
	rate 1 10 $((4 * MIB)) disk/blue/a nvmf_namespace/blue/a
}
both bytes=$LARGE depth=2 -- write depth=16
stop_loads
both write depth=32 -- bytes=$LARGE depth=1
stop_loads
both write bytes=$LARGE depth=2 -- depth=16
stop_loads
both depth=32 -- write bytes=$LARGE depth=1
# … which is changed in use
ok ctl qos_policy set blue/gold cap_bandwidth=12MiB
rate 1 10 $((12 * MIB)) disk/blue/a nvmf_namespace/blue/a
stop_loads

# ---- what was not used for four seconds may be used at once, and not more
ok ctl volume set blue/a qos=
wait_until 10 "nobody waits any more" is 0 waiting blue/a
ctl qos_policy create blue/saved cap_bandwidth=1MiB burst_ms=4000
ok ctl volume set blue/b qos=saved
sleep 0.5
before=$(bytes disk/blue/b) began=$(now_ms)
disk_load b bytes=$LARGE depth=4
wait_until 10 "what was saved up" exceeds bytes disk/blue/b $((before + 4 * MIB - 4 * LARGE))
took=$(($(now_ms) - began))
[ $took -lt 3000 ] || lab_fail "what was saved up took $took ms"
passes bytes 1 600 $MIB $LARGE disk/blue/b # with what was still there of it
stop_loads
ok ctl volume set blue/b qos=

# ---- a tenant's cap is for both of its volumes together, one over NVMe/TCP and one over a disk
ctl qos_policy create blue/whole scope=tenant cap_bandwidth=6MiB burst_ms=10
disk_load b bytes=$LARGE depth=2
nvmf_load write depth=16
wait_until 10 "writes of a" exceeds bytes nvmf_namespace/blue/a $(($(bytes nvmf_namespace/blue/a) + LARGE))
wait_until 10 "reads of b" exceeds bytes disk/blue/b $(($(bytes disk/blue/b) + LARGE))
rate 1 10 $((6 * MIB)) nvmf_namespace/blue/a disk/blue/b
stop_loads

# ---- a guarantee beside a neighbour who has all else: nearly all of the weight, and 128 under way
ctl qos_policy delete blue/whole
ctl qos_policy create red/whole scope=tenant weight=10000
ctl qos_policy create blue/least scope=tenant guarantee_bandwidth=4MiB weight=1
disk_load c depth=128
promised_bytes() { echo $(($(promised blue/b) * size)); }
for size in $LARGE 4096; do
	disk_load b bytes="$size" depth=16
	before=$(promised blue/b)
	wait_until 10 "requests go by the guarantee" exceeds promised blue/b $((before + 4))
	least_percent=$((size == LARGE ? 50 : 10)) passes promised_bytes 1 5 $((4 * MIB)) "$size" blue/b
	kill "$lab_last"
done
stop_loads
echo "qos: ok"
lab_end
