#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `dpuctl why`: each decision about a packet and the rule that made it, from addresses and ports, from a frame in hexadecimal and from
# a capture file; and it is right, as real packets show.
set -euo pipefail
. "$(dirname "$0")/common.sh"
lab_begin why
for name in a web db; do lab_netns $name; done
lab_dpud m a "${small[@]}" --workers 2
cat >"$LAB_DIR/net.yaml" <<YAML
version: 1
tenants: [{name: blue}]
ports: [{name: up, device: "tap:up0"}]
underlays: [{name: fabric, port: up, address: 192.0.2.1, prefix_length: 24}]
vpcs: [{name: main, tenant: blue, vni: 1, underlay: fabric}]
subnets: [{name: front, tenant: blue, vpc: main, prefix_v4: 10.0.0.0/24, prefix_v6: "fd00::/64"}]
security_groups: [{name: web, tenant: blue}]
security_group_rules:
  - {name: web-http, tenant: blue, group: web, direction: ingress, protocol: tcp, port_range_min: 80}
  - {name: web-out, tenant: blue, group: web, direction: egress, protocol: icmp}
vnics:
  - {name: web, tenant: blue, subnet: front, addresses: [10.0.0.5, "fd00::5"], mac: "02:00:00:00:00:05", backend: tap, netns: $LAB-web, security_groups: [web]}
  - {name: db, tenant: blue, subnet: front, addresses: [10.0.0.6, "fd00::6"], mac: "02:00:00:00:00:06", backend: tap, netns: $LAB-db}
routes:
  - {name: hole, tenant: blue, vpc: main, prefix: 10.66.0.0/16, kind: drop}
mappings:
  - {name: far, tenant: blue, vpc: main, address: 10.0.0.9, mac: "02:00:00:00:00:09", vtep: 192.0.2.9}
YAML
ctl apply -f "$LAB_DIR/net.yaml" >/dev/null
box web 10.0.0.5/24 fd00::5/64
box db 10.0.0.6/24 fd00::6/64

# says VERDICT REASON WORDS...: what `why` says of a packet, in a table; its words.
says() {
	local verdict=$1 reason=$2 words=$3 text
	shift 3
	text=$(ctl why "$@") || lab_fail "why $*"
	[[ $text == *verdict*"$verdict"* && $text == *"$reason"* && $text == *"$words"* ]] ||
		lab_fail "why $* has not '$verdict', '$reason' and '$words':"$'\n'"$text"
}
decided() { # REASON ARGUMENT...
	local reason=$1
	shift
	same "why $*" "$(ctl -o json why "$@" | json "d['reason']")" "$reason"
}
says forward none web-http vnic=blue/db dst=10.0.0.5 protocol=tcp dst_port=80
says drop ingress-denied "no ingress rule of the security groups of vNIC blue/web allows tcp port 22 from 10.0.0.6" vnic=blue/db dst=10.0.0.5 dst_port=22
says drop egress-denied "no egress rule of the security groups of vNIC blue/web allows tcp port 80 to 10.0.0.6" vnic=blue/web dst=10.0.0.6 dst_port=80
says drop no-route "no subnet and no route of VPC blue/main covers 172.16.0.1" vnic=blue/db dst=172.16.0.1
says drop route-drop "route 10.66.0.0/16 covers 10.66.1.1 and says drop" vnic=blue/db dst=10.66.1.1
says drop no-mapping "nobody has 10.0.0.77" vnic=blue/db dst=10.0.0.77
says drop spoofed-address "source 10.0.0.99 is none of the addresses of vNIC blue/db" vnic=blue/db src=10.0.0.99 dst=10.0.0.5
says drop dhcp-server "UDP from port 67 to 68 is a DHCP server's" vnic=blue/db dst=10.0.0.5 protocol=udp src_port=67 dst_port=68
says drop dhcp-server "UDP from port 547 to 546 is a DHCP server's" vnic=blue/db dst=fd00::5 protocol=udp src_port=547 dst_port=546
says forward none "behind VTEP 192.0.2.9" vnic=blue/db dst=10.0.0.9 protocol=udp dst_port=53
says drop spoofed-tunnel "10.0.0.9 lives behind VTEP 192.0.2.9, the packet came from VTEP 192.0.2.8" vpc=blue/main vtep=192.0.2.8 src=10.0.0.9 dst=10.0.0.6
says forward none "goes to vNIC blue/db" vpc=blue/main vtep=192.0.2.9 src=10.0.0.9 dst=10.0.0.6
says drop ingress-denied "icmpv6 type 128 code 0" vnic=blue/db dst=fd00::5 protocol=icmpv6
says answer service-handled "its first-hop service answers" vnic=blue/db dst=10.0.0.1 protocol=icmp
# A name too long for its place is cut between characters, and no step is lost.
long=x$(printf 'ä%.0s' {1..30})
ok ctl vnic create "blue/$long" subnet=front addresses=10.0.0.50
same "steps of a long name" "$(ctl -o json why "vnic=blue/$long" dst=10.0.0.6 | json "' '.join(s['decision'] for s in d['steps'])")" "input source route destination egress ingress output"
has 1 "must be given" ctl why vnic=blue/db
has 1 "there is no vnic" ctl why vnic=blue/nobody dst=10.0.0.5

# ---- a frame in hexadecimal, and out of the capture files that tcpdump and Wireshark write
/usr/bin/python3 - "$LAB_DIR" <<'PY'
import sys
from scapy.all import ARP, IP, TCP, UDP, Dot1Q, Ether, PcapNgWriter, wrpcap
web, db = "02:00:00:00:00:05", "02:00:00:00:00:06"
frames = [
    Ether(src=db, dst=web) / IP(src="10.0.0.6", dst="10.0.0.5") / TCP(sport=40000, dport=80, flags="S"),
    Ether(src="02:66:66:66:66:66", dst=web) / IP(src="10.0.0.6", dst="10.0.0.5") / TCP(sport=40000, dport=80, flags="S"),
    Ether(src=db, dst=web) / IP(src="10.0.0.6", dst="10.0.0.5") / UDP(sport=1, dport=2) / ("x" * 1000),
    Ether(src=db, dst=web) / IP(src="10.0.0.6", dst="10.0.0.5") / TCP(sport=40000, dport=80, flags="A"),
    Ether(src=db, dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="10.0.0.6", pdst="10.0.0.5"),
    Ether(src=db, dst=web) / Dot1Q(vlan=7) / IP(src="10.0.0.6", dst="10.0.0.5") / UDP(sport=1, dport=2),
]
wrpcap(f"{sys.argv[1]}/frames.pcap", frames)
writer = PcapNgWriter(f"{sys.argv[1]}/frames.pcapng")
for frame in frames:
    writer.write(frame)
writer.close()
with open(f"{sys.argv[1]}/frame.hex", "w") as file:
    file.write(bytes(frames[0]).hex(" ") + "\n")
PY
decided none vnic=blue/db packet="$(cat "$LAB_DIR/frame.hex")"
decided none vnic=blue/db packet="@$LAB_DIR/frame.hex"
for file in frames.pcap frames.pcapng; do
	decided none vnic=blue/db packet="@$LAB_DIR/$file"
	decided none vnic=blue/db packet="@$LAB_DIR/$file:1"
	decided spoofed-mac vnic=blue/db packet="@$LAB_DIR/$file:2"
	decided ingress-denied vnic=blue/db packet="@$LAB_DIR/$file:3"
	check 1 "dpuctl: packet: $LAB_DIR/$file has 6 packets, and no packet 7" ctl why vnic=blue/db packet="@$LAB_DIR/$file:7"
done
check 1 "dpuctl: packet: $LAB_DIR/none cannot be opened: No such file or directory" ctl why vnic=blue/db packet="@$LAB_DIR/none"
head -c 60 "$LAB_DIR/frames.pcap" >"$LAB_DIR/half.pcap"
check 1 "dpuctl: packet: $LAB_DIR/half.pcap is damaged: it ends within a packet" ctl why vnic=blue/db packet="@$LAB_DIR/half.pcap"
decided truncated vnic=blue/db packet=0200000000
decided tcp-invalid vnic=blue/db packet="@$LAB_DIR/frames.pcap:4"
says answer service-handled "ARP" vnic=blue/db packet="@$LAB_DIR/frames.pcap:5"
decided vlan-tagged vnic=blue/db packet="@$LAB_DIR/frames.pcap:6"
has 1 "must be pairs of hexadecimal digits" ctl why vnic=blue/db packet=xyz

# ---- real packets end as foretold
inside web nc -d -l 80 &
lab_pids+=($!)
inside web nc -d -l 22 &
lab_pids+=($!)
wait_until 5 "a listener" inside web sh -c "ss -ltn | grep -q :22"
before=$(dropped ingress-denied)
inside db timeout 1 nc -z -w 1 10.0.0.5 22 && lab_fail "port 22 is open"
more "ingress-denied" "$(dropped ingress-denied)" $((before + 1))
inside db timeout 3 nc -z -w 2 10.0.0.5 80 || lab_fail "port 80 is closed"
says forward none "hits this session" vnic=blue/db dst=10.0.0.5 src_port="$(ctl -o json session list vnic=blue/db port=80 | json "d['sessions'][0]['source_port']")" dst_port=80
ctl security_group_rule delete blue/web-http
says drop ingress-denied "policy again" vnic=blue/db dst=10.0.0.5 src_port="$(ctl -o json session list vnic=blue/db port=80 | json "d['sessions'][0]['source_port']")" dst_port=80

# ---- each vNIC tells its own drops, and who serves its queues
has 0 "ingress-denied=" ctl vnic show blue/db
has 0 "0: worker " ctl vnic show blue/db
[ "$(ctl vnic show blue/web -o json | json "[row for row in d['drop_reasons'] if row.startswith('ingress')]")" = "[]" ] ||
	lab_fail "a drop is counted for the wrong vNIC"
