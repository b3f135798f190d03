# SPDX-License-Identifier: BSD-3-Clause
"""What eswitch.sh has a client do: usage eswitch.py RUN-DIRECTORY LAB DPUCTL [again]."""
import json
import os
import socket
import struct
import subprocess
import sys
import time

from eswitch_client import ACTIVE, HELLO, OUTPUT, REFUSED, Client, Refused, fields, op

folder, lab, dpuctl = sys.argv[1:4]
path = os.path.join(folder, "eswitch.sock")
failed = 0


def check(what, holds, *seen):
    global failed
    if not holds:
        print(f"FAILED: {what}", *seen, file=sys.stderr)
        failed = 1


def ctl(*words):
    done = subprocess.run([dpuctl, "-i", f"{lab}-m", "-o", "json", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def inside(box, *command):
    return subprocess.run(["ip", "netns", "exec", f"{lab}-{box}", *command], capture_output=True, text=True)


def wait(what, test, seconds=5):
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            check(what, False, "not in time")
            return
        time.sleep(0.05)


def forward():
    """Two ports, first packets up, two rules down, a ping that no client sees."""
    client = Client(path).hello("smoke")
    names = client.list()
    check("the list", {"web", "db"} == set(names) and names["db"][0] == 7, names)
    web, db = client.open("web"), client.open("db")
    check("clients are shown", ctl("eswitch", "show", "ovs")["clients"] == [f"smoke (pid {os.getpid()})"])
    check("it is shown open", ctl("representor", "show", "web")["open"])
    # Up: an ARP request; the script floods it to the other one, as a switch would.
    ping = subprocess.Popen(["ip", "netns", "exec", f"{lab}-web", "ping", "-c", "3", "-W", "2", "10.0.0.6"], stdout=subprocess.DEVNULL)
    end, seen = time.monotonic() + 6, 0
    while ping.poll() is None and time.monotonic() < end:
        for one, other in ((web, db), (db, web)):
            frame = one.take(0.01)
            if frame:
                seen += 1
                other.put(frame)
    check("a ping by way of the client", ping.wait() == 0 and seen >= 4, seen)
    # Down: all from one leaves by the other.
    any_from = lambda port: (fields(port.number), fields(0xffff))
    check("rule 0", client.install(0, 1, *any_from(web), [op(OUTPUT, db.number)]) == ACTIVE)
    check("rule 1", client.install(1, 1, *any_from(db), [op(OUTPUT, web.number)]) == ACTIVE)
    while web.take(0.05) or db.take(0.05):
        pass
    check("a ping by rules", inside("web", "ping", "-c", "3", "-i", "0.2", "-W", "2", "10.0.0.6").returncode == 0)
    check("nothing comes up", web.take(0.2) is None and db.take(0.2) is None)
    check("counters", client.counter(0) >= 3 and client.counter(1) >= 3, client.counter(0), client.counter(1))
    flows = ctl("offload", "flows")["flows"]
    check("two flows are shown", [row["match"] for row in flows] == ["in_port(1)", "in_port(7)"], flows)
    check("with their actions", [row["actions"] for row in flows] == ["7", "1"] and flows[0]["packets"] >= 3, flows)
    check("one of them alone", len(ctl("offload", "flows", "in_port=7")["flows"]) == 1)
    stats = ctl("offload", "stats")
    check("statistics", stats["rules"] == 2 and stats["masks"] >= 1 and stats["installed"] >= 2 and stats["upcalls"] >= 4, stats)
    check("threads", [row["serves_commands"] for row in ctl("offload", "threads")["threads"]] == [True, False])
    return client, web, db


def refusals(client):
    state = client.install(2, 1, fields(99), fields(0xffff), [op(OUTPUT, 7)])
    check("an in-port that is none", state >= REFUSED, state)
    state = client.install(3, 1, fields(1, b"\2" * 6), fields(0xffff, b"\xff" * 6), [op(77)])
    check("an action that is none", state >= REFUSED, state)
    rows = ctl("offload", "refused")["refused"]
    check("refusals are told", len(rows) >= 2 and all(row["sentence"] for row in rows), rows)
    check("by reason", {"action", "port"} <= {row["reason"] for row in rows}, rows)
    client.destroy(2, 1)
    client.destroy(3, 1)


def bypass(client, web, db):
    ctl("eswitch", "set", "ovs", "bypass=true")
    inside("web", "ping", "-c", "1", "-W", "1", "10.0.0.6")
    check("with bypass everything comes up", web.take(2) is not None)
    ctl("eswitch", "set", "ovs", "bypass=false")
    while web.take(0.1) or db.take(0.1):
        pass
    check("without it rules hold again", inside("web", "ping", "-c", "1", "-W", "2", "10.0.0.6").returncode == 0)


def hostile():
    def dial():
        end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        end.settimeout(5)
        for _ in range(100):
            try:
                end.connect(path)
                break
            except BlockingIOError:  # more wait than dpud has taken
                time.sleep(0.01)
        return end

    for size in (0, 1, 16, 607, 609, 4096, 100000):
        end = dial()
        try:
            end.send(os.urandom(size))
            while end.recv(4096):
                pass
        except OSError:
            pass
        end.close()
    for wrong in ({"magic": 1}, {"version": 1}, {"rings": 99}):
        try:
            Client(path).hello(**wrong)
            check(f"{wrong} is refused", False)
        except Refused as sentence:
            check(f"{wrong} has a sentence", str(sentence).startswith("hello."), sentence)
    for _ in range(200):  # comes, talks nonsense, goes
        end = dial()
        try:
            end.send(struct.pack("<II", HELLO, 1) + os.urandom(600))
        except OSError:
            pass
        end.close()
    half = [dial() for _ in range(16)]
    late = Client.__new__(Client)
    late.socket = dial()
    check("one too many is told", late.socket.recv(4096) != b"")
    for end in half:
        end.close()
    # Command heads and packet heads that cannot be, and rings full of noise. (dpud may still have to see that the 16 have gone.)
    for _ in range(100):
        try:
            liar = Client(path).hello("liar")
            break
        except (Refused, OSError, EOFError):  # what it is told is lost if it speaks while dpud closes
            time.sleep(0.05)
    struct.pack_into("<I", liar.region, 64, 0x7fffffff)
    os.write(liar.wake, struct.pack("<Q", 1))
    time.sleep(0.2)
    liar.socket.close()
    liar = Client(path).hello("liar")
    port = liar.open("db")
    noise = os.urandom(64 * 1024)
    at, (slots, buffers) = port.ring(1)
    port.region[slots:slots + 24 * 256] = noise[:24 * 256]
    struct.pack_into("<I", port.region, at, 200)
    os.write(port.wakes[1], struct.pack("<Q", 1))
    time.sleep(0.2)
    struct.pack_into("<I", port.region, at, 0xdeadbeef)
    os.write(port.wakes[1], struct.pack("<Q", 1))
    try:
        port.region.resize(4096)
        check("a region is sealed", False)
    except (OSError, ValueError, SystemError):
        pass
    time.sleep(0.2)
    liar.socket.close()


client, web, db = forward()
if len(sys.argv) > 4:
    sys.exit(failed)
refusals(client)
bypass(client, web, db)
try:
    Client(path).hello("other").open("web")
    check("a port is opened twice", False)
except Refused as sentence:
    check("who has it is said", "smoke (pid" in str(sentence), sentence)
client.destroy(0, 1)
wait("the rule has gone", lambda: len(ctl("offload", "flows")["flows"]) == 1)
client.socket.close()
wait("the client has gone", lambda: ctl("eswitch", "show", "ovs")["clients"] == [])
wait("its rules have gone", lambda: ctl("offload", "stats")["rules"] == 0)
hostile()
wait("liars have gone", lambda: ctl("eswitch", "show", "ovs")["clients"] == [])
forward()[0].socket.close()
sys.exit(failed)
