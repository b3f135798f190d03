# SPDX-License-Identifier: BSD-3-Clause
"""What offload.sh has a client do: usage offload.py RUN-DIRECTORY LAB DPUCTL CAPTURE-DIRECTORY METRICS-SOCKET."""
import http.client
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

from eswitch_client import ACTIVE, OUTPUT, SET_TTL, Client, fields, op
from thread_stop import Stopped

folder, lab, dpuctl, captures, metrics_path = sys.argv[1:6]
failed = 0
WEB, DB = bytes.fromhex("020000000005"), bytes.fromhex("020000000006")
web_ip, db_ip = bytes([10, 0, 0, 5]), bytes([10, 0, 0, 6])
IP, ICMP, UDP = 0x0800, 1, 17


def check(what, holds, *seen):
    global failed
    if not holds:
        print(f"FAILED: {what}", *seen, file=sys.stderr)
        failed = 1


def run(*words, status=0):
    done = subprocess.run([dpuctl, "-i", f"{lab}-m", *words], capture_output=True, text=True)
    check(f"dpuctl {' '.join(words)} ends with {status}", done.returncode == status, done.returncode, done.stderr)
    return done.stdout + done.stderr


def ctl(*words):
    text = run("-o", "json", *words)
    return json.loads(text) if text.strip() else None


def inside(box, *command):
    return subprocess.run(["ip", "netns", "exec", f"{lab}-{box}", *command], capture_output=True, text=True)


def flows(*words):
    return ctl("offload", "flows", *words)["flows"]


def wait(what, test, seconds=8):
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            check(what, False, "not in time")
            return
        time.sleep(0.1)


def rule(client, index, generation, match, mask, ops):
    state = client.install(index, generation, match, mask, ops)
    check(f"rule {index}", state == ACTIVE, state)


def lists(client):
    """Rules as they are listed: filters, order, pages, age and idle time, counts of a rule that has an index anew."""
    icmp, icmp_mask = dict(eth_type=IP, proto=ICMP), dict(in_port=0xffff, eth_type=0xffff, proto=0xff)
    rule(client, 5, 1, fields(1, **icmp), fields(**icmp_mask), [op(OUTPUT, 7)])
    rule(client, 6, 1, fields(7, **icmp), fields(**icmp_mask), [op(SET_TTL, value=9), op(OUTPUT, 1)])
    rule(client, 7, 1, fields(1, eth_type=IP, proto=UDP, ip_dst=db_ip, tp_dst=53),
         fields(0xffff, eth_type=0xffff, proto=0xff, ip_dst=b"\xff" * 4, tp_dst=0xffff), [])
    for index in range(100, 400):
        match = fields(7, eth_type=IP, proto=UDP, ip_src=db_ip, tp_src=index)
        rule(client, index, 1, match, fields(0xffff, eth_type=0xffff, proto=0xff, ip_src=b"\xff" * 3, tp_src=0xffff), [op(OUTPUT, 1)])
    ping = inside("web", "ping", "-c", "4", "-i", "0.2", "-W", "2", "10.0.0.6")
    check("a ping by rules, whose answers have the TTL set", ping.stdout.count("ttl=9") == 4, ping.stdout)
    check("all of them", len(flows("limit=1000")) == 303)
    page = ctl("offload", "flows", "limit=200")
    check("a page", len(page["flows"]) == 200 and page["next"] > 0, page.get("next"))
    rest = ctl("offload", "flows", "limit=200", f"cursor={page['next']}")
    seen = [row["rule"] for row in page["flows"] + rest["flows"]]
    check("pages have each rule once", sorted(seen) == seen and len(set(seen)) == 303, len(seen))
    check("by representor", [row["rule"] for row in flows("representor=web")] == [5, 7])
    check("by number", [row["rule"] for row in flows("in_port=1")] == [5, 7])
    check("by protocol", [row["rule"] for row in flows("protocol=icmp")] == [5, 6])
    check("by address", [row["rule"] for row in flows("address=10.0.0.6", "in_port=1")] == [7])
    check("by an address under a mask", len(flows("address=10.0.0.99", "limit=1000")) == 300)
    check("by another address", flows("address=192.0.2.1") == [] and flows("address=2001:db8::1") == [])
    hit = flows("min_packets=1")
    check("those that were hit", [row["rule"] for row in hit] == [5, 6] and all(row["packets"] == 4 for row in hit), hit)
    check("a row", hit[1]["match"] == "in_port(7),eth_type(0x0800),ipv4(proto=1)" and hit[1]["actions"] == "set(ttl=9),1"
          and hit[1]["representor"] == "db" and hit[1]["bytes"] == 4 * 98 and hit[1]["state"] == "active", hit)
    check("in order", [row["rule"] for row in flows("sort=packets", "limit=2")] in ([5, 6], [6, 5]))
    check("the oldest first", flows("sort=age", "limit=1")[0]["rule"] == 5)
    check("what has an order has one page", "one page" in run("offload", "flows", "sort=age", "cursor=5", status=1))
    check("a protocol that is none", "must be a protocol" in run("offload", "flows", "protocol=nosuch", status=1))
    wait("idle time counts", lambda: (flows("min_packets=1")[0]["idle_seconds"] or 0) >= 2)
    inside("web", "ping", "-c", "1", "-W", "2", "10.0.0.6")
    wait("idle time begins anew", lambda: flows("min_packets=5")[0]["idle_seconds"] == 0)
    row = flows("in_port=1", "protocol=udp")[0]
    check("never used", row["idle_seconds"] is None and row["age_seconds"] >= 2, row)
    client.destroy(5, 1)
    rule(client, 5, 2, fields(1, **icmp), fields(**icmp_mask), [op(OUTPUT, 7)])
    check("an index anew counts from 0", flows("in_port=1", "protocol=icmp")[0]["packets"] == 0)
    table = run("offload", "flows", "representor=web", "-c", "rule,packets")
    check("as a table", table.splitlines()[1].split() == ["RULE", "PACKETS"], table)


def statistics(client):
    stats = ctl("offload", "stats")
    check("totals", stats["rules"] == 303 and stats["masks"] >= 3 and stats["lookup_misses"] >= 1 and stats["max_rules"] == 1000
          and stats["rule_bytes"] > 0 and stats["commands_pending"] == 0, stats)
    check("insertions over the last minute", stats["per_second"][2]["over_seconds"] == 60 and stats["per_second"][2]["installed"] >= 1,
          stats["per_second"])
    minute, since = stats["insertion"]
    check("insertion took", since["commands"] == 304 and 0 < since["p50_ns"] <= since["p99_ns"] <= since["max_ns"] < 5e9, since)
    check("in the last minute, too", minute["commands"] >= 1, minute)
    check("the histogram has all", sum(row["commands"] for row in stats["insertion_histogram"]) == 304)
    client.says_when = False
    rule(client, 50, 1, fields(1, eth_type=0x88b5), fields(0xffff, eth_type=0xffff), [])
    check("who does not say when is not measured", ctl("offload", "stats")["insertion"][1]["commands"] == 304)
    client.says_when = True
    rows = {row["representor"]: row for row in stats["representors"]}
    check("representors", rows["web"]["number"] == 1 and rows["web"]["open"] and rows["db"]["number"] == 7, rows)
    threads = ctl("offload", "threads")
    ring = threads["rings"][0]
    check("the ring", ring["ring"] == 0 and ring["installed"] >= 305 and ring["destroyed"] == 1 and ring["health"] == "busy", ring)
    check("rings without a command", threads["unused_rings"] == 1)
    check("workers", [row["serves_commands"] for row in threads["threads"]] == [True, False], threads["threads"])
    check("nobody is stuck", all(row["health"] in ("busy", "idle") for row in threads["threads"]), threads["threads"])
    wait("the ring is idle", lambda: ctl("offload", "threads")["rings"][0]["health"] == "idle")
    before = ctl("offload", "stats")["representors"]
    neighbour = struct.pack("6s6s", b"\xff" * 6, WEB) + struct.pack(">H", 0x88b6) + bytes(46)
    for _ in range(5):
        client.ports["db"].put(neighbour)
    def injected():
        return [row["injected"] - old["injected"] for row, old in zip(ctl("offload", "stats")["representors"], before)]
    wait("injected frames", lambda: injected() == [0, 5])


def refusals(client, watch):
    client.install(60, 1, fields(99), fields(0xffff), [op(OUTPUT, 7)])
    check("a refused rule is listed", [(row["rule"], row["reason"]) for row in flows("state=refused")] == [(60, "port")], flows("state=refused"))
    check("with its match", flows("state=refused")[0]["match"] == "in_port(99)")
    check("it is counted", ctl("offload", "stats")["rules_refused"] == 1)
    match, mask = fields(1, eth_type=IP), fields(0xffff, eth_type=0xffff)
    client.report(2, 3, b"the action METER is not offloaded", match, mask)
    client.report(2, 2, b"the action METER is not offloaded", match, mask)
    client.report(1, 1, b"evil \x1b[31m\"text\"", match, mask)
    wait("reports", lambda: ctl("offload", "stats")["refused_by_driver"] == 6)
    told = ctl("offload", "refused")
    reasons = {(row["by"], row["reason"]): row["count"] for row in told["reasons"]}
    check("by reason", reasons == {("driver", "action"): 5, ("driver", "pattern"): 1, ("dpud", "port"): 1}, reasons)
    row = next(row for row in told["refused"] if row["reason"] == "action")
    check("a report", row["sentence"] == "the action METER is not offloaded" and row["count"] == 5 and row["seconds_ago"] <= 5
          and row["match"] == "in_port(1),eth_type(0x0800),ipv4()" and row["client"].startswith("offload (pid"), row)
    check("terminals are safe", not any("\x1b" in row["sentence"] for row in told["refused"]), told)
    client.destroy(60, 1)
    check("it is gone", flows("state=refused") == [])
    wait("refusals are events", lambda: {"dpud", "driver"} <= {event["detail"].get("by") for event in watch()})


def why():
    udp = ("dst=10.0.0.6", "src=10.0.0.5", "protocol=udp", "dst_port=53", "dst_mac=02:00:00:00:00:06")
    said = ctl("why", "vnic=blue/web", *udp)
    check("a rule that drops", (said["verdict"], said["reason"], said["rule"]["rule"]) == ("drop", "rule-drop", 7), said)
    said = ctl("why", "vnic=blue/web", "dst=10.0.0.6", "src=10.0.0.5", "protocol=icmp", "dst_mac=02:00:00:00:00:06")
    check("a rule that forwards", said["verdict"] == "forward" and said["outputs"] == ["db"] and said["rule"]["actions"] == "7", said)
    check("its steps", [step["decision"] for step in said["steps"]] == ["input", "lookup", "actions", "output"], said["steps"])
    check("who has the port open", "which offload (pid" in said["steps"][0]["text"], said["steps"])
    said = ctl("why", "vnic=blue/web", "dst=2001:db8::1", "src=2001:db8::2", "dst_mac=02:00:00:00:00:06")
    check("no rule", said["verdict"] == "upcall" and "no rule matches" in said["steps"][-1]["text"] and said["rule"] is None, said)
    frame = (DB + WEB + struct.pack(">H", 0x88b5) + bytes(46)).hex()
    said = ctl("why", "vnic=blue/web", f"packet={frame}")
    check("a frame", said["verdict"] == "drop" and said["rule"]["rule"] == 50, said)
    said = ctl("why", "vnic=blue/web", *udp, "vlan=7")
    check("the same in a VLAN meets no rule", said["verdict"] == "upcall" and "vlan(vid=7" in said["packet"], said)
    check("MAC addresses matter", "dst_mac" in run("why", "vnic=blue/web", *udp[:4], status=1))
    check("a vNIC of nobody", "neither subnet nor representor" in run("why", "vnic=blue/alone", *udp, status=1))
    ctl("eswitch", "set", "ovs", "bypass=true")
    said = ctl("why", "vnic=blue/web", *udp)
    check("bypass", said["verdict"] == "upcall" and said["steps"][-1]["decision"] == "bypass", said)
    ctl("eswitch", "set", "ovs", "bypass=false")


def bypass(client):
    """The field, what the client sees of it, and what it does."""
    before = ctl("offload", "stats")
    ctl("eswitch", "set", "ovs", "bypass=true")
    check("it is shown", ctl("eswitch", "show", "ovs")["bypass"] is True and ctl("offload", "stats")["bypass"] is True)
    check("the client sees it", client.bypass == 1)
    while client.ports["web"].take(0.05):
        pass
    inside("web", "ping", "-c", "2", "-i", "0.2", "-W", "1", "10.0.0.6")
    check("packets come up", client.ports["web"].take(2) is not None)
    after = ctl("offload", "stats")
    check("and are counted", after["bypassed"] - before["bypassed"] >= 2 and after["hits"] == before["hits"], before, after)
    ctl("eswitch", "set", "ovs", "bypass=false")
    check("the client sees the end", client.bypass == 0)
    check("rules hold again", inside("web", "ping", "-c", "1", "-W", "2", "10.0.0.6").returncode == 0)


def tshark(name, *fields_, where=""):
    words = [word for field in fields_ for word in ("-e", field)]
    done = subprocess.run(["tshark", "-n", "-r", os.path.join(captures, name), "-Y", where, "-T", "fields", *words], capture_output=True, text=True)
    return [tuple(line.split("\t")) for line in done.stdout.splitlines()]


def capture(client):
    """Offloaded packets at both members, what goes up, what rules drop."""
    one = ctl("capture", "start", "file=members.pcapng", "stages=rx,tx,miss,drop")["id"]
    inside("web", "ping", "-c", "3", "-i", "0.2", "-W", "2", "10.0.0.6")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM):
        inside("web", "bash", "-c", "echo x >/dev/udp/10.0.0.6/53; echo y >/dev/udp/10.0.0.6/54")
    time.sleep(0.3)
    missed = ctl("capture", "stop", str(one))["missed"]
    check("nothing missed", missed == 0, missed)
    rows = tshark("members.pcapng", "frame.interface_name", "frame.comment", "ip.src", "ip.ttl", where="icmp")
    wanted = [("rx", "interface blue/web", "10.0.0.5", "64"), ("tx", "interface blue/db", "10.0.0.5", "64"),
              ("rx", "interface blue/db", "10.0.0.6", "64"), ("tx", "interface blue/web", "10.0.0.6", "9")]
    check("each ping is seen at both members, changed as the rule says", sorted(rows) == sorted(wanted * 3), rows)
    rows = tshark("members.pcapng", "frame.interface_name", "frame.comment", where="udp.dstport == 53")
    check("what a rule drops", sorted(rows) == [("drop", "interface blue/web, dropped: rule-drop"), ("rx", "interface blue/web")], rows)
    rows = tshark("members.pcapng", "frame.interface_name", "frame.comment", where="udp.dstport == 54")
    check("what goes up", sorted(rows) == [("miss", "interface blue/web"), ("rx", "interface blue/web"), ("tx", "interface web")], rows)
    one = ctl("capture", "start", "file=db.pcapng", "vnic=blue/db", "protocol=icmp")["id"]
    inside("web", "ping", "-c", "2", "-i", "0.2", "-W", "2", "10.0.0.6")
    ctl("capture", "stop", str(one))
    rows = tshark("db.pcapng", "frame.interface_name", "frame.comment")
    check("at one member alone", sorted(rows) == [("rx", "interface blue/db")] * 2 + [("tx", "interface blue/db")] * 2, rows)


class FakeOvs:
    """The control socket of an ovs-vswitchd that says what it is told to."""

    def __init__(self, answer):
        self.path, self.answer, self.asked = os.path.join(captures, "ovs.ctl"), answer, []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            link, _ = self.socket.accept()
            with link:
                self.asked.append(json.loads(link.recv(65536)))
                link.sendall(self.answer if isinstance(self.answer, bytes) else json.dumps({"id": 0, **self.answer}).encode())


def joined(client):
    """dpud's rules beside OVS's flows: those of both, of OVS alone, of dpud alone."""
    head = "skb_priority(0/0),ct_state(0/0),recirc_id({}),dp_hash(0/0),in_port({}),packet_type(ns=0,id=0),"
    ip = "eth(src=02:00:00:00:00:05/00:00:00:00:00:00,dst=02:00:00:00:00:06/00:00:00:00:00:00),eth_type(0x0800),"
    icmp = "ipv4(src=10.0.0.5/0.0.0.0,dst=10.0.0.6/0.0.0.0,proto=1,tos=0/0,ttl=64/0),icmp(type=8/0,code=0/0)"
    tail = ", packets:1, bytes:98, used:0.5s, {}dp:{}, actions:{}, dp-extra-info:miniflow_bits(5,1)"
    lines = ["flow-dump from pmd on cpu core: 1",
             "ufid:aaaa, " + head.format("0", "web") + ip + icmp + tail.format("offloaded:yes, ", "dpdk", "db"),
             "ufid:bbbb, " + head.format("0", "web") + "eth_type(0x1234)" + tail.format("offloaded:yes, ", "dpdk", "db"),
             "ufid:cccc, " + head.format("0", "db") + "eth_type(0x1235)" + tail.format("", "ovs", "ct(commit),recirc(0x1)"),
             "ufid:dddd, " + head.format("0x1", "db") + "eth_type(0x1236)" + tail.format("", "ovs", "web"),
             "ufid:eeee, " + head.format("0", "web") + "eth_type(0x1237)" + tail.format("offloaded:partial, ", "ovs", "br0,db")]
    ovs = FakeOvs({"result": "\n".join(lines) + "\n", "error": None})
    rows = ctl("offload", "flows", "--ovs", ovs.path)["flows"]
    check("OVS is asked as by ovs-appctl", ovs.asked == [{"id": 0, "method": "dpctl/dump-flows", "params": ["-m", "--names"]}], ovs.asked)
    by = {row["ufid"]: row for row in rows if row["ufid"]}
    check("a flow of both", by["aaaa"]["where"] == "both" and by["aaaa"]["why"] == "" and by["aaaa"]["packets"] > 1
          and by["aaaa"]["age_seconds"] is not None, by["aaaa"])
    check("one that dpud lacks", by["bbbb"]["where"] == "ovs" and "dpud has no such rule" in by["bbbb"]["why"], by["bbbb"])
    check("connection tracking", by["cccc"]["offloaded"] == "no" and "connection tracking" in by["cccc"]["why"], by["cccc"])
    check("a recirculated one", "recirculated" in by["dddd"]["why"], by["dddd"])
    check("a port that is none", "no representor" in by["eeee"]["why"] and by["eeee"]["offloaded"] == "partial", by["eeee"])
    rest = [row for row in rows if not row["ufid"]]
    check("those of dpud alone", len(rest) == len(flows("limit=1000")) - 1 and all(row["where"] == "dpud" for row in rest), len(rest))
    check("of one representor", len(ctl("offload", "flows", "representor=db", "--ovs", ovs.path)["flows"]) == 303)
    kept = ctl("offload", "refused", "--ovs", ovs.path)["kept_by_ovs"]
    check("what OVS keeps", [row["ufid"] for row in kept] == ["cccc", "dddd", "eeee"], kept)
    check("words that do not go with it", "does not go with --ovs" in run("offload", "flows", "limit=5", "--ovs", ovs.path, status=2))
    check("actions that do not", "goes with offload flows" in run("offload", "stats", "--ovs", ovs.path, status=2))
    ovs.answer = {"result": None, "error": "no datapath\n"}
    check("OVS refuses", "no datapath" in run("offload", "flows", "--ovs", ovs.path, status=1))
    ovs.answer = b"nonsense"
    check("what is no OVS", "no ovs-vswitchd" in run("offload", "flows", "--ovs", ovs.path, status=1))
    check("nobody there", "ovs-vswitchd.PID.ctl" in run("offload", "flows", "--ovs", "/nowhere", status=1))


def metrics(client):
    link = http.client.HTTPConnection("dpud")
    link.sock = socket.socket(socket.AF_UNIX)
    link.sock.connect(metrics_path)
    link.request("GET", "/metrics")
    text = link.getresponse().read().decode()
    values = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if not line.startswith("#")}
    stats = ctl("offload", "stats")
    for field, key in (("rules", "rules"), ("lookup_misses_packets_total", "lookup_misses"), ("upcalls_packets_total", "upcalls"),
                       ("refused_by_driver_flows_total", "refused_by_driver"), ("hits_packets_total", "hits"), ("rule_bytes", "rule_bytes")):
        name = next((name for name in values if name.startswith(f"dpu_eswitch_{field}{{")), None)
        check(f"the metric of {key}", name and abs(values[name] - stats[key]) <= 3, field, name and values[name], stats[key])
    check("of representors", any(name.startswith("dpu_representor_tx_packets_total{") and 'name="web"' in name for name in values))
    count = values.get("dpu_eswitch_insertion_seconds_count")
    check("the histogram of insertion", count == stats["insertion"][1]["commands"] == values['dpu_eswitch_insertion_seconds_bucket{le="+Inf"}'], count)
    buckets = [value for name, value in values.items() if name.startswith("dpu_eswitch_insertion_seconds_bucket")]
    check("its buckets add up", buckets == sorted(buckets) and len(buckets) > 10, buckets)
    check("refusals by the driver", values['dpu_eswitch_driver_refusals_total{reason="action"}'] == 5)


events = open(os.path.join(captures, "events"), "w+")
watcher = subprocess.Popen([dpuctl, "-i", f"{lab}-m", "-o", "json", "watch", "eswitch"], stdout=events)


def watch():
    decoder, rows = json.JSONDecoder(), []
    text = open(events.name).read()
    while text.strip():
        row, end = decoder.raw_decode(text.lstrip())
        rows.append(row)
        text = text.lstrip()[end:]
    return rows


def dpud_pid():
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(os.path.join(folder, "dpud.sock"))
        return struct.unpack("iII", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def health_of(name):
    """Of the client's ring, and of the worker that serves it."""
    threads = ctl("offload", "threads")
    return next((ring["health"] for ring in threads["rings"] if ring["client"].startswith(f"{name} (pid")), None), threads["threads"][0]["health"]


def health():
    """A worker that hangs, a ring that nobody serves, and one whose counter cannot be."""
    other = Client(os.path.join(folder, "eswitch.sock")).hello("waits")
    slots = struct.unpack_from("<I", other.region, other.region_rings() + 136)[0]
    for _ in range(5):  # a machine that is slow enough shows a ring only when it is stuck already
        with Stopped(dpud_pid(), "worker-0"):
            for index in range(slots):
                other.command(2, index % 900, 9)
            ring, _ = health_of("waits")
            wait("worker and ring are stuck", lambda: health_of("waits") == ("stuck", "stuck"))
            states = [row["health"] for row in ctl("offload", "threads")["threads"]]
            check("the other worker is not", states[1] in ("idle", "busy"), states)
        if ring == "full":
            break
        wait("the ring is empty again", lambda: health_of("waits")[0] == "idle")
    check("a ring is full before anybody knows more", ring == "full", ring)
    wait("all goes on", lambda: health_of("waits")[0] in ("busy", "idle") and health_of("waits")[1] in ("busy", "idle"))
    other.socket.close()
    liar = Client(os.path.join(folder, "eswitch.sock")).hello("lies")
    struct.pack_into("<I", liar.region, liar.region_rings(), 0x7fffffff)
    os.write(liar.wake, struct.pack("<Q", 1))
    wait("a ring is broken", lambda: health_of("lies")[0] == "broken")
    check("which stops nobody", health_of("lies")[1] in ("idle", "busy"))
    liar.socket.close()
    wait("they have gone", lambda: len(ctl("eswitch", "show", "ovs")["clients"]) == 1)


time.sleep(1)  # it says nothing when it has subscribed
client = Client(os.path.join(folder, "eswitch.sock")).hello("offload", rings=2)
client.ports = {name: client.open(name) for name in ("web", "db")}
inside("web", "ip", "neighbour", "replace", "10.0.0.6", "lladdr", "02:00:00:00:00:06", "dev", "eth0")
inside("db", "ip", "neighbour", "replace", "10.0.0.5", "lladdr", "02:00:00:00:00:05", "dev", "eth0")
# What comes up in vain is one lookup without result.
inside("web", "ping", "-c", "1", "-W", "1", "10.0.0.6")
lists(client)
statistics(client)
refusals(client, watch)
why()
bypass(client)
capture(client)
joined(client)
metrics(client)
health()
client.socket.close()
wait("it has gone", lambda: ctl("eswitch", "show", "ovs")["clients"] == [])
wait("coming and going are events", lambda: {"client-connected", "client-gone"} <= {event.get("notice") for event in watch()})
said = ctl("why", "vnic=blue/web", "dst=10.0.0.6", "src=10.0.0.5", "dst_mac=02:00:00:00:00:06")
check("why without a client", (said["verdict"], said["reason"]) == ("drop", "no-upcall"), said)
check("refusals outlive the client", len(ctl("offload", "refused")["refused"]) == 3)
watcher.terminate()
watcher.wait()
sys.exit(failed)
