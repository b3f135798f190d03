# SPDX-License-Identifier: BSD-3-Clause
"""A host of NVMe over TCP in Python, for tests: connections, commands, what is wrong on purpose."""
import socket
import struct

FABRICS, WRITE, READ, IN_CAPSULE, TRANSPORT = 0x7F, 0x01, 0x02, 0x01, 0x5A


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


class Host:
    """Who connects, and to what."""
    def __init__(self, address, port, nqn, name, ident=b"smoke"):
        self.place, self.nqn, self.name, self.ident = (address, port), nqn, name, ident

    def pair(self, digests=0):
        """Status of Connect, an admin queue and an I/O queue."""
        admin = Queue(self, digests)
        status, result = admin.connect()
        if status:
            return status, admin, None
        if admin.enable():
            raise AssertionError("the controller does not start")
        io = Queue(self, digests)
        if io.connect(1, result & 0xFFFF)[0]:
            raise AssertionError("the I/O queue is refused")
        return 0, admin, io


class Queue:
    def __init__(self, host, digests=0, timeout=5):
        self.host, self.digests = host, digests
        self.link = socket.create_connection(host.place, timeout)
        self.link.sendall(struct.pack("<BBBBIHBBI112x", 0, 0, 128, 0, 128, 0, 0, digests, 0))
        kind, body = self.receive()
        if kind != 1 or body[3] != digests:
            raise AssertionError(f"no ICResp but {kind} {body.hex()}")

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
        body = self.take(struct.unpack("<I", head[4:])[0] - 8)
        return head[0], body[:16] + body[head[3] - 8:] if head[0] == 7 else body

    def send(self, command, data=b"", digest=None, header_digest=None):
        flags = self.digests & (3 if data else 1)
        end = 76 if flags & 1 else 72
        tail = struct.pack("<I", crc32c(data) if digest is None else digest) if flags & 2 else b""
        head = struct.pack("<BBBBI", 4, flags, 72, end if data else 0, end + len(data) + len(tail)) + command
        if flags & 1:
            head += struct.pack("<I", crc32c(head) if header_digest is None else header_digest)
        self.link.sendall(head + data + tail)

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
                raise AssertionError(f"PDU of type {kind}")

    def call(self, command, data=b""):
        self.send(command, data)
        return self.answer()

    def connect(self, qid=0, cntlid=0xFFFF, kato=0):
        tail = struct.pack("<HHHBxI", 0, qid, 31, 0, kato)
        data = struct.pack("<16sH238x256s256s256x", self.host.ident, cntlid, self.host.nqn.encode(), self.host.name.encode())
        command = bytearray(sqe(FABRICS, 1, 0, 1024, IN_CAPSULE, tail))
        status, result, _ = self.call(bytes(command), data)
        return status, result

    def enable(self):
        property_set = struct.pack("<BBHB35xB3xIQ8x", FABRICS, 0x40, 0, 0, 0, 0x14, 0x460001)
        return self.call(property_set)[0]
