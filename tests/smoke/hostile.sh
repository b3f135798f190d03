#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Clients that are wrong, slow, greedy or many against a running dpud: it goes on answering, and grows little.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin hostile
lab_netns a
lab_dpud m a "${small[@]}" --metrics "$LAB_DIR/metrics.sock"
ok ctl tenant create blue
ok ctl vpc create blue/net vni=1
ok ctl subnet create blue/front vpc=net prefix_v4=10.0.0.0/24
ok ctl vnic create blue/web subnet=front backend=vhost_user_server
pid=$(lab_dpud_pid m)
/usr/bin/python3 "$(dirname "$0")/hostile.py" "/run/softdpu/$LAB-m" "$LAB_DIR/metrics.sock" "$pid"
[ "$(lab_dpud_pid m)" = "$pid" ] || lab_fail "dpud was restarted"
has 0 "blue" ctl tenant list
