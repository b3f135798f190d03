#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Captures as tshark reads them: what each stage shows of packets that hit sessions, in VXLAN and Geneve, IPv4 and IPv6; filters, limits,
# several at once; a dpud that is killed meanwhile, a disk that is full, names that are no files.
set -euo pipefail
. "$(dirname "$0")/common.sh"
command -v tshark >/dev/null || { echo "skipped: needs tshark" >&2; exit 77; }
lab_begin capture
for name in a b near far; do lab_netns $name; done
lab_veth a up0 b up0
folder=/mnt
mount -t tmpfs -o size=4m none "$folder"
lab_dpud m a "${small[@]}" --workers 2 --capture-dir "$folder"
lab_dpud far b "${small[@]}"

# Both sides: VPC vx in VXLAN over IPv4 in VLAN 12, VPC gn in Geneve over IPv6.
side() { # OWN-NUMBER PEER-NUMBER NAMESPACE
	cat <<-YAML
		version: 1
		tenants: [{name: blue}]
		ports: [{name: up, device: "af_packet:up0", mtu: 1600}]
		underlays:
		  - {name: four, port: up, address: 192.0.2.$1, prefix_length: 24, vlan: 12}
		  - {name: six, port: up, address: "2001:db8::$1", prefix_length: 64}
		vpcs:
		  - {name: vx, tenant: blue, vni: 71, underlay: four}
		  - {name: gn, tenant: blue, vni: 72, underlay: six, encapsulation: geneve}
		subnets:
		  - {name: vx, tenant: blue, vpc: vx, prefix_v4: 10.1.0.0/24, prefix_v6: "fd01::/64"}
		  - {name: gn, tenant: blue, vpc: gn, prefix_v4: 10.2.0.0/24, prefix_v6: "fd02::/64"}
		vnics:
		  - {name: vx, tenant: blue, subnet: vx, addresses: [10.1.0.1$1, "fd01::1$1"], mac: "02:00:00:00:01:1$1", backend: tap, tap_name: vx, netns: $LAB-$3}
		  - {name: gn, tenant: blue, subnet: gn, addresses: [10.2.0.1$1, "fd02::1$1"], mac: "02:00:00:00:02:1$1", backend: tap, tap_name: gn, netns: $LAB-$3}
		mappings:
		  - {name: vx4, tenant: blue, vpc: vx, address: 10.1.0.1$2, mac: "02:00:00:00:01:1$2", vtep: 192.0.2.$2}
		  - {name: vx6, tenant: blue, vpc: vx, address: "fd01::1$2", mac: "02:00:00:00:01:1$2", vtep: 192.0.2.$2}
		  - {name: gn4, tenant: blue, vpc: gn, address: 10.2.0.1$2, mac: "02:00:00:00:02:1$2", vtep: "2001:db8::$2"}
		  - {name: gn6, tenant: blue, vpc: gn, address: "fd02::1$2", mac: "02:00:00:00:02:1$2", vtep: "2001:db8::$2"}
	YAML
}
side 1 2 near >"$LAB_DIR/near.yaml"
side 2 1 far >"$LAB_DIR/far.yaml"
ctl apply -f "$LAB_DIR/near.yaml" >/dev/null
dpu far apply -f "$LAB_DIR/far.yaml" >/dev/null
addresses() { # NAMESPACE NUMBER
	local net
	for net in 1 2; do
		local dev=vx
		[ $net = 1 ] || dev=gn
		wait_until 10 "$dev of $1" inside "$1" ip link show $dev
		inside "$1" ip link set $dev up
		inside "$1" ip address add "10.$net.0.1$2/24" dev $dev
		inside "$1" ip address add "fd0$net::1$2/64" dev $dev nodad
	done
}
addresses near 1
addresses far 2
for name in vx gn; do inside far ethtool -K $name tx off >/dev/null; done
flows=(10.1.0.12 fd01::12 10.2.0.12 fd02::12)
for address in "${flows[@]}"; do wait_until 10 "ping $address" inside near ping -c 1 -W 1 "$address"; done

# One flow for each of the four, kept open, so that what follows hits their sessions.
inside far /usr/bin/python3 -c '
import socket
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as link:
    link.bind(("::", 7000))
    while True:
        data, sender = link.recvfrom(2000)
        link.sendto(data, sender)' &
lab_pids+=($!)
wait_until 5 "the echo server" inside far sh -c "ss -uln | grep -q :7000"
exchange() { # COUNT [BYTES [ADDRESS...]]: so many datagrams to each and their echoes
	inside near /usr/bin/python3 - "$@" <<'PY'
import socket, sys
count, size = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100
for address in sys.argv[3:] or ["10.1.0.12", "fd01::12", "10.2.0.12", "fd02::12"]:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(5)
        link.bind(("", 5000))
        for _ in range(count):
            link.sendto(b"x" * size, (address, 7000))
            link.recv(2000)
PY
}
exchange 1

capture() { # FILE ARGUMENT...: starts one; its number
	local file=$1
	shift
	ctl -o json capture start file="$file" "$@" | json "d['id']"
}
state() { ctl -o json capture list | json "next(c['$2'] for c in d['captures'] if c['id'] == $1)"; }
stop() { ctl -o json capture stop "$1" >"$LAB_DIR/stopped"; }
# counts FILE COUNT FILTER [COUNT FILTER...]: so many frames match; one run of tshark for all.
counts() {
	local file=$1 stat=io,stat,0 wanted=() filters=() got i
	shift
	while [ $# -gt 0 ]; do
		wanted+=("$1") filters+=("$2") stat+=",$2"
		shift 2
	done
	tshark -n -q -r "$folder/$file" -z "$stat" >"$LAB_DIR/table" 2>"$LAB_DIR/tshark.err" || lab_fail "tshark of $file: $(cat "$LAB_DIR/tshark.err")"
	# Frames of one instant have no interval, and so no row: they are counted filter by filter.
	if ! grep -q '<>' "$LAB_DIR/table"; then
		for i in "${!wanted[@]}"; do
			same "$file: ${filters[i]}" "$(tshark -n -r "$folder/$file" -Y "${filters[i]}" 2>/dev/null | wc -l)" "${wanted[i]}"
		done
		return
	fi
	# The table's last row: the interval, then frames and bytes for each filter.
	IFS='|' read -ra got < <(grep '^|' "$LAB_DIR/table" | tail -1 | cut -d '|' -f 3-)
	for i in "${!wanted[@]}"; do same "$file: ${filters[i]}" "$((got[2 * i]))" "${wanted[i]}"; done
}

# ---- each stage, at every place at once
one=$(capture all.pcapng stages=rx,decap,miss,drop,tx)
exchange 5
stop "$one"
same "packets that the capture missed" "$(json "d['missed']" <"$LAB_DIR/stopped")" 0
out='udp.dstport == 7000' in='udp.srcport == 7000'
at() { echo "frame.interface_name == \"$1\""; }
# What the guests send, as it comes. What goes out: encapsulated, from our endpoint to theirs, the guest's frame inside. What comes
# back: with the outer headers at the uplink, without at decap, and so at the guest.
counts all.pcapng \
	10 "$(at rx) && frame.comment == \"interface blue/vx\" && !vxlan && $out && eth.src == 02:00:00:00:01:11" \
	10 "$(at rx) && frame.comment == \"interface blue/gn\" && !geneve && $out && eth.src == 02:00:00:00:02:11" \
	10 "$(at tx) && frame.comment == \"interface up\" && vlan.id == 12 && vxlan.vni == 71 && ip.src == 192.0.2.1 && ip.dst == 192.0.2.2 && $out" \
	10 "$(at tx) && frame.comment == \"interface up\" && geneve.vni == 72 && ipv6.src == 2001:db8::1 && ipv6.dst == 2001:db8::2 && $out" \
	5 "$(at tx) && vxlan && ipv6.src == fd01::11 && $out" \
	5 "$(at tx) && geneve && ip.src == 10.2.0.11 && $out" \
	10 "$(at rx) && frame.comment == \"interface up\" && vlan.id == 12 && vxlan.vni == 71 && ip.src == 192.0.2.2 && $in" \
	10 "$(at rx) && frame.comment == \"interface up\" && geneve.vni == 72 && ipv6.src == 2001:db8::2 && $in" \
	10 "$(at decap) && $in && eth.src == 02:00:00:00:01:12 && !vxlan" \
	10 "$(at decap) && $in && eth.src == 02:00:00:00:02:12 && !geneve" \
	0 "$(at decap) && frame.comment != \"interface up\"" \
	10 "$(at tx) && frame.comment == \"interface blue/vx\" && $in && eth.dst == 02:00:00:00:01:11 && !vxlan" \
	10 "$(at tx) && frame.comment == \"interface blue/gn\" && $in && eth.dst == 02:00:00:00:02:11 && !geneve"
# Checksums are those of the sender, where it has not left them to its interface: right at every stage.
same "wrong checksums" "$(tshark -n -r "$folder/all.pcapng" -o ip.check_checksum:TRUE -o udp.check_checksum:TRUE -2 -R "$in" \
	-Y 'udp.checksum.status == "Bad" || ip.checksum.status == "Bad"' 2>/dev/null | wc -l)" 0
# A hit misses nothing and drops nothing.
counts all.pcapng 0 "($(at miss) || $(at drop)) && ($out || $in)"

# ---- the policy path sees the first one of each flow, and what it drops
one=$(capture miss.pcapng stages=miss,drop)
ctl session clear >/dev/null
exchange 3
inside near ip neighbour add 10.1.0.99 lladdr 02:00:00:00:01:99 dev vx nud permanent
inside near ping -q -c 2 -i 0.2 -W 0.2 10.1.0.99 >/dev/null || :
inside near ip address add 10.1.0.55/24 dev vx
inside near ping -q -c 1 -W 0.2 -I 10.1.0.55 10.1.0.12 >/dev/null || :
stop "$one"
counts miss.pcapng \
	4 "$(at miss) && $out" \
	0 "$(at miss) && $in" \
	2 "$(at drop) && frame.comment contains \"interface blue/vx\" && frame.comment contains \"dropped: no-mapping\" && icmp && ip.dst == 10.1.0.99" \
	1 "$(at drop) && frame.comment contains \"interface blue/vx\" && frame.comment contains \"dropped: spoofed-address\" && ip.src == 10.1.0.55"
inside near ip address del 10.1.0.55/24 dev vx

# ---- several at once, each with a filter of its own; one more is one too many
numbers=()
numbers+=("$(capture vnic.pcapng vnic=blue/vx)")
numbers+=("$(capture port.pcapng port=up)")
numbers+=("$(capture vpc.pcapng vpc=blue/gn)")
numbers+=("$(capture address.pcapng address=fd02::12)")
numbers+=("$(capture vtep.pcapng address=192.0.2.2)")
numbers+=("$(capture protocol.pcapng protocol=icmp stages=rx vnic=blue/vx)")
numbers+=("$(capture transport.pcapng transport_port=7000 stages=rx vnic=blue/gn)")
numbers+=("$(capture inner.pcapng stages=decap address=10.1.0.12)")
check 1 "dpuctl: 8 captures run already; stop one" ctl capture start file=ninth.pcapng
exchange 2
inside near ping -q -c 1 -W 1 10.1.0.12 >/dev/null
for one in "${numbers[@]}"; do stop "$one"; done
counts vnic.pcapng \
	0 "frame.comment != \"interface blue/vx\"" \
	8 "udp.port == 7000"
counts port.pcapng \
	0 "frame.comment != \"interface up\"" \
	16 "udp.port == 7000 && (vxlan || geneve)"
counts vpc.pcapng \
	0 "frame.comment != \"interface blue/gn\"" \
	8 "udp.port == 7000"
counts address.pcapng \
	4 "ipv6.addr == fd02::12" \
	4 "frame"
counts vtep.pcapng \
	0 "!vxlan && !arp && !icmp" \
	8 "vxlan && udp.port == 7000"
same "protocol.pcapng" "$(tshark -n -r "$folder/protocol.pcapng" -Y icmp 2>/dev/null | wc -l)" 1
counts transport.pcapng 4 "frame"
counts inner.pcapng \
	2 "udp.srcport == 7000" \
	0 "ip.addr != 10.1.0.12"

# ---- limits
one=$(capture packets.pcapng packets=3 vnic=blue/vx transport_port=7000)
exchange 4
wait_until 5 "it ends by packets" is "as many packets as asked for" state "$one" ended
counts packets.pcapng 3 "frame"
one=$(capture seconds.pcapng seconds=1)
wait_until 5 "it ends by time" is "as long as asked for" state "$one" ended
one=$(capture bytes.pcapng max_bytes=4096 snaplen=1600 vnic=blue/vx)
exchange 8 1000 10.1.0.12
wait_until 5 "it ends by size" is "the file is as large as allowed" state "$one" ended
more "bytes" "$(state "$one" bytes)" 4096
one=$(capture snap.pcapng snaplen=64 vnic=blue/vx transport_port=7000 packets=2)
exchange 1 1000 10.1.0.12
wait_until 5 "it ends" is "as many packets as asked for" state "$one" ended
same "what is kept and how long it was" "$(tshark -n -r "$folder/snap.pcapng" -T fields -e frame.cap_len -e frame.len 2>/dev/null | sort -u)" $'64\t1042'

# ---- what is no file of its own
mkfifo "$folder/pipe"
ln -s /dev/null "$folder/link"
mkdir "$folder/folder"
has 1 "file: $folder/pipe cannot be made: No such device or address" ctl capture start file=pipe
cat "$folder/pipe" >/dev/null & # its reader
lab_pids+=($!)
sleep 0.2
has 1 "names something in the capture directory that is no file" ctl capture start file=pipe
has 1 "file: $folder/link cannot be made: " ctl capture start file=link
has 1 "file: $folder/folder cannot be made: Is a directory" ctl capture start file=folder
has 1 "must be a file name without '/'" ctl capture start file=../outside.pcapng
one=$(capture twice.pcapng)
check 1 "dpuctl: capture-start.file: is being written by capture $one" ctl capture start file=twice.pcapng
stop "$one"
one=$(capture twice.pcapng)
stop "$one"

# ---- the disk is full: the capture ends and says why, traffic goes on
rm "$folder"/*.pcapng
one=$(capture full.pcapng)
dd if=/dev/zero of="$folder/filler" bs=64k status=none 2>/dev/null || :
exchange 30 1000 10.1.0.12
wait_until 5 "it ends" is "the disk is full" state "$one" ended
exchange 1
has 1 "cannot be written: No space left on device" ctl capture start file=more.pcapng
rm "$folder/filler"
one=$(capture again.pcapng transport_port=7000 vnic=blue/vx packets=4)
exchange 1
wait_until 5 "there is room again" is "as many packets as asked for" state "$one" ended
counts again.pcapng 4 "frame"

# ---- dpud is killed: what was taken until then is there, whole; and it is stopped in good order
one=$(capture killed.pcapng transport_port=7000 vnic=blue/vx)
exchange 5 100 10.1.0.12
wait_until 5 "they are taken" is 10 state "$one" packets
lab_dpud_kill m
wait_until 30 "dpud is back" ctl version
counts killed.pcapng 10 "frame"
same "captures of the next dpud" "$(ctl -o json capture list | json "len(d['captures'])")" 0
wait_until 10 "traffic after it" inside near ping -c 1 -W 1 10.1.0.12
one=$(capture ended.pcapng transport_port=7000 vnic=blue/vx)
exchange 5 100 10.1.0.12
lab_dpud_stop m
counts ended.pcapng 10 "frame"
