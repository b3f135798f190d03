#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Everything around them is changed again and again while two vNICs talk: not one of their packets is lost. What a rule that comes or goes
# does to an established connection, and a vNIC that comes and goes under its own traffic.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin change
for name in a web db peer other; do lab_netns $name; done
lab_veth a up0 peer up0
inside peer ip address add 192.0.2.2/24 dev up0
lab_dpud m a "${small[@]}" --workers 2
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
ports: [{name: up, device: "af_packet:up0"}]
underlays: [{name: fabric, port: up, address: 192.0.2.1, prefix_length: 24}]
vpcs: [{name: main, tenant: blue, vni: 1, underlay: fabric}]
subnets: [{name: front, tenant: blue, vpc: main, prefix_v4: 10.0.0.0/24, prefix_v6: "fd00::/64"}]
security_groups: [{name: web, tenant: blue}, {name: all, tenant: blue}]
security_group_rules:
  - {name: ping, tenant: blue, group: web, direction: ingress, protocol: icmp}
  - {name: ping6, tenant: blue, group: web, direction: ingress, ethertype: ipv6, protocol: icmpv6}
  - {name: out, tenant: blue, group: web, direction: egress}
  - {name: out6, tenant: blue, group: web, direction: egress, ethertype: ipv6}
  - {name: db, tenant: blue, group: web, direction: ingress, protocol: tcp, port_range_min: 5001}
vnics:
  - {name: web, tenant: blue, subnet: front, addresses: [10.0.0.5, "fd00::5"], backend: tap, netns: $LAB-web, security_groups: [web]}
  - {name: db, tenant: blue, subnet: front, addresses: [10.0.0.6, "fd00::6"], backend: tap, netns: $LAB-db}
YAML
ctl apply -f "$LAB_DIR/net.yaml" >/dev/null
box web 10.0.0.5/24 fd00::5/64
box db 10.0.0.6/24 fd00::6/64
for address in 10.0.0.5 fd00::5; do wait_until 5 "db reaches $address" inside db ping -c 1 -W 1 $address; done

# ---- the two talk …
inside db ping -q -i 0.002 -w 12 10.0.0.5 >"$LAB_DIR/ping4" &
four=$!
inside db ping -q -i 0.005 -w 12 fd00::5 >"$LAB_DIR/ping6" &
six=$!
inside web iperf3 -s -1 -p 5001 >/dev/null &
lab_pids+=($!)
wait_until 5 "iperf3" inside web sh -c "ss -ltn | grep -q :5001"
inside db iperf3 -c 10.0.0.5 -p 5001 -b 20M -t 11 -J >"$LAB_DIR/tcp.json" &
tcp=$!
# … while all of this happens around them.
cat >"$LAB_DIR/round" <<LINES
vpc create blue/side vni=77 underlay=fabric
subnet create blue/side vpc=side prefix_v4=10.0.0.0/24
vnic create blue/side1 subnet=side addresses=10.0.0.5 backend=tap netns=$LAB-other tap_name=side1
vnic create blue/front9 subnet=front addresses=10.0.0.9 backend=tap netns=$LAB-other tap_name=front9
vnic create blue/guest subnet=front addresses=10.0.0.10
route create blue/r1 vpc=main prefix=10.7.0.0/16 kind=drop
route create blue/r2 vpc=main prefix=10.8.0.0/16 kind=vtep vtep=192.0.2.2 mac=02:00:00:00:00:99
mapping create blue/m1 vpc=main address=10.0.0.77 mac=02:00:00:00:00:77 vtep=192.0.2.2
security_group_rule create blue/more group=web direction=ingress protocol=udp port_range_min=53
security_group_rule create blue/every group=all direction=ingress
vnic set blue/front9 security_groups=all,web
vnic set blue/web hostname=web max_sessions=5000
subnet set blue/front dns=10.0.0.53
mapping set blue/m1 vtep=192.0.2.3
subnet set blue/front dns=
vnic set blue/web hostname= max_sessions=
vpc set blue/side vni=78
vnic delete blue/front9
vnic delete blue/guest
security_group_rule delete blue/more
security_group_rule delete blue/every
mapping delete blue/m1
route delete blue/r2
route delete blue/r1
vpc delete blue/side --cascade
LINES
rounds=0
end=$((SECONDS + 9))
while [ $SECONDS -lt $end ]; do
	ctl -f "$LAB_DIR/round" >/dev/null || lab_fail "a change in round $rounds"
	rounds=$((rounds + 1))
done
wait $four $six || true
lossless() { grep -q " 0% packet loss" "$LAB_DIR/$1" || lab_fail "packets of an untouched pair are lost: $(grep transmitted "$LAB_DIR/$1")"; }
lossless ping4
lossless ping6
wait $tcp || lab_fail "the TCP transfer broke off"
# TCP itself loses a segment where a queue of the kernel is full; changes that cost packets would show hundreds.
again=$(json "d['end']['sum_sent']['retransmits']" <"$LAB_DIR/tcp.json")
[ "$again" -le 20 ] || lab_fail "$again TCP segments were sent again"
more "rounds of changes" $rounds 5

# ---- a rule that goes ends what it allowed, a rule that comes leaves everything; a connection that was cut goes on when its rule is back
connection() { ctl -o json session list protocol=tcp port=5001 | json "len(d['sessions'])"; }
mkfifo "$LAB_DIR/words"
inside web nc -d -l 5001 >"$LAB_DIR/heard" &
lab_pids+=($!)
wait_until 5 "a listener" inside web sh -c "ss -ltn | grep -q :5001"
ctl session clear >/dev/null
inside db nc 10.0.0.5 5001 <"$LAB_DIR/words" &
lab_pids+=($!)
exec 3>"$LAB_DIR/words"
echo one >&3
wait_until 5 "the first word" grep -q one "$LAB_DIR/heard"
ok ctl security_group_rule create blue/another group=web direction=ingress protocol=tcp port_range_min=80
echo two >&3
wait_until 5 "a word after a rule came" grep -q two "$LAB_DIR/heard"
same "sessions of the connection" "$(connection)" 1
before=$(dropped ingress-denied)
ok ctl security_group_rule delete blue/db
echo three >&3
wait_until 5 "a drop" is $((before + 1)) dropped ingress-denied
wait_until 5 "the session's end" is 0 connection
grep -q three "$LAB_DIR/heard" && lab_fail "a word came through without its rule"
exec 3>&-

# ---- a vNIC that is deleted and made anew under traffic to it
inside db ping -q -i 0.01 -w 4 10.0.0.5 >/dev/null &
for _ in 1 2 3 4; do
	ok ctl vnic delete blue/web
	ok ctl vnic create blue/web subnet=front addresses=10.0.0.5,fd00::5 backend=tap netns="$LAB-web" security_groups=web
done
wait $! || true
box web 10.0.0.5/24 fd00::5/64
wait_until 5 "web answers again" inside db ping -c 1 -W 1 10.0.0.5
