#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What dpuctl shows of an eswitch at work: rules by filter, order and page, statistics, threads, refusals, why, bypass, captures of
# offloaded packets as tshark reads them, metrics and events. The client is a script.
set -euo pipefail
. "$(dirname "$0")/common.sh"
command -v tshark >/dev/null || { echo "skipped: needs tshark" >&2; exit 77; }
lab_begin offload
for name in a web db; do lab_netns $name; done
mkdir "$LAB_DIR/captures"
lab_dpud m a "${small[@]}" --workers 2 --capture-dir "$LAB_DIR/captures" --metrics "$LAB_DIR/metrics.sock"
has 1 "there is no eswitch; create one" ctl offload flows
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
eswitches: [{name: ovs, max_rules: 1000}]
vnics:
  - {name: web, tenant: blue, mac: "02:00:00:00:00:05", backend: tap, netns: $LAB-web}
  - {name: db, tenant: blue, mac: "02:00:00:00:00:06", backend: tap, netns: $LAB-db}
  - {name: alone, tenant: blue, mac: "02:00:00:00:00:07"}
representors:
  - {name: web, eswitch: ovs, vnic: blue/web, number: 1}
  - {name: db, eswitch: ovs, vnic: blue/db, number: 7}
YAML
ctl apply -f "$LAB_DIR/net.yaml" >/dev/null
box web 10.0.0.5/24
box db 10.0.0.6/24
/usr/bin/python3 "$(dirname "$0")/offload.py" "/run/softdpu/$LAB-m" "$LAB" "$lab_build/apps/dpuctl/dpuctl" "$LAB_DIR/captures" "$LAB_DIR/metrics.sock"

# ---- what Tab offers and what help says
offers() { # WORD...: candidates, in one line
	ctl __complete "$@" | paste -sd ' '
}
same "offload" "$(offers offload '')" "flows stats refused threads"
same "states" "$(offers offload flows state=)" "state=active state=refused state=leaving state=any"
same "representors" "$(offers offload flows representor=)" "representor=web representor=db"
has 0 "dpuctl offload flows representor=web min_packets=1 sort=packets" ctl help offload flows
has 0 "Example" ctl help offload stats
