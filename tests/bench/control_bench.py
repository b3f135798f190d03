#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What `./run bench control` runs in its namespaces: one dpud after another, and what its management side costs."""
import argparse
import json
import os
import shutil
import socket
import statistics
import sys
import threading
import time

from dpud_client import Daemon
from lab import Lab, generate, run, wait_for
from switch_ours import switch_document

NET = {"version": 1, "tenants": [{"name": "t"}], "vpcs": [{"name": "v", "tenant": "t", "vni": 1000}],
       "subnets": [{"name": "s", "tenant": "t", "vpc": "v", "prefix_v4": "10.0.0.0/16"}]}
IDLE_SECONDS, RATE = 10, 100000


def result(name, unit, value, aim, **more):
    line = {"id": name, "unit": unit, "ours": round(value, 3), "aim": aim, **more}
    print(json.dumps(line), file=sys.stderr)
    return line


def vnics(count, **fields):
    return [{"name": f"n{i}", "tenant": "t", "subnet": "s", **{key: value(i) if callable(value) else value for key, value in fields.items()}}
            for i in range(count)]


class Bench:
    def __init__(self, folder, build):
        self.folder, self.build = folder, build
        self.lab = Lab(folder, build)

    def daemon(self, *options, fresh=True):
        folder = os.path.join(self.folder, "dpud")
        if fresh:
            shutil.rmtree(os.path.join(folder, "store"), ignore_errors=True)
        return Daemon(self.build, folder, *options)

    def rss_idle(self):
        """Just started, with defaults: nothing in the store, no huge pages."""
        daemon = self.daemon("--huge-pages", "off")
        time.sleep(1)
        rss = daemon.rss_mb()
        daemon.stop()
        return result("rss-idle", "MB", rss, 200)

    def idle_ten_vnics(self):
        """The CPU time of the whole process, its share of one core."""
        daemon = self.daemon("--huge-pages", "off")
        daemon.call("dpu.apply", document={**NET, "vnics": vnics(10, backend="tap", tap_name=lambda i: f"idle{i}")})
        wait_for("the TAPs", lambda: len([1 for _, name in socket.if_nameindex() if name.startswith("idle")]) == 10)
        for i in range(10):
            run(["ip", "link", "set", f"idle{i}", "up"])
        time.sleep(3)
        before = daemon.cpu_seconds()
        time.sleep(IDLE_SECONDS)
        share = (daemon.cpu_seconds() - before) / IDLE_SECONDS * 100
        daemon.stop()
        return result("idle-ten-vnics", "% of a core", share, 2)

    def start_1000(self, name, **fields):
        """From exec to READY=1 with a thousand vNICs in the store; then its memory."""
        daemon = self.daemon("--huge-pages", "off")
        daemon.call("dpu.apply", document={**NET, "vnics": vnics(1000, **fields)})
        daemon.stop()
        seconds = []
        for _ in range(3):
            daemon = self.daemon("--huge-pages", "off", fresh=False)
            seconds.append(daemon.seconds)
            count, rss = len(daemon.call("vnic.list")["objects"]), daemon.rss_mb()
            daemon.stop()
        if count != 1000:
            raise RuntimeError(f"{name}: {count} vNICs after the start")
        return result(name, "s", statistics.median(seconds), 3, best=round(min(seconds), 3), rss_mb=round(rss))

    def load_100k(self):
        """One transaction of 100,000 mappings while packets are forwarded; from its first byte to the answer: durable and in force."""
        self.lab.clear()
        daemon = self.daemon("--huge-pages", "on", "--cpus", "1", "--eal", f"--huge-dir {self.lab.huge}")
        daemon.call("dpu.apply", document=switch_document(self.lab, "encap"))
        changes = json.dumps({"diff": False, "changes": [
            {"op": "create", "class": "mapping", "tenant": "t", "name": f"m{i}",
             "fields": {"vpc": "v", "address": f"10.{64 + (i >> 16)}.{i >> 8 & 255}.{i & 255}", "mac": f"02:01:00:{i >> 16:02x}:{i >> 8 & 255:02x}:{i & 255:02x}",
                     "vtep": f"192.0.2.{3 + i % 250}"}} for i in range(100000)]}, separators=(",", ":"))
        took, before, after = [], {}, {}

        def drops():
            return {line["reason"]: line["packets"] for line in daemon.call("dpu.drops")["drops"]}

        def load():
            time.sleep(0.5)
            start = time.monotonic()
            daemon.client.call_text("dpu.transaction", changes)
            took.append(time.monotonic() - start)

        def warm():
            """From here on every flow is known; what came before the far VTEP had answered ARP was dropped by that name."""
            before.update(drops())
            loader.start()

        loader = threading.Thread(target=load)
        def done():
            loader.join()
            after.update(drops())

        told = generate(self.lab, 1, 1000, 8, warm=warm, done=done, rate=RATE)
        dropped = {reason: packets - before[reason] for reason, packets in after.items() if packets > before[reason]}
        count = daemon.call("vpc.get", tenant="t", name="v", observe=True)["addresses"]
        daemon.stop()
        if not took or count < 100000:
            raise RuntimeError(f"load-100k-mappings: {count} addresses afterwards")
        if took[0] > 7:
            raise RuntimeError(f"load-100k-mappings: {took[0]} s, longer than the traffic")
        return result("load-100k-mappings", "s", took[0], 2, packets=told["sent"], lost=told["sent"] - told["received"], dropped=dropped,
                      dropped_before=sum(before.values()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--only")
    options = parser.parse_args()
    bench = Bench(options.folder, options.build)
    run(["ip", "link", "set", "lo", "up"])
    if os.path.isdir(bench.lab.huge):
        run(["mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", bench.lab.huge])
    runs = {"rss-idle": bench.rss_idle, "idle-ten-vnics": bench.idle_ten_vnics,
            "start-1000-vnics": lambda: bench.start_1000("start-1000-vnics"),
            "start-1000-taps": lambda: bench.start_1000("start-1000-taps", backend="tap", tap_name=lambda i: f"tap{i}"),
            "load-100k-mappings": bench.load_100k}
    print(json.dumps({"bench": "control", "results": [run() for name, run in runs.items() if not options.only or options.only in name]}, indent=1))


main()
