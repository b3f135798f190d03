# SPDX-License-Identifier: BSD-3-Clause
"""Frames of all kinds, ordinary and odd. A frame is a description; build(serial) makes the bytes, with the serial number as
the last eight of them, so that whoever meets the frame again knows which it was, whatever became of its headers."""
import dataclasses
import ipaddress
import struct

MAGIC = b"\x5d\xd1\xff\xed"
TAIL_BYTES = 8
PORTS = (1, 2, 3, 4, 5, 6, "LOCAL")
JUMBO_PORTS = (4, 6)
UPLINKS = (5, 6)
SMALL_PORTS = (1, 2, 3, 5)
LONGEST = 1506  # of frames that are to pass everywhere, with another tag, too
TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION = 0, 43, 44, 51, 60
FAMILIES = {"tcp": (4, TCP), "udp": (4, UDP), "sctp": (4, SCTP), "icmp": (4, ICMP), "ip": (4, None),
            "tcp6": (6, TCP), "udp6": (6, UDP), "sctp6": (6, SCTP), "icmp6": (6, ICMPV6), "ipv6": (6, None)}


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


class World:
    """Few values, so that rules and frames meet."""
    macs = [f"02:00:00:00:00:{i:02x}" for i in range(1, 8)]
    unknown = "02:00:00:00:99:99"
    groups = ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:05", "33:33:00:00:00:01"]
    vids = [0, 1, 10, 20, 100, 4095]
    ip4 = ["10.0.0.1", "10.0.0.2", "10.0.1.3", "10.1.0.4", "192.0.2.5", "192.0.2.200", "224.0.0.5", "255.255.255.255"]
    ip6 = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::3", "2001:db8:ffff::4", "fe80::5", "ff02::1"]
    l4 = [1, 53, 80, 443, 1000, 1024, 5001, 0x8000, 0xffff]
    ttls = [0, 1, 2, 3, 64, 128, 255]
    toses = [0, 1, 2, 3, 0x10, 0x28, 0xb8, 0xff]
    protos = [2, 47, 50, 89, 255]
    types = [0x88b5, 0x88cc, 0x8847, 0x0805, 0x86dc]
    icmp = [0, 3, 8, 11]
    icmp6 = [1, 128, 129, 134, 135, 136]
    tcp_flags = [0x002, 0x012, 0x010, 0x011, 0x018, 0x004, 0x000, 0x1c2, 0x7ff & 0x0ff]


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def ip_bytes(text):
    if ":" not in text:
        return bytes(int(part) for part in text.split("."))
    head, _, tail = text.partition("::")
    left = [int(x, 16) for x in head.split(":") if x]
    right = [int(x, 16) for x in tail.split(":") if x]
    return struct.pack(">8H", *left, *[0] * (8 - len(left) - len(right)), *right)


@dataclasses.dataclass
class Frame:
    in_port: object = 1
    dst: str = World.macs[0]
    src: str = World.macs[1]
    tags: tuple = ()           # (TPID, TCI), the outermost first
    version: int = 0           # 4, 6; 0: neither
    eth_type: int = 0x88b5     # of the others
    llc: bool = False          # a length in place of the type
    ip_src: str = ""
    ip_dst: str = ""
    tos: int = 0
    ttl: int = 64
    proto: int = UDP
    label: int = 0
    more: bool = False         # more fragments
    offset: int = 0            # of the fragment, in units of 8
    options: bytes = b""       # of IPv4
    extensions: tuple = ()     # of IPv6
    sport: int = 1000          # type, of ICMP
    dport: int = 80            # code
    flags: int = 0x10
    arp_op: int = 1
    payload: int = 20          # bytes before the serial number
    faults: frozenset = frozenset()
    cut: int = 0               # headers end here
    wanted: tuple = ()         # fields that a rule looks at

    @property
    def odd(self):
        """It may lack the headers that a change needs."""
        return bool(self.faults or self.cut or self.payload < 0 or len(self.extensions) > 1 or len(self.tags) > 1)

    @property
    def jumbo(self):
        return self.payload > 1500

    @property
    def alone(self):
        """It does not carry its number, or is too long for some."""
        return self.payload < 0 or self.jumbo

    def build(self, serial):
        tail = MAGIC + struct.pack(">I", serial)
        body = bytes((i * 7 + 3) & 0xff for i in range(max(self.payload, 0)))
        kind, rest = self.network(body + tail)
        tags = b"".join(struct.pack(">HH", tpid, tci) for tpid, tci in self.tags)
        head = mac(self.dst) + mac(self.src) + tags + struct.pack(">H", kind)
        frame = head + rest
        if self.payload < 0:
            return frame[:14 - self.payload - 1]
        if self.cut and len(head) + self.cut < len(frame) - TAIL_BYTES:
            return frame[:len(head) + self.cut] + tail
        if "trailer" in self.faults:  # behind the packet, as padding is
            return frame[:-TAIL_BYTES] + tail + b"\xaa" * 5 + tail
        return frame

    def network(self, data):
        if self.version == 4:
            return 0x0800, self.ipv4(data)
        if self.version == 6:
            return 0x86dd, self.ipv6(data)
        if self.eth_type == 0x0806:
            return 0x0806, struct.pack(">HHBBH", 1, 0x0800, 6, 4, self.arp_op) + mac(self.src) + ip_bytes(self.ip_src) + \
                mac(self.dst) + ip_bytes(self.ip_dst) + data
        if self.llc:
            return len(data) + 8, b"\xaa\xaa\x03\0\0\0" + struct.pack(">H", self.eth_type) + data
        return self.eth_type, data

    def ipv4(self, data):
        upper = data if self.offset else self.upper(data, ip_bytes(self.ip_src) + ip_bytes(self.ip_dst))
        length = 20 + len(self.options)
        total = length + len(upper)
        if "ip-short" in self.faults:
            total = length - 4
        elif "ip-long" in self.faults:
            total += 40
        elif "ip-less" in self.faults:
            total -= TAIL_BYTES
        words = 4 if "ihl" in self.faults else length // 4
        version = 5 if "version" in self.faults else 4
        fragment = (0x2000 if self.more else 0) | self.offset | (0x4000 if "dont" in self.faults else 0)
        head = struct.pack(">BBHHHBBH", version << 4 | words, self.tos, total, 0x1234, fragment, self.ttl, self.proto, 0) + \
            ip_bytes(self.ip_src) + ip_bytes(self.ip_dst) + self.options
        value = checksum(head) ^ (0x0101 if "ip-checksum" in self.faults else 0)
        return head[:10] + struct.pack(">H", value) + head[12:] + upper

    def ipv6(self, data):
        first = self.proto
        upper = data if self.offset else self.upper(data, ip_bytes(self.ip_src) + ip_bytes(self.ip_dst))
        for kind in reversed(self.extensions):
            if kind == FRAGMENT:
                header = struct.pack(">BBHI", first, 0, self.offset << 3 | self.more, 0x12345678)
            elif kind == AH:
                header = struct.pack(">BBHIII", first, 4, 0, 7, 8, 9) + bytes(8)
            else:  # a routing header has no segments left: OVS lets the checksum be where there are some
                header = struct.pack(">BB", first, 0) + (b"\x01\0\0\0\0\0" if kind == ROUTING else b"\x01\x04\0\0\0\0")
            upper, first = header + upper, kind
        length = len(upper) + (40 if "ip-long" in self.faults else -TAIL_BYTES if "ip-less" in self.faults else 0)
        version = 5 if "version" in self.faults else 6
        return struct.pack(">IHBB", version << 28 | self.tos << 20 | self.label, length, first, self.ttl) + \
            ip_bytes(self.ip_src) + ip_bytes(self.ip_dst) + upper

    def upper(self, data, addresses):
        """The upper layer's header and data, with its checksum where one can be known."""
        if self.proto == TCP:
            words = 3 if "tcp-offset" in self.faults else 5
            head, at = struct.pack(">HHIIHHHH", self.sport, self.dport, 7, 9, words << 12 | self.flags, 512, 0, 0), 16
        elif self.proto == UDP:
            head, at = struct.pack(">HHHH", self.sport, self.dport, 8 + len(data), 0), 6
        elif self.proto == SCTP:
            return struct.pack(">HHII", self.sport, self.dport, 1, 0xdeadbeef) + data
        elif self.proto in (ICMP, ICMPV6):
            head, at = struct.pack(">BBHHH", self.sport & 0xff, self.dport & 0xff, 0, 1, 2), 2
            if self.proto == ICMPV6 and self.sport in (135, 136):
                head = head[:4] + bytes(4) + ip_bytes(World.ip6[0]) + b"\x01\x01" + mac(World.macs[2])
            addresses = addresses if self.proto == ICMPV6 else b""
        else:
            return data
        pseudo = addresses + struct.pack(">HH", self.proto, len(head) + len(data)) if addresses else b""
        value = checksum(pseudo + head + data)
        if "checksum" in self.faults:
            value ^= 0x1111
        elif "checksum-ones" in self.faults:
            value = 0xffff
        elif "no-checksum" in self.faults:
            value = 0
        elif self.proto == UDP:
            value = value or 0xffff
        return head[:at] + struct.pack(">H", value) + head[at + 2:] + data


def without_checksum(data):
    """A later fragment of IPv4 without the two bytes that OVS takes for a checksum when it sets addresses or ports, though they
    are data; the engine leaves them alone."""
    l3 = 12
    while data[l3:l3 + 2] in (b"\x81\0", b"\x88\xa8"):
        l3 += 4
    l3 += 2
    if len(data) < l3 + 20 or data[l3 + 9] not in (TCP, UDP):
        return data
    at = l3 + (data[l3] & 15) * 4 + (16 if data[l3 + 9] == TCP else 6)
    return data[:at] + b"\0\0" + data[at + 2:]


def tag(rng, world):
    return (rng.choice([0x8100, 0x8100, 0x8100, 0x88a8]),
            rng.choice(world.vids) | rng.choice([0, 0, 3, 5, 7]) << 13 | (rng.random() < 0.1) << 12)


def make(rng, world, hint):
    """A frame that has what hint says, for a rule that should see it; the rest is drawn."""
    family = hint.get("family") or rng.choice(list(FAMILIES) + ["tcp", "udp", "arp", "other"])
    version, proto = FAMILIES.get(family, (0, None))
    addresses = world.ip6 if version == 6 else world.ip4
    icmp = world.icmp if proto == ICMP else world.icmp6
    frame = Frame(
        in_port=hint.get("in_port") or rng.choice(PORTS), dst=hint.get("dl_dst") or rng.choice(world.macs + world.groups),
        src=hint.get("dl_src") or rng.choice(world.macs), version=version, ip_src=hint.get("src") or rng.choice(addresses),
        ip_dst=hint.get("dst") or rng.choice(addresses), tos=hint.get("tos", rng.choice(world.toses)),
        ttl=hint.get("ttl", rng.choice(world.ttls)), arp_op=rng.choice([1, 2]),
        proto=proto or hint.get("proto") or rng.choice(world.protos + [TCP, UDP, SCTP, ICMPV6 if version == 6 else ICMP]),
        flags=hint.get("flags", rng.choice(world.tcp_flags)), payload=rng.choice([0, 1, 18, 100, 101, 700]),
        eth_type=0x0806 if family == "arp" else hint.get("eth_type") or rng.choice(world.types))
    names = {"dl_dst": "dst", "src": "ip_src", "dst": "ip_dst", "tci": "tags"}
    frame.wanted = tuple(names.get(field, field) for field in hint
                         if field in ("sport", "dport", "ttl", "tos", "flags", *names) and (field != "tci" or hint["tci"]))
    ports = icmp if frame.proto in (ICMP, ICMPV6) else world.l4
    frame.sport = hint.get("sport", rng.choice(ports))
    frame.dport = hint.get("dport", rng.choice([0, 1, 4] if ports is icmp else ports))
    tagged = hint.get("tci", rng.random() < 0.25)
    if tagged is not False:
        first = tag(rng, world) if tagged is True else (rng.choice([0x8100, 0x8100, 0x88a8]), tagged)
        more = rng.choice([0, 0, 0, 1, 1, 2])
        frame.tags = (first, *(tag(rng, world) for _ in range(more)))
    if rng.random() < 0.3:
        make_near(rng, frame)
    make_fragment(rng, frame, hint.get("fragment"))
    if rng.random() < 0.3:
        make_odd(rng, frame)
    if frame.payload < 0 and frame.tags and frame.in_port in UPLINKS:
        frame.tags = ()  # the kernel drops what is no whole tag
    if frame.jumbo and frame.in_port not in JUMBO_PORTS:
        frame.payload = 1200
    if not frame.jumbo:
        frame.payload -= max(0, len(frame.build(0)) - LONGEST)
    return frame


def make_near(rng, frame):
    """One bit differs from what a rule may want: a bit that is easily forgotten rather than another."""
    field = rng.choice(frame.wanted or ["sport", "dport", "ttl", "tos", "flags", "dst", "ip_src", "ip_dst", "tags"])

    def flipped(value, bits):
        return value ^ 1 << rng.choice([0, bits - 1, rng.randrange(bits), rng.randrange(bits)])

    if field in ("sport", "dport", "ttl", "tos", "flags"):
        narrow = field in ("ttl", "tos", "flags") or frame.proto in (ICMP, ICMPV6)
        setattr(frame, field, flipped(getattr(frame, field), 8 if narrow else 16))
    elif field == "dst":
        frame.dst = flipped(int(frame.dst.replace(":", ""), 16), 40).to_bytes(6, "big").hex(":")
    elif field == "tags" and frame.tags:
        frame.tags = ((frame.tags[0][0], flipped(frame.tags[0][1], 16)), *frame.tags[1:])
    elif field in ("ip_src", "ip_dst"):
        address = ipaddress.ip_address(getattr(frame, field))
        value = flipped(int(address), address.max_prefixlen)
        setattr(frame, field, ipaddress.ip_address(value.to_bytes(len(address.packed), "big")).compressed)


def make_fragment(rng, frame, fragment):
    if fragment is None:
        fragment = rng.choice(["no"] * 8 + ["first", "later"])
    if frame.version and fragment != "no":
        frame.more, frame.offset = rng.choice([(True, 0)] if fragment == "first" else [(True, 10), (False, 185)])
        frame.payload = max(frame.payload, 24)
        if frame.version == 6:
            frame.extensions = (FRAGMENT,)


def make_odd(rng, frame):
    common = ["cut", "trailer", "checksum", "checksum-ones", "no-checksum", "tcp-offset", "runt", "jumbo", "full"]
    if frame.version == 4:
        kind = rng.choice(common + ["options", "ip-checksum", "ip-short", "ip-long", "ip-less", "ihl", "version", "dont"])
    elif frame.version == 6:
        kind = rng.choice(common + ["extensions", "extensions", "ip-long", "ip-less", "version", "label", "atomic"])
    else:
        kind = rng.choice(["llc", "runt", "jumbo", "full", "cut", "trailer"])
    if kind == "options":
        frame.options = b"\x01" * rng.choice([4, 20, 40])
    elif kind == "extensions":
        frame.extensions = tuple(rng.choice([HOP_BY_HOP, ROUTING, AH, DESTINATION]) for _ in range(rng.choice([1, 2, 9]))) + \
            frame.extensions
    elif kind == "atomic":
        frame.extensions, frame.more, frame.offset = (FRAGMENT,), False, 0
    elif kind == "label":
        frame.label = rng.choice([1, 0xfffff])
    elif kind == "cut":
        frame.cut, frame.payload = rng.randrange(1, 64), max(frame.payload, 100)
    elif kind == "runt":
        frame.payload = -rng.randrange(1, 9)
    elif kind == "jumbo":
        frame.payload = rng.randrange(2000, 8800)
    elif kind == "full":
        frame.payload = 1500 - 140
    elif kind == "llc":
        frame.llc = True
    else:
        frame.faults = frozenset([kind])
