#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hostile clients of dpud: hostile.py RUN_DIR METRICS_SOCKET PID. Each attack is followed by an honest call, which must be answered soon."""
import json
import os
import random
import resource
import socket
import struct
import sys
import time

run_dir, metrics, pid = sys.argv[1:4]
random.seed(7)
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))


def dial(path=f"{run_dir}/dpud.sock", timeout=10):
    link = socket.socket(socket.AF_UNIX)
    link.connect(path)  # waits while the backlog is full
    link.settimeout(timeout)
    return link


def call(method, params=None, link=None):
    own = link or dial()
    own.sendall((json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}) + "\n").encode())
    answer = json.loads(own.makefile().readline())
    if not link:
        own.close()
    return answer


def resident_mb():
    with open(f"/proc/{pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) // 1024


def attack_send(data, path=f"{run_dir}/dpud.sock"):
    """Sends what the other side takes, and gives the first line of its answer."""
    with dial(path, 5) as link:
        try:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was cut off: what was said before is still there
        try:
            return link.makefile("rb").readline()
        except OSError:
            return b""


def garbage():
    for length in (1, 10, 1000, 100000):
        attack_send(bytes(random.randrange(256) for _ in range(length)))
        attack_send(bytes(random.randrange(256) for _ in range(length)), metrics)
    assert b"not JSON" in attack_send(b"GET / HTTP/1.1\r\n\r\n")


def huge():
    assert b"at most 32 MiB" in attack_send(b"x" * (33 << 20))
    assert b"nests deeper" in attack_send(b"[" * 100000 + b"\n")
    assert b"send it in parts" in attack_send(b"[" + b"{}," * 500000 + b"{}]\n")
    assert b"too_long" not in attack_send(json.dumps({"jsonrpc": "2.0", "id": "i" * 10000, "method": "x"}).encode() + b"\n")


def mutated():
    """Requests that are nearly right."""
    good = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "dpu.transaction", "params": {"dry_run": True, "changes": [
        {"op": "create", "class": "vpc", "tenant": "blue", "name": "m", "fields": {"vni": 7, "labels": ["a=b"]}}]}}).encode()
    link = dial()
    lines = link.makefile("rb")
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(len(data))
            kind = random.randrange(3)
            if kind == 0:
                data[at] = random.randrange(256)
            elif kind == 1:
                del data[at:at + random.randrange(1, 8)]
            else:
                data[at:at] = bytes(random.choice(b'{}[],:"0123456789-\\') for _ in range(random.randrange(1, 4)))
        data = bytes(data).replace(b"\n", b" ")
        if not data.strip(b" \t\r"):
            continue
        link.sendall(data + b"\n")
        # A request without an id is not answered: this one always is.
        link.sendall(b'{"jsonrpc":"2.0","id":"end","method":"dpu.version"}\n')
        while True:
            answer = json.loads(lines.readline())
            if isinstance(answer, dict) and answer.get("id") == "end":
                break
    link.close()


def half_closed():
    for _ in range(200):
        link = dial()
        link.sendall(b'{"jsonrpc":"2.0","id":1,"method":"dpu.schema"}\n' * random.randrange(1, 4))
        if random.randrange(2):
            link.shutdown(random.choice([socket.SHUT_WR, socket.SHUT_RD, socket.SHUT_RDWR]))
        link.close()


def many():
    links = []
    for _ in range(500):
        links.append(dial())
    assert call("dpu.version")["result"]
    for link in links:
        link.close()


def deaf():
    """Ask for much and read nothing; subscribe and read nothing."""
    links = []
    for _ in range(40):
        link = dial()
        link.setblocking(False)
        try:
            while True:
                link.send(b'{"jsonrpc":"2.0","id":1,"method":"dpu.manual"}\n' * 100)
        except BlockingIOError:
            pass
        links.append(link)
    watcher = dial()
    call("dpu.subscribe", {}, watcher)
    for number in range(300):
        assert "result" in call("tenant.update", {"name": "blue", "fields": {"labels": [f"x={number}" + "y" * 200]}})
    for link in links + [watcher]:
        link.close()


def dribble():
    """Byte by byte, from many at once: nobody else waits for them."""
    links = [dial() for _ in range(50)]
    for byte in b'{"jsonrpc":"2.0","id":1,"method":"dpu.version"}\n':
        for link in links:
            link.sendall(bytes([byte]))
        honest()
    for link in links:
        assert b'"result"' in link.makefile("rb").readline()
        link.close()


def web():
    links = [dial(metrics) for _ in range(100)]
    for link in links:
        link.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
    for link in links:
        link.close()
    for request in (b"GET /" + b"a" * 100000, b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"\0" * 1000):
        attack_send(request, metrics)
    link = dial(metrics)
    link.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert link.makefile("rb").readline().startswith(b"HTTP/1.1 200")


def front_end():
    """The front end of a vNIC is given memory to keep: it can give it no other size, so it fills nothing."""
    link = dial(f"{run_dir}/blue-web.sock")
    say = lambda request, payload: link.sendall(struct.pack("<III", request, 1, len(payload)) + payload)
    say(16, struct.pack("<Q", 1 << 12))  # SET_PROTOCOL_FEATURES: INFLIGHT_SHMFD
    say(31, struct.pack("<QQHH", 0, 0, 2, 256))  # GET_INFLIGHT_FD
    data, descriptors, _, _ = socket.recv_fds(link, 4096, 1)
    assert struct.unpack_from("<I", data)[0] == 31 and len(descriptors) == 1, data
    size = os.fstat(descriptors[0]).st_size
    for change in (lambda: os.ftruncate(descriptors[0], 1 << 20), lambda: os.ftruncate(descriptors[0], 0),
                   lambda: os.posix_fallocate(descriptors[0], 0, 1 << 20)):
        try:
            change()
        except PermissionError:
            continue
        raise AssertionError("the in-flight region has another size")
    assert os.fstat(descriptors[0]).st_size == size > 0
    os.close(descriptors[0])
    link.close()


def honest():
    start = time.monotonic()
    assert "result" in call("dpu.version")
    took = time.monotonic() - start
    assert took < 3, f"an honest client waited {took:.1f} s"


honest()
before = resident_mb()
for attack in (garbage, huge, mutated, half_closed, many, deaf, dribble, web, front_end):
    attack()
    honest()
    print(f"{attack.__name__}: answered, {resident_mb()} MiB resident")
time.sleep(1)
after = resident_mb()
descriptors = len(os.listdir(f"/proc/{pid}/fd"))
assert after < before + 150, f"grew from {before} to {after} MiB"
assert descriptors < 200, f"{descriptors} descriptors are open"
