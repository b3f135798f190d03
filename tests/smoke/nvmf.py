# SPDX-License-Identifier: BSD-3-Clause
"""A host for the smoke test of the NVMe/TCP target: what a well-behaved and a hostile one get from a running dpud."""
import socket
import struct
import sys
import time

ADDRESS, PORT, NQN = sys.argv[1], int(sys.argv[2]), sys.argv[3]
HOST = sys.argv[4] if len(sys.argv) > 4 else "nqn.2025-01.org.example:smoke"
FABRICS, IN_CAPSULE, TRANSPORT = 0x7F, 0x01, 0x5A


def fail(words):
    sys.exit(f"nvmf.py: {words}")


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sqe(opcode, nsid=0, cid=0, length=0, kind=TRANSPORT, tail=b""):
    head = struct.pack("<BBHIIIQQI3xB", opcode, 0x40, cid, nsid, 0, 0, 0, 0, length, kind)
    return (head + tail).ljust(64, b"\0")


class Queue:
    def __init__(self, digests=0, timeout=5):
        self.digests = digests
        self.link = socket.create_connection((ADDRESS, PORT), timeout)
        self.link.sendall(struct.pack("<BBBBIHBBI112x", 0, 0, 128, 0, 128, 0, 0, digests, 0))
        kind, body = self.receive()
        if kind != 1 or body[3] != digests:
            fail(f"no ICResp but {kind} {body.hex()}")

    def take(self, count):
        data = b""
        while len(data) < count:
            part = self.link.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def receive(self):
        """Type of a PDU and what follows the 8 bytes of its common header."""
        head = self.take(8)
        return head[0], self.take(struct.unpack("<I", head[4:])[0] - 8)

    def send(self, command, data=b"", digest=None):
        flags = 2 if data and self.digests & 2 else 0
        tail = struct.pack("<I", crc32c(data) if digest is None else digest) if flags else b""
        total = 72 + len(data) + len(tail)
        self.link.sendall(struct.pack("<BBBBI", 4, flags, 72, 72 if data else 0, total) + command + data + tail)

    def answer(self):
        """Status and result of the next response, and the data before it."""
        data = b""
        while True:
            kind, body = self.receive()
            if kind == 7:
                data += body[16:]
            elif kind == 5:
                return struct.unpack("<H", body[14:16])[0] >> 1, struct.unpack("<Q", body[:8])[0], data
            else:
                fail(f"PDU of type {kind}")

    def call(self, command, data=b""):
        self.send(command, data)
        return self.answer()

    def connect(self, qid=0, cntlid=0xFFFF, nqn=NQN, kato=0):
        tail = struct.pack("<HHHBxI", 0, qid, 31, 0, kato)
        data = struct.pack("<16sH238x256s256s256x", b"smoke", cntlid, nqn.encode(), HOST.encode())
        command = bytearray(sqe(FABRICS, 1, 0, 1024, IN_CAPSULE, tail))
        status, result, _ = self.call(bytes(command), data)
        return status, result

    def enable(self):
        property_set = struct.pack("<BBHB35xB3xIQ8x", FABRICS, 0x40, 0, 0, 0, 0x14, 0x460001)
        return self.call(property_set)[0]


def pair(digests=0):
    admin = Queue(digests)
    status, result = admin.connect()
    if status:
        return status, admin, None
    if admin.enable():
        fail("the controller does not start")
    io = Queue(digests)
    if io.connect(1, result & 0xFFFF)[0]:
        fail("the I/O queue is refused")
    return 0, admin, io


def good():
    for digests in 0, 2:
        status, admin, io = pair(digests)
        if status:
            fail(f"Connect: {status:x}")
        data = bytes(range(256)) * 16
        blocks = struct.pack("<QI", 16, 7)
        if io.call(sqe(1, 1, 1, 4096, IN_CAPSULE, blocks), data)[0]:
            fail("a write fails")
        status, _, back = io.call(sqe(2, 1, 2, 4096, TRANSPORT, blocks))
        if status or back[:4096] != data:
            fail("what is read is not what was written")
        if digests:
            io.send(sqe(1, 1, 3, 4096, IN_CAPSULE, blocks), bytes(4096), 0x1234)
            if io.answer()[0] != 0x22:
                fail("a wrong data digest is no transient transport error")
            if io.call(sqe(2, 1, 2, 4096, TRANSPORT, blocks))[2][:4096] != data:
                fail("data with a wrong digest was written")


def refused():
    status, _, _ = pair()
    print(f"{status:x}")


def hostile():
    """Each wrong PDU ends its connection with the termination request that names the field, and nothing else."""
    bad = [
        (b"\x04\0\x47\0" + struct.pack("<I", 72), 1, 2),
        (b"\x09\0\x18\0" + struct.pack("<I", 24), 1, 0),
        (b"\0\0\x80\0" + struct.pack("<I", 128), 2, 0),
        (b"\x04\x01\x48\0" + struct.pack("<I", 72), 1, 1),
        (b"\x04\0\x48\0" + struct.pack("<I", 7), 1, 4),
    ]
    for pdu, fes, fei in bad:
        _, _, io = pair()
        io.link.sendall(pdu)
        kind, body = io.receive()
        got = struct.unpack("<HI", body[:6])
        if kind != 3 or got != (fes, fei):
            fail(f"{pdu.hex()}: PDU {kind} with {got}, not {(fes, fei)}")
        try:
            io.receive()
            fail("the connection goes on")
        except (EOFError, ConnectionError):
            pass
    for garbage in b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 4096, b"\0":
        with socket.create_connection((ADDRESS, PORT)) as link:
            link.sendall(garbage)
    good()


def many():
    """Hundreds of connections that do nothing, for as long as the test says."""
    queues = [Queue() for _ in range(200)]
    for queue in queues:
        if queue.connect()[0]:
            fail("Connect is refused")
    print("ready", flush=True)
    time.sleep(60)


def keep_alive():
    admin = Queue(timeout=10)
    if admin.connect(kato=500)[0]:
        fail("Connect is refused")
    try:
        admin.receive()
        fail("a host that falls silent is not ended")
    except (EOFError, ConnectionError):
        pass


def stays():
    """A host that was refused and stays: its connection is ended in ten seconds."""
    begin = time.monotonic()
    _, admin, _ = pair()
    admin.link.settimeout(20)
    try:
        admin.receive()
        fail("a PDU after the refusal")
    except (EOFError, ConnectionError):
        pass
    if not 8 < time.monotonic() - begin < 14:
        fail(f"ended after {time.monotonic() - begin:.1f} s")


{"stays": stays, "good": good, "refused": refused, "hostile": hostile, "many": many, "keep-alive": keep_alive}[sys.argv[5] if len(sys.argv) > 5 else "good"]()
