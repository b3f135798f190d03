# SPDX-License-Identifier: BSD-3-Clause
"""A host for the smoke test of the NVMe/TCP target: what a well-behaved and a hostile one get from a running dpud."""
import fcntl
import socket
import struct
import sys
import time

from nvmf_client import IN_CAPSULE, TRANSPORT, Host, Queue, sqe

ME = Host(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else "nqn.2025-01.org.example:smoke")
ME.ident = ME.name[-16:].encode()


def fail(words):
    sys.exit(f"nvmf.py: {words}")


def good():
    for digests in 0, 2:
        status, admin, io = ME.pair(digests)
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
    status, _, _ = ME.pair()
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
        _, _, io = ME.pair()
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
    good()


def garbage():
    for words in b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 4096, b"\0":
        with socket.create_connection(ME.place) as link:
            link.sendall(words)
    good()


def digests():
    """Wrong digests of data: the command is to be tried again. Of a header: the connection ends, with the digest that came."""
    status, admin, io = ME.pair(3)
    data, blocks = bytes(range(256)) * 2, struct.pack("<QI", 64, 0)
    write, read = sqe(1, 1, 1, 512, IN_CAPSULE, blocks), sqe(2, 1, 2, 512, TRANSPORT, blocks)
    if status or io.call(write, data)[0] or io.call(read)[2][:512] != data:
        fail("header digests do not work")
    for _ in range(5):
        io.send(write, bytes(512), 0x1234)
        if io.answer()[0] != 0x22:
            fail("a wrong data digest is no transient transport error")
    if io.call(read)[2][:512] != data:
        fail("data with a wrong digest was written")
    io.send(read, header_digest=0x1234)
    kind, body = io.receive()
    if kind != 3 or struct.unpack("<HI", body[:6]) != (3, 0x1234):
        fail(f"a wrong header digest: PDU {kind} with {body[:6].hex()}")
    if admin.call(sqe(0x18))[0]:
        fail("the admin queue ends with the I/O queue")


def keys(io, nsid, opcode, cdw10, *values):
    data = struct.pack(f"<{len(values)}Q", *values)
    return io.call(sqe(opcode, nsid, 1, len(data), IN_CAPSULE, struct.pack("<I", cdw10)), data)[0] & 0x7FF


def reserve():
    """Reservations of the first two namespaces that survive a power loss: write exclusive."""
    _, _admin, io = ME.pair()
    for nsid in 1, 2:
        if keys(io, nsid, 0x0D, 3 << 30, 0, 0x5EC) or keys(io, nsid, 0x11, 1 << 8, 0x5EC, 0):
            fail("a reservation is refused")


def release():
    _, _admin, io = ME.pair()
    if keys(io, 1, 0x15, 1, 0x5EC):  # Clear
        fail("what was reserved cannot be cleared")


def namespaces():
    """What a host sees, and the status that a write to each gets."""
    _, admin, io = ME.pair()
    listed = admin.call(sqe(0x06, 0, 1, 4096, TRANSPORT, struct.pack("<I", 2)))[2]
    for nsid in (n for n in struct.unpack("<1024I", listed[:4096]) if n):
        print(f"{nsid}:{io.call(sqe(1, nsid, 1, 4096, IN_CAPSULE, struct.pack('<QI', 0, 7)), bytes(4096))[0] & 0x7FF:x}", end=" ")


def many():
    """Hundreds of connections that do nothing, for as long as the test says."""
    queues = [Queue(ME) for _ in range(200)]
    for queue in queues:
        if queue.connect()[0]:
            fail("Connect is refused")
    print("ready", flush=True)
    time.sleep(60)


def keep_alive():
    admin = Queue(ME, timeout=10)
    if admin.connect(kato=500)[0]:
        fail("Connect is refused")
    try:
        admin.receive()
        fail("a host that falls silent is not ended")
    except (EOFError, ConnectionError):
        pass


def locked():
    """Holds the lock of a file, once it can be had."""
    with open(sys.argv[6], "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        print("ready", flush=True)
        time.sleep(60)


def flood():
    """Connections from another address that say nothing do not push out a host that is slow."""
    slow = Queue(ME)
    silent = [socket.create_connection(ME.place, 5, ("127.0.0.2", 0)) for _ in range(1400)]
    time.sleep(0.3)
    if slow.connect()[0]:
        fail("Connect is refused")
    if len(silent) < 1400:
        fail("not that many")


def stays():
    """A host that was refused and stays: its connection is ended in ten seconds."""
    begin = time.monotonic()
    _, admin, _ = ME.pair()
    admin.link.settimeout(20)
    try:
        admin.receive()
        fail("a PDU after the refusal")
    except (EOFError, ConnectionError):
        pass
    if not 8 < time.monotonic() - begin < 14:
        fail(f"ended after {time.monotonic() - begin:.1f} s")


{"stays": stays, "good": good, "refused": refused, "hostile": hostile, "garbage": garbage, "reserve": reserve, "release": release, "namespaces": namespaces,
 "digests": digests, "many": many, "keep-alive": keep_alive, "locked": locked, "flood": flood}[sys.argv[5] if len(sys.argv) > 5 else "good"]()
