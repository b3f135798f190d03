#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Sessions and quotas: listing by every filter, in pages, and clearing; what a tenant and a vNIC may hold, with the named refusals and drops.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin sessions
for name in a web db red; do lab_netns $name; done
lab_dpud m a "${small[@]}" --workers 2
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}, {name: red}]
vpcs:
  - {name: main, tenant: blue, vni: 1}
  - {name: main, tenant: red, vni: 2}
subnets:
  - {name: front, tenant: blue, vpc: main, prefix_v4: 10.0.0.0/24, prefix_v6: "fd00::/64"}
  - {name: front, tenant: red, vpc: main, prefix_v4: 10.0.0.0/24}
vnics:
  - {name: web, tenant: blue, subnet: front, addresses: [10.0.0.5, "fd00::5"], backend: tap, netns: $LAB-web}
  - {name: db, tenant: blue, subnet: front, addresses: [10.0.0.6, "fd00::6"], backend: tap, netns: $LAB-db}
  - {name: web, tenant: red, subnet: front, addresses: [10.0.0.5], backend: tap, netns: $LAB-red}
  - {name: db, tenant: red, subnet: front, addresses: [10.0.0.6]}
YAML
ctl apply -f "$LAB_DIR/net.yaml" >/dev/null
box web 10.0.0.5/24 fd00::5/64
box db 10.0.0.6/24 fd00::6/64
box red 10.0.0.5/24
inside red ip neighbour add 10.0.0.6 lladdr 02:00:00:00:00:66 dev eth0 nud permanent

# flood NAMESPACE ADDRESS FIRST COUNT: a UDP datagram from each of COUNT source ports.
flood() {
	inside "$1" /usr/bin/python3 - "$2" "$3" "$4" <<'PY'
import socket, sys
address, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
for port in range(first, first + count):
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        link.bind(("", port))
        link.sendto(b"x", (address, 4000))
PY
}
count() { ctl -o json session list "$@" | json "d['matched']"; }
held() { field tenant "$1" sessions; }
clear_all() { ctl session clear >/dev/null; }

# ---- filters
inside db nc -d -l 5001 >/dev/null &
lab_pids+=($!)
inside db nc -u -d -l 4000 >/dev/null &
lab_pids+=($!)
wait_until 5 "a listener" inside db sh -c "ss -ltn | grep -q :5001"
inside web nc -d 10.0.0.6 5001 >/dev/null &
lab_pids+=($!)
flood web 10.0.0.6 10000 300
flood web fd00::6 20000 20
inside web ping -q -c 1 -W 2 10.0.0.6 >/dev/null
flood red 10.0.0.6 10000 7
wait_until 5 "the TCP session" is 1 count protocol=tcp state=established
same "by protocol" "$(count protocol=icmp)" 1
same "by protocol and port" "$(count protocol=udp port=10003)" 2
same "by tenant" "$(count tenant=red)" 7
same "by VPC" "$(count vpc=red/main)" 7
same "by vNIC" "$(count vnic=red/web protocol=17)" 7
same "by address" "$(count address=fd00::5 protocol=udp)" 20
same "by state" "$(count state=syn-sent)" 0
same "nobody's" "$(count vnic=red/db address=10.9.9.9)" 0
more "all of blue's" "$(count tenant=blue)" 322
has 1 "must be a protocol's name" ctl session list protocol=carrier-pigeon
has 1 "there is no vpc" ctl session list vpc=blue/none

# ---- pages: every session once
/usr/bin/python3 - "$lab_top/tests/lib/rpc" "/run/softdpu/$LAB-m/dpud.sock" <<'PY' || lab_fail "pages"
import json, subprocess, sys
def page(limit, cursor):
    args = {"limit": limit, "tenant": "blue", "protocol": "udp"} | ({"cursor": cursor} if cursor else {})
    return json.loads(subprocess.run([*sys.argv[1:], "dpu.session-list", json.dumps({"args": args})], check=True, capture_output=True).stdout)
whole = page(100000, None)
assert "next" not in whole and not whole["truncated"], whole.get("next")
key = lambda s: (s["source"], s["source_port"], s["destination"])
everything = sorted(map(key, whole["sessions"]))
assert len(everything) >= 320
for limit in 1, 50, 100, 319, len(everything):
    listed, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        answer = page(limit, cursor)
        assert len(answer["sessions"]) <= limit
        listed += map(key, answer["sessions"])
        cursor, pages = answer.get("next"), pages + 1
        if limit == 1 and pages == 5:
            break
    assert len(listed) == len(set(listed)), f"twice with pages of {limit}"
    assert limit == 1 or sorted(listed) == everything, f"{len(listed)} of {len(everything)} with pages of {limit}"
PY
for cursor in x 1 9.0.0 0.99.0 0.0.0.0; do has 1 "cursor: must be what another listing gave as next" ctl session list cursor=$cursor; done
ctl session list cursor=0.0.4294967295 >/dev/null

# ---- clearing what filters choose, and nothing else
same "cleared" "$(ctl -o json session clear tenant=red | json "d['cleared']")" 7
same "red's after it" "$(count tenant=red)" 0
same "IPv6 cleared" "$(ctl -o json session clear address=fd00::5 protocol=udp | json "d['cleared']")" 20
same "the TCP session stayed" "$(count protocol=tcp state=established)" 1
clear_all

# ---- quotas: of a vNIC, of a tenant, of new sessions per second; another tenant is not touched
ok ctl vnic set blue/web max_sessions=50
before=$(dropped session-quota-vnic)
flood web 10.0.0.6 10000 120
same "sessions of a vNIC" "$(field vnic blue/web sessions)" 50
same "dropped by the vNIC's limit" $(($(dropped session-quota-vnic) - before)) 70
clear_all
ok ctl vnic set blue/web max_sessions=
ok ctl tenant set blue max_sessions=40
before=$(dropped session-quota-tenant)
flood web 10.0.0.6 10000 100
same "sessions of a tenant" "$(held blue)" 40
same "dropped by the tenant's limit" $(($(dropped session-quota-tenant) - before)) 60
flood red 10.0.0.6 10000 90
same "sessions of the other tenant" "$(held red)" 90
clear_all
ok ctl tenant set blue max_sessions=0 max_session_rate=20
sleep 1.1
before=$(dropped session-rate)
flood web 10.0.0.6 10000 200
more "dropped by the rate of new sessions" $(($(dropped session-rate) - before)) 120
more "what a rate lets through at once" "$(held blue)" 16
ok ctl tenant set blue max_session_rate=0
owned=$(ctl export -o json | json "sum(row.get('tenant') == 'blue' for rows in d.values() if isinstance(rows, list) for row in rows)")
ok ctl tenant set blue max_objects=$((owned + 1))
ok ctl security_group create blue/one
check 1 "dpuctl: tenant/blue.max_objects: the tenant would own $((owned + 2)) objects and may own $((owned + 1)): delete some or raise this" \
	ctl security_group create blue/two
has 1 "max_objects" ctl tenant set blue max_objects=1
ok ctl security_group create red/two
ok ctl tenant set blue max_objects= max_memory_mb=1
has 1 "vnic/blue/large.queues: the objects of tenant blue would take 3 MiB, and its max_memory_mb is 1" ctl vnic create blue/large subnet=front queues=16
ok ctl vnic create red/large subnet=front queues=16
