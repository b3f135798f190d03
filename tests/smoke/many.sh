#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A thousand vNICs, half of them TAP, half vhost-user, made by one document and deleted again; and the limits of numbers.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin many
for name in a box; do lab_netns $name; done
lab_dpud m a --huge-pages off --memory 256 --workers 2
/usr/bin/python3 - "$LAB-box" >"$LAB_DIR/net.yaml" <<'PY'
import sys
print("version: 1\ntenants: [{name: blue}]\nvpcs: [{name: main, tenant: blue, vni: 1}]")
print("subnets: [{name: front, tenant: blue, vpc: main, prefix_v4: 10.0.0.0/16}]\nvnics:")
for number in range(1000):
    head = f"  - {{name: n{number}, tenant: blue, subnet: front, addresses: [10.0.{number // 250 + 1}.{number % 250 + 1}]"
    print(f"{head}, backend: tap, tap_name: n{number}, netns: {sys.argv[1]}}}" if number % 2 else f"{head}}}")
PY
taps() { inside box ip -o link show | grep -c ' n[0-9]*[@:]' || true; }
began=$(date +%s%N)
has 0 "1003 created, 0 changed, 0 deleted" ctl apply -f "$LAB_DIR/net.yaml"
echo "1000 vNICs made in $((($(date +%s%N) - began) / 1000000)) ms"
same "vNICs" "$(ctl -o json vnic list -c name | json "len(d)")" 1000
same "TAP interfaces" "$(taps)" 500
check 0 "nothing to change" ctl apply -f "$LAB_DIR/net.yaml"
inside box ip link set n1 up
wait_until 20 "a TAP among them works" is True field vnic blue/n1 up
# They are there again after kill -9.
lab_dpud_kill m
wait_until 30 "dpud is back" ctl vnic show blue/n999
same "TAP interfaces after kill -9" "$(taps)" 500
has 1 "vnic/blue/again.addresses: 10.0.1.1 belongs to vnic/blue/n0" ctl vnic create blue/again subnet=front addresses=10.0.1.1
# A second one of the same interface is refused, and nothing of its document stays.
has 1 "n1" ctl vnic create blue/again subnet=front backend=tap tap_name=n1 netns="$LAB-box"
same "vNICs after refusals" "$(ctl -o json vnic list -c name | json "len(d)")" 1000
printf 'version: 1\n' >"$LAB_DIR/nothing.yaml"
began=$(date +%s%N)
has 0 "0 created, 0 changed, 1003 deleted" ctl apply -f "$LAB_DIR/nothing.yaml" --prune
echo "1000 vNICs deleted in $((($(date +%s%N) - began) / 1000000)) ms"
wait_until 20 "the TAP interfaces are gone" sh -c "[ \$(ip -n $LAB-box -o link show | grep -c ' n[0-9]') = 0 ]"
[ -z "$(find "/run/softdpu/$LAB-m" -name '*.sock' ! -name 'dpud*' ! -name 'eswitch*')" ] || lab_fail "sockets of deleted vNICs are left"
more "descriptors are given back" 200 "$(find "/proc/$(lab_dpud_pid m)/fd" -type l | wc -l)"

# ---- limits of single fields, named
ok ctl tenant create blue
ok ctl vpc create blue/main vni=1
ok ctl subnet create blue/front vpc=main prefix_v4=10.0.0.0/24
long=$(printf 'x%.0s' $(seq 256))
has 1 "name" ctl tenant create "$long"
ok ctl tenant create "${long:1}"
has 1 "17 is out of range: give 1 to 16" ctl vnic create blue/q subnet=front queues=17
has 1 "9217 is out of range: give 576 to 9216 bytes" ctl vnic create blue/q subnet=front mtu=9217
has 1 "addresses: the list has 39 items: give 0 to 32" ctl vnic create blue/q subnet=front addresses="$(seq -s, -f '10.0.0.%g' 2 40)"
has 1 "vni: 16777216 is out of range" ctl vpc create blue/x vni=16777216
has 1 "vni" ctl vpc create blue/x vni=1
