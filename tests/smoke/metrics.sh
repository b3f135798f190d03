#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Prometheus metrics over a loopback port: every counter and gauge of the tables is there, and says what traffic did; the log level changes
# while it runs.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin metrics
for name in a web db; do lab_netns $name; done
lab_dpud m a "${small[@]}" --workers 1 --metrics 127.0.0.1:9180
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
ports: [{name: up, device: "tap:up0"}]
underlays: [{name: fabric, port: up, address: 192.0.2.1, prefix_length: 24}]
vpcs: [{name: main, tenant: blue, vni: 1, underlay: fabric}]
subnets: [{name: front, tenant: blue, vpc: main, prefix_v4: 10.0.0.0/24}]
media: [{name: ram, kind: ram, size: 64M}, {name: whole, kind: ram, size: 4M}]
pools: [{name: main, media: [ram]}]
qos_policies: [{name: gold, tenant: blue, cap_iops: 1000}]
volumes: [{name: root, tenant: blue, pool: main, size: 8M, qos: gold}]
snapshots: [{name: monday, tenant: blue, volume: root}]
disks:
  - {name: root, tenant: blue, volume: root, socket: $LAB_DIR/root.sock}
  - {name: limited, tenant: blue, medium: whole, qos: gold, socket: $LAB_DIR/limited.sock}
nvmf_subsystems: [{name: sub, tenant: blue, nqn: "nqn.2020-01.org.example:sub"}]
nvmf_listeners: [{name: here, address: 127.0.0.1}]
nvmf_namespaces: [{name: root, tenant: blue, subsystem: sub, volume: root}]
nvmf_remotes: [{name: far, addresses: [127.0.0.9], nqn: nqn.2020-01.org.example:none}]
vnics:
  - {name: web, tenant: blue, subnet: front, addresses: [10.0.0.5], backend: tap, netns: $LAB-web}
  - {name: db, tenant: blue, subnet: front, addresses: [10.0.0.6], backend: tap, netns: $LAB-db}
YAML
ctl apply -f "$LAB_DIR/net.yaml" >/dev/null
for disk in limited root; do wait_until 10 "disk $disk has its device" is ready field disk blue/$disk state; done
box web 10.0.0.5/24
box db 10.0.0.6/24
metrics() { inside a "$(dirname "$0")/metrics.py" 127.0.0.1:9180 "$@"; }
metrics >/dev/null || lab_fail "the metrics are not valid"

# ---- every row of the tables that is a metric
mapfile -t wanted < <(/usr/bin/python3 - "$DPUCTL_SCHEMA" <<'PY'
import json, sys
objects = {"tenant": 'name="blue"', "port": 'name="up"', "underlay": 'name="fabric"', "vpc": 'tenant="blue",name="main"', "vnic": 'tenant="blue",name="web"', "dpu": 'name="dpu"', "medium": 'name="ram"', "pool": 'name="main"',
           "qos_policy": 'tenant="blue",name="gold"', "volume": 'tenant="blue",name="root"', "snapshot": 'tenant="blue",name="monday"',
           "disk": 'tenant="blue",name="limited"', "nvmf_subsystem": 'tenant="blue",name="sub"', "nvmf_listener": 'name="here"',
           "nvmf_namespace": 'tenant="blue",name="root"', "nvmf_remote": 'name="far"'}
without = {"eswitch", "representor"} # for which there must be more than an object; tests/smoke/eswitch.sh has them
for row in json.load(open(sys.argv[1]))["classes"]:
    for field in row["fields"]:
        if not {"counter", "gauge"} & set(field["flags"]):
            continue
        unit, name = field.get("unit"), f"dpu_{row['name']}_{field['name']}"
        name += f"_{unit}" if unit and unit not in field["name"] else ""
        name += "_total" if "counter" in field["flags"] else ""
        if row["name"] not in without:
            print(f'{name}{{class="{row["name"]}",{objects[row["name"]]}}}')
for whose in 'volume="root"', 'snapshot="monday"', 'disk="limited"':
    print(f'dpu_volume_latency_seconds_count{{tenant="blue",{whose},requests="read",stage="medium"}}')
for name in "buffer_bytes", "buffer_most_bytes", "copied_bytes_total", "buffer_waits_total":
    print(f'dpu_disk_{name}{{tenant="blue",worker="0"}}')
PY
)
more "rows of the tables that are metrics" ${#wanted[@]} 110
metrics "${wanted[@]}" >/dev/null || lab_fail "a counter of the tables is missing"

# ---- what traffic does to them
web='{class="vnic",tenant="blue",name="web"}'
names=("dpu_vnic_rx_packets_total$web" "dpu_vnic_tx_packets_total$web" "dpu_vnic_misses_packets_total$web"
	'dpu_vpc_packets_total{class="vpc",tenant="blue",name="main"}' 'dpu_tenant_rx_packets_total{class="tenant",name="blue"}'
	'dpu_drops_total{reason="spoofed-address"}' 'dpu_drops_total{reason="no-mapping"}')
inside web ping -q -c 1 -W 2 10.0.0.6 >/dev/null || lab_fail "web does not reach db"
# The daemon serves a text again for a while: the value must have come by then.
settled() { sleep 1.2; metrics "${names[@]}"; }
mapfile -t before < <(settled)
inside web ping -q -f -c 100 10.0.0.6 >/dev/null
inside web ping -q -c 2 -i 0.05 -W 0.2 10.0.0.99 >/dev/null && lab_fail "somebody answers for 10.0.0.99"
inside web ip address add 10.0.0.77/24 dev eth0
inside web ping -q -c 3 -i 0.05 -W 0.2 -I 10.0.0.77 10.0.0.6 >/dev/null && lab_fail "a spoofed address passes"
mapfile -t after < <(settled)
moved() { echo $((after[$1] - before[$1])); }
more "${names[0]}" "$(moved 0)" 103
more "${names[1]}" "$(moved 1)" 100
[ "$(moved 2)" -lt 50 ] || lab_fail "$(moved 2) of 100 echoes took the policy path"
more "${names[3]}" "$(moved 3)" 200
more "${names[4]}" "$(moved 4)" 203
same "${names[5]}" "$(moved 5)" 3
# A packet may come between the two, such as the kernel's own of IPv6.
agree() { [ "$(field vnic blue/web rx_packets)" = "$(metrics "${names[0]}")" ]; }
wait_until 10 "the CLI's figure of ${names[0]} is that of the metrics" agree
same "drops, as the CLI counts them" "$(dropped spoofed-address)" "${after[5]}"

# ---- log level while it runs
ok ctl log-level debug
ok ctl vnic create blue/late subnet=front addresses=10.0.0.9
ok ctl log-level error
has 1 "must be error, warn, info or debug" ctl log-level loud
