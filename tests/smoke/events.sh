#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Events and completion: what watch shows of each change, and what Tab offers in a real bash, with and without a dpud.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin events
lab_netns a
lab_dpud m a "${small[@]}"

# ---- events
"$dpuctl" -i "$LAB-m" watch >"$LAB_DIR/all" &
lab_pids+=($!)
"$dpuctl" -i "$LAB-m" watch tenant -o json >"$LAB_DIR/tenants" &
lab_pids+=($!)
sleep 1 # they say nothing when they have subscribed
ok ctl tenant create blue
ok ctl vpc create blue/main vni=100
ok ctl vpc set blue/main labels=a=b
ok ctl vpc delete blue/main
ok ctl tenant delete blue
wait_until 10 "the last event" grep -q "deleted tenant blue" "$LAB_DIR/all"
cut -d' ' -f2-4 "$LAB_DIR/all" >"$LAB_DIR/kinds"
check 0 "created tenant blue
created vpc blue/main
changed vpc blue/main
deleted vpc blue/main
deleted tenant blue" cat "$LAB_DIR/kinds"
grep -q "changed vpc blue/main labels=a=b" "$LAB_DIR/all" || lab_fail "the event does not say what changed"
wait_until 10 "the JSON events" test "$(wc -l <"$LAB_DIR/tenants")" = 2
[ "$(head -1 "$LAB_DIR/tenants" | json "d['kind'], d['name']")" = "created blue" ] || lab_fail "JSON events"

# ---- completion by words
ok ctl tenant create blue
ok ctl vpc create blue/main vni=100
ok ctl subnet create blue/front vpc=main prefix_v4=10.0.0.0/24
ok ctl vnic create blue/web1 subnet=front
offers() { # EXPECTED WORD...: all candidates, one a line
	local expected=$1
	shift
	check 0 "$expected" ctl_complete "$@"
}
ctl_complete() { DPUCTL_INSTANCE=$LAB-m "$dpuctl" __complete "$@"; }
offers vnic vni
offers $'security_group\nsecurity_group_rule' sec
offers "show" vnic sh
offers "blue/web1" vnic show ''
offers "web1" -t blue vnic show w
offers "subnet=front" vnic create blue/x subnet=
offers $'backend=vhost_user_client\nbackend=vhost_user_server' vnic create blue/x backend=vh
offers $'port_security=true\nport_security=false' vnic set blue/web1 port_security=
offers "tenant=blue" vnic list tenant=
offers "vni=" vpc create blue/x vni
offers "" vpc create blue/x vni=5 vni
offers "--cascade" vnic delete blue/web1 --ca
offers $'table\njson\nyaml' vnic list -o ''
offers $'start\nstop\nlist' capture ''
offers "vnic=blue/web1" why vnic=
offers "mtu" help vnic mt
offers $'warn' log-level w
offers "" nothing of that
offers "" -o
# Without a dpud: what the schema tells.
DPUCTL_INSTANCE=nobody check 0 "backend=tap" "$dpuctl" __complete vnic create x backend=t
DPUCTL_INSTANCE=nobody check 0 "" "$dpuctl" __complete vnic show ''
DPUCTL_INSTANCE=nobody has 0 "Largest layer-3 packet" "$dpuctl" help vnic mtu

# ---- completion in bash, which takes = and : for ends of words
cat >"$LAB_DIR/complete.sh" <<'SH'
source <("$DPUCTL" completion bash)
press_tab() {
	COMP_LINE=$1 COMP_POINT=${#1} COMPREPLY=()
	_dpuctl
	printf '%s\n' "${COMPREPLY[@]}"
}
compopt() { :; }
press_tab "dpuctl -i $INSTANCE $1"
SH
tab() { # EXPECTED LINE
	check 0 "$1" env PATH="$(dirname "$dpuctl"):$PATH" DPUCTL="$dpuctl" INSTANCE="$LAB-m" bash "$LAB_DIR/complete.sh" "$2"
}
tab vnic vni
tab blue/web1 "vnic show "
tab front "vnic create blue/x subnet="
tab tap "vnic create blue/x backend=t"
tab "" "vnic frobnicate "
