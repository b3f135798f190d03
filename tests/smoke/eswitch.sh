#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# An eswitch whose client is a script: first packets up, rules down, counters, what dpuctl shows of them, bypass, clients that die and
# clients that lie, and dpud killed under it.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin eswitch
for name in a web db; do lab_netns $name; done
lab_dpud m a "${small[@]}" --workers 2
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
eswitches: [{name: ovs}]
vnics:
  - {name: web, tenant: blue, mac: "02:00:00:00:00:05", backend: tap, netns: $LAB-web}
  - {name: db, tenant: blue, mac: "02:00:00:00:00:06", backend: tap, netns: $LAB-db}
YAML
ctl apply -f "$LAB_DIR/net.yaml" >/dev/null
box web 10.0.0.5/24
box db 10.0.0.6/24

# ---- a vNIC with neither subnet nor representor drops by name
inside web ping -c 1 -W 1 10.0.0.6 >/dev/null && lab_fail "nobody forwards, and a ping is answered"
more "frames of an unbound vNIC" "$(dropped unbound-interface)" 1

ok ctl representor create web eswitch=ovs vnic=blue/web
ok ctl representor create db eswitch=ovs vnic=blue/db number=7
same "the number chosen" "$(field representor web number)" 1
has 1 "there is no" ctl representor create none eswitch=ovs vnic=blue/nobody
has 0 "eswitch.sock" ctl eswitch show ovs
pid=$(lab_dpud_pid m)
/usr/bin/python3 "$(dirname "$0")/eswitch.py" "/run/softdpu/$LAB-m" "$LAB" "$lab_build/apps/dpuctl/dpuctl"
[ "$(lab_dpud_pid m)" = "$pid" ] || lab_fail "dpud was restarted"

# ---- its clients have gone, and nothing of them stays
wait_until 5 "no rules" is 0 field eswitch ovs rules
same "clients" "$(field eswitch ovs clients)" "[]"

# ---- killed: objects and the socket come back
lab_dpud_kill m
wait_until 30 "dpud answers again" rpc m dpu.version
same "the number after a restart" "$(field representor db number)" 7
/usr/bin/python3 "$(dirname "$0")/eswitch.py" "/run/softdpu/$LAB-m" "$LAB" "$lab_build/apps/dpuctl/dpuctl" again
