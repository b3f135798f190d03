#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A storm over the block storage of a dpud: block_storm.py DPUD FOLDER SEED SECONDS. What is asked, of whom and when is drawn from SEED; the answers take part in
what follows, so a run is similar to the one before and not the same. FOLDER/trace has all that was asked."""
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from block_storm_requests import CLASSES, GLOBAL, PORT, Requests, host_nqn, nqn
from nvmf_client import IN_CAPSULE, READ, WRITE, Host, sqe

dpud, folder, seed, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
SOCKET = "/run/softdpu/storm/dpud.sock"
FILES_LATER = 16  # that it opens when they are needed first, and keeps
ANSWER_S, STOP_S, START_S, EMPTY_S = 40, 10, 60, 40


class Failed(Exception):
    pass


class Dpud:
    """The process, which may end when it is told to, and then with 0, or is killed."""

    def __init__(self):
        self.process = None

    def start(self):
        self.process = subprocess.Popen([
            dpud, "--instance", "storm", "--huge-pages", "off", "--memory", "64", "--workers", "2", "--store-dir", f"{folder}/store", "--image-dir", f"{folder}/images", "--log",
            f"{folder}/dpud.log"
        ], stderr=open(f"{folder}/dpud.err", "a"))
        end = time.monotonic() + START_S
        while True:
            self.check("at its start")
            try:
                return [Link() for _ in range(4)]
            except OSError:
                if time.monotonic() > end:
                    raise Failed("does not listen") from None
                time.sleep(0.05)

    def check(self, when):
        if self.process.poll() is not None:
            raise Failed(f"ended {when} with {self.process.returncode}")

    def stop(self, how):
        self.process.send_signal(how)
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"does not stop within {STOP_S} s") from None
        if status != (0 if how == signal.SIGTERM else -how):
            raise Failed(f"stopped with {status}")

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Link:
    """A connection to the management socket; `open` are the requests that are not answered, by number, with the time."""

    def __init__(self):
        self.socket, self.rest, self.open = socket.socket(socket.AF_UNIX), b"", {}
        self.socket.connect(SOCKET)

    def take(self):
        data = self.socket.recv(1 << 20)
        if not data:
            raise Failed("closed a connection")
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


class Storm:
    def __init__(self):
        self.random = random.Random(seed)
        self.requests = Requests(self.random, f"{folder}/files")
        self.trace = open(f"{folder}/trace", "w")
        self.dpud, self.number, self.results, self.errors = Dpud(), 0, 0, {}
        self.links = self.dpud.start()

    # ---- requests and answers

    def send(self, method, params, link=None):
        self.number += 1
        link = link or self.random.choice(self.links)
        line = json.dumps({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        self.trace.write(f"{time.time():.3f} {line}\n")
        self.trace.flush()
        link.socket.sendall(line.encode() + b"\n")
        link.open[self.number] = (time.monotonic(), line)
        return self.number

    def note(self, link, answer):
        _, line = link.open.pop(answer["id"])
        error = answer.get("error")
        self.trace.write(f"{time.time():.3f} {json.dumps(error or {'id': answer['id']})}\n")
        if error:
            code = error.get("data", {}).get("code", error["code"])
            self.errors[code] = self.errors.get(code, 0) + 1
            if code == "internal" or not error["message"]:
                raise Failed(f"answers {answer} to {line}")
        else:
            self.results += 1

    def answers(self, wait_s):
        """Takes what comes within that time, and gives it."""
        end, taken = time.monotonic() + wait_s, []
        while True:
            ready = select.select([link.socket for link in self.links], [], [], max(end - time.monotonic(), 0))[0]
            for link in [link for link in self.links if link.socket in ready]:
                for answer in link.take():
                    self.note(link, answer)
                    taken.append(answer)
            late = [line for link in self.links for since, line in link.open.values() if time.monotonic() - since > ANSWER_S and '"wait": true' not in line]
            if late:
                raise Failed(f"has not answered within {ANSWER_S} s: {late[0]}")
            if time.monotonic() >= end and not ready:
                return taken

    def settle(self):
        """Until all that was asked is answered; images that go by a slow cap are not waited for."""
        for cls in ("volume", "snapshot"):
            for number in range(CLASSES[cls][1]):
                self.send(f"{cls}.cancel-image", {"tenant": "blue", "name": f"{CLASSES[cls][0]}{number}"})
        while any(link.open for link in self.links):
            self.answers(0.05)

    def call(self, method, params):
        number = self.send(method, params, self.links[0])
        while True:
            for answer in self.answers(0.02):
                if answer["id"] == number:
                    return answer

    def names(self):
        """Of all objects; all else is answered by then."""
        self.settle()
        return {cls: sorted(row["name"] for row in self.call(f"{cls}.list", {})["result"]["objects"]) for cls in CLASSES}

    # ---- what happens meanwhile

    def move_file(self):
        """A file or disk goes away, or comes back."""
        file = f"{folder}/files/m{self.random.randrange(1, 5)}"
        here, there = (f"{file}.away", file) if os.path.exists(f"{file}.away") else (file, f"{file}.away")
        self.trace.write(f"{time.time():.3f} mv {here} {there}\n")
        if os.path.exists(here):
            os.rename(here, there)

    def restart(self):
        how = self.random.choice([signal.SIGTERM, signal.SIGTERM, signal.SIGKILL])
        had = self.names() if self.random.random() < 0.5 else None
        self.trace.write(f"{time.time():.3f} {how.name}\n")
        self.dpud.stop(how)
        self.links = self.dpud.start()
        has = self.names()
        if had and has != had:
            raise Failed(f"had {had}, and after {how.name} {has}")

    def step(self):
        draw = self.random.random()
        if draw < 0.02:
            self.move_file()
        elif draw < 0.025:
            self.restart()
        else:
            self.send(*self.requests.next())
        if self.random.random() < 0.3:
            self.answers(self.random.choice([0, 0.002, 0.02, 0.1]))
        self.dpud.check("by itself")

    # ---- the end

    def delete_all(self):
        self.settle()
        where = {cls: {} if cls in GLOBAL else {"tenant": "blue"} for cls in CLASSES}
        changes = [{"op": "delete", "class": cls, "name": name, **where[cls]} for cls, names in self.names().items() for name in names]
        answer = self.call("dpu.transaction", {"changes": changes})
        if "error" in answer:
            raise Failed(f"does not delete everything: {answer}")
        left = {cls: names for cls, names in self.names().items() if names}
        if left:
            raise Failed(f"has deleted everything, and has {left}")
        hidden = [name for name in os.listdir(f"{folder}/images") if name.startswith(".")]
        if hidden:
            raise Failed(f"leaves {hidden} beside the images")

    def run(self):
        self.call("dpu.transaction", {"changes": [{"op": "create", "class": "tenant", "name": "blue"}]})
        files = self.dpud.files()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()
        self.delete_all()
        end = time.monotonic() + EMPTY_S
        while self.dpud.files() > files + FILES_LATER:
            if time.monotonic() > end:
                raise Failed(f"has {self.dpud.files()} open files, and had {files} when it was empty before")
            time.sleep(0.1)
        self.dpud.stop(signal.SIGTERM)
        print(f"{self.number} requests, {self.results} done, refused {self.errors}")


def visit(chance):
    """A host connects somewhere, reads and writes for a moment, and is gone, with requests under way perhaps."""
    host = Host("127.0.0.1", PORT + chance.randrange(2), nqn(chance.randrange(2)), host_nqn(chance.randrange(3)))
    status, _, queue = host.pair(chance.choice([0, 1, 2, 3]))
    if status:
        return
    for _ in range(chance.randrange(1, 100)):
        place = struct.pack("<QI", chance.randrange(4096), 7)
        write = sqe(WRITE, chance.randrange(1, 5), chance.randrange(64), 4096, IN_CAPSULE, place)
        queue.send(write, chance.randbytes(4096))
        if chance.random() < 0.9:
            queue.answer()
    queue.call(sqe(READ, chance.randrange(1, 5), 100, 4096, tail=place))


def hosts(chance):
    while True:
        try:
            visit(chance)
        except (OSError, EOFError, AssertionError, struct.error):
            time.sleep(0.05)


def main():
    for name in ("store", "images", "files"):
        os.makedirs(f"{folder}/{name}")
    with open(f"{folder}/images/hole", "w") as hole:
        hole.truncate(1 << 20)
    for i in range(2):
        threading.Thread(target=hosts, args=[random.Random(seed + i)], daemon=True).start()
    try:
        Storm().run()
    except (Failed, OSError) as failure:
        print(f"dpud {failure}")
        with open(f"{folder}/dpud.err") as file:
            print(file.read()[-8000:])
        return 1
    return 0


sys.stdout.reconfigure(line_buffering=True)
sys.exit(main())
