# SPDX-License-Identifier: BSD-3-Clause
"""The two switches: sockets on their ports' far sides, OVS's control socket, ovs-ofctl, dpud's socket."""
import ctypes
import glob
import json
import os
import select
import socket
import subprocess
import time

from frames import MAGIC, TAIL_BYTES

ETH_P_ALL, SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 3, 263, 8, 4
VLAN_VALID, TPID_VALID = 0x10, 0x40
SO_RCVBUFFORCE = 33
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class inside:
    """Sockets that are made meanwhile belong to that network namespace."""

    def __init__(self, namespace):
        self.there = f"/run/netns/{namespace}"

    def __enter__(self):
        self.back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.enter(self.there)

    def __exit__(self, *_):
        self.enter(f"/proc/self/fd/{self.back}")
        os.close(self.back)

    @staticmethod
    def enter(path):
        fd = os.open(path, os.O_RDONLY)
        if libc.setns(fd, CLONE_NEWNET) < 0:
            raise OSError(ctypes.get_errno(), path)
        os.close(fd)


class Port:
    """The far side of a switch's port."""

    def __init__(self, interface):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.bind((interface, ETH_P_ALL))
        self.socket.setblocking(False)

    def send(self, frame):
        for _ in range(1000):
            try:
                self.socket.send(frame)
                return
            except (BlockingIOError, OSError) as error:
                if error.errno not in (11, 105):  # EAGAIN, ENOBUFS
                    raise
                time.sleep(0.001)
        raise RuntimeError("a frame cannot be sent")

    def receive(self):
        """The next frame, with its tag, or None."""
        while True:
            try:
                frame, ancillary, _, address = self.socket.recvmsg(65536, 64)
            except BlockingIOError:
                return None
            if address[2] == PACKET_OUTGOING:
                continue
            for level, kind, data in ancillary:
                if level == SOL_PACKET and kind == PACKET_AUXDATA:
                    status = int.from_bytes(data[:4], "little")
                    if status & VLAN_VALID:
                        tpid = int.from_bytes(data[18:20], "little") if status & TPID_VALID else 0x8100
                        tci = int.from_bytes(data[16:18], "little")
                        frame = frame[:12] + tpid.to_bytes(2, "big") + tci.to_bytes(2, "big") + frame[12:]
            return frame


class Ovs:
    """An OVS of tests/lib/ovs.sh."""

    def __init__(self, home, bridge):
        self.home, self.bridge = home, bridge

    def control(self, method, *params):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(30)
            link.connect(glob.glob(f"{self.home}/ovs-vswitchd*.ctl")[0])
            link.sendall(json.dumps({"id": 1, "method": method, "params": params}).encode())
            text = ""
            while True:
                part = link.recv(1 << 20).decode()
                text += part
                try:
                    answer = json.loads(text)
                    break
                except ValueError:
                    if not part:
                        raise
        if answer["error"]:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def openflow(self, command, *arguments, text=None):
        done = subprocess.run(["ovs-ofctl", "--timeout=30", "-O", "OpenFlow15", command, f"unix:{self.home}/{self.bridge}.mgmt",
                               *arguments], input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"ovs-ofctl {command}: {done.stderr}\n{text or ''}")
        return done.stdout

    def settle(self):
        """All flows have been looked at since now."""
        self.control("revalidator/wait")
        self.control("revalidator/wait")

    def flows(self):
        return [line for line in self.control("dpctl/dump-flows", "-m").splitlines() if "actions:" in line]


class Dpu:
    def __init__(self, path):
        self.path = path

    def call(self, method, **params):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(30)
            link.connect(self.path)
            link.sendall((json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n").encode())
            with link.makefile() as lines:
                answer = json.loads(lines.readline())
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]


class Switch:
    """An OVS with the far sides of its ports. What comes out is kept: received[serial][port] = [frame, ...]."""

    def __init__(self, ovs, namespace, interfaces):
        self.ovs = ovs
        with inside(namespace):
            self.ports = {name: Port(interface) for name, interface in interfaces.items()}
        self.names = {port.socket.fileno(): name for name, port in self.ports.items()}
        self.poll = select.epoll()
        for fd in self.names:
            self.poll.register(fd, select.EPOLLIN)
        self.received = {}
        self.alone = None  # the serial number of a frame that need not carry it

    def collect(self):
        """Takes what has come; whether there was any."""
        any_came = False
        for fd, _ in self.poll.poll(0):
            name = self.names[fd]
            while (frame := self.ports[name].receive()) is not None:
                any_came = True
                serial = int.from_bytes(frame[-4:], "big") if frame[-TAIL_BYTES:-4] == MAGIC else self.alone
                self.received.setdefault(serial, {}).setdefault(name, []).append(frame)
        return any_came
