# SPDX-License-Identifier: BSD-3-Clause
"""A client of the eswitch's socket in Python, for tests: messages, regions, packet rings and command rings of include/dpu/eswitch_abi.h."""
import array
import mmap
import os
import select
import socket
import struct
import time

HELLO, OPEN_PORT, CLOSE_PORT, LIST_PORTS, REPORT, REPLY, PORT_CHANGED, PORT_GONE = 1, 2, 3, 4, 5, 64, 65, 66
MAGIC, VERSION = 0x77736573, 2
HEAD, INFO = struct.Struct("<IIII256s"), struct.Struct("<256sIBBH6sHQ")
BUFFER, SLOT, RING = 2048, 16, 192
FIELDS, OP, RULE_HEAD = 64, 24, 16
OUTPUT, SET_ETH_DST, SET_TTL = 1, 4, 9
ACTIVE, REFUSED = 1, 2  # REFUSED and above: + the reason


def message_bytes():
    """sizeof(struct eswitch_message): the head, and the largest member of the union (open_port_reply: info and region_bytes)."""
    hello = 4 * 4 + 64 + 256
    reply = 8 + 4 * 2 + 256
    return HEAD.size + (max(hello, reply, INFO.size + 8) + 7) // 8 * 8


class Refused(Exception):
    pass


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        self.socket.connect(path)
        self.number, self.events, self.says_when = 0, [], True

    def send(self, kind, body=b"", sentence=b""):
        self.number += 1
        self.socket.send((HEAD.pack(kind, self.number, 0, 0, sentence) + body).ljust(message_bytes(), b"\0"))

    def hear(self):
        fds = array.array("i")
        data, control, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(64 * 4))
        if not data:
            raise EOFError("dpud has closed the connection")
        for _, _, rights in control:
            fds.frombytes(rights)
        kind, number, status, _, sentence = HEAD.unpack_from(data)
        return kind, number, status, sentence.split(b"\0")[0].decode(), data[HEAD.size:], list(fds)

    def ask(self, kind, body=b""):
        self.send(kind, body)
        while True:
            heard, number, status, sentence, rest, fds = self.hear()
            if heard == REPLY:
                break
            self.events.append((heard, rest))
        if status:
            raise Refused(sentence)
        return rest, fds

    def hello(self, program="test", rings=1, magic=MAGIC, version=VERSION):
        rest, fds = self.ask(HELLO, struct.pack("<IIII64s256s", magic, version, os.getpid(), rings, program.encode(), b""))
        size, self.max_rules, self.rings = struct.unpack_from("<QII", rest)
        self.region, self.wake = mmap.mmap(fds[0], size), fds[1]
        _, _, _, _, workers, _, _, self.states, self.counters = struct.unpack_from("<IIQIIIIQQ", self.region)
        self.workers, self.head = workers, 0
        return self

    def list(self):
        number, names = 0, {}
        while True:
            try:
                rest, _ = self.ask(LIST_PORTS, struct.pack("<I", number))
            except Refused:
                return names
            name, number, kind, up = INFO.unpack_from(rest)[:4]
            names[name.split(b"\0")[0].decode()] = (number, kind, up)

    def open(self, name, slots=256):
        rest, fds = self.ask(OPEN_PORT, struct.pack("<256sHHI", name.encode(), 1, 1, slots))
        return Port(self, INFO.unpack_from(rest)[1], struct.unpack_from("<Q", rest, INFO.size)[0], fds, slots)

    def close(self, port):
        self.ask(CLOSE_PORT, struct.pack("<I", port.number))

    def report(self, what, count, sentence, match=b"", mask=b""):
        """Flows that were refused on this side; not answered."""
        self.send(REPORT, struct.pack("<II64s64s", count, what, match, mask), sentence)

    @property
    def bypass(self):
        return struct.unpack_from("<I", self.region, 48)[0]

    # ---- rules

    def state(self, index):
        word = struct.unpack_from("<I", self.region, self.states + 4 * index)[0]
        return word >> 8, word & 0xff

    def counter(self, index):
        packets = 0
        for worker in range(self.workers):
            packets += struct.unpack_from("<Q", self.region, self.counters + 16 * (worker * self.max_rules + index))[0]
        return packets

    def command(self, code, index, generation, match=b"", mask=b"", ops=()):
        ring = self.region_rings()
        offset, slots = struct.unpack_from("<QI", self.region, ring + 128)
        rule = struct.pack("<IIHHI", index, generation, len(ops), 0, 0) + match.ljust(FIELDS, b"\0") + mask.ljust(FIELDS, b"\0")
        rule += bytes(128) + b"".join(ops)
        size = 8 + RULE_HEAD + 2 * FIELDS + 128 + 24 * OP
        at = offset + (self.head & (slots - 1)) * size
        body = struct.pack("<II", code, time.monotonic_ns() & 0xffffffff if self.says_when else 0) + rule
        self.region[at:at + len(body)] = body
        self.head += 1
        struct.pack_into("<I", self.region, ring, self.head)
        os.write(self.wake, struct.pack("<Q", 1))

    def region_rings(self):
        """struct eswitch_region: 56 bytes of numbers, then rings on their own cache lines."""
        return 64

    def install(self, index, generation, match, mask, ops, seconds=5):
        self.command(1, index, generation, match, mask, ops)
        return self.settle(index, generation, seconds)

    def destroy(self, index, generation, seconds=5):
        self.command(2, index, generation)
        end = time.monotonic() + seconds
        while self.state(index) != (generation, 0):
            if time.monotonic() > end:
                raise TimeoutError(f"rule {index} is not destroyed: {self.state(index)}")
            time.sleep(0.005)

    def settle(self, index, generation, seconds):
        end = time.monotonic() + seconds
        while self.state(index)[0] != generation or self.state(index)[1] == 0:
            if time.monotonic() > end:
                raise TimeoutError(f"rule {index} has no state: {self.state(index)}")
            time.sleep(0.005)
        return self.state(index)[1]


def op(code, port=0, value=0, data=b""):
    return struct.pack("<HHI16s", code, port, value, data)


def fields(in_port=0, eth_dst=b"", eth_type=0, proto=0, ip_src=b"", ip_dst=b"", tp_src=0, tp_dst=0):
    head = struct.pack("<HBB6s6s", in_port, 0, proto, eth_dst, b"") + struct.pack(">HHHBBHHH", eth_type, 0, 0, 0, 0, tp_src, tp_dst, 0)
    return head + bytes(2) + struct.pack("4s4s", ip_src, ip_dst)


class Port:
    """Frames up (take) and down (put) over one queue pair."""

    def __init__(self, client, number, size, fds, slots):
        self.client, self.number, self.slots = client, number, slots
        self.region, self.wakes = mmap.mmap(fds[0], size), fds[1:]
        self.tail = self.head = 0

    def ring(self, from_host):
        at = 64 + RING * from_host
        return at, struct.unpack_from("<QQ", self.region, at + 136)

    def take(self, seconds=3):
        at, (slots, buffers) = self.ring(0)
        end = time.monotonic() + seconds
        while struct.unpack_from("<I", self.region, at)[0] == self.tail:
            if time.monotonic() > end:
                return None
            time.sleep(0.002)
        place = self.tail & (self.slots - 1)
        length = struct.unpack_from("<I", self.region, slots + SLOT * place)[0]
        frame = self.region[buffers + BUFFER * place:buffers + BUFFER * place + length]
        self.tail += 1
        struct.pack_into("<I", self.region, at + 64, self.tail)
        return frame

    def put(self, frame):
        at, (slots, buffers) = self.ring(1)
        place = self.head & (self.slots - 1)
        self.region[buffers + BUFFER * place:buffers + BUFFER * place + len(frame)] = frame
        self.region[slots + SLOT * place:slots + SLOT * (place + 1)] = struct.pack("<II", len(frame), 0).ljust(SLOT, b"\0")
        self.head += 1
        struct.pack_into("<I", self.region, at, self.head)
        os.write(self.wakes[1], struct.pack("<Q", 1))
