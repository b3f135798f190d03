# SPDX-License-Identifier: BSD-3-Clause
"""The part of `./run bench ovs` about rules: how fast they come into force, through the driver and through OVS itself, and what querying
their counters costs the packets."""
import json
import os
import statistics
import subprocess
import sys
import time

import megaflows
from lab import GENERATOR_CORE, end, generate, wait_for
from offload_switches import DRIVER, Dpud, Offloaded

SIZES = {"10k": 10000, "200k": 200000, "1m": 1000000}
THREADS = {"": 1, "-2": 2}
MAX_RULES = 1 << 21
POLLED, POLLED_TUPLES, SAFE_RATE, POLL_SECONDS = 200000, 100000, 1000000, 2
# What dpud has taken from the generator while that waits for the core must have room on the way back, or the generator loses it.
RECEIVE_RING = 12
PAUSES_MS = {"1hz": 1000, "flat": 0}
OVS_FLOWS = 9000  # OVS begins with a limit of 10,000 and raises it slowly, whatever flow-limit says


class Client:
    """offload_client on the representors of a dpud; "with" it."""

    def __init__(self, lab, dpud, table, threads=1):
        devices = [word for port in (0, 1) for word in ("--vdev", dpud.devargs(port))]
        self.log = open(lab.path("client.log"), "w")
        self.process = subprocess.Popen(
            [os.path.abspath(os.path.join(lab.build, "tests/bench/offload_client")), "--lcores", f"0@{GENERATOR_CORE}",
             *lab.memory_arguments("sdclient"), f"-d{DRIVER}", *devices, "--", str(table), str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log, text=True, cwd=lab.folder, env=dict(os.environ, LD_LIBRARY_PATH=lab.driver_folder()))

    def __enter__(self):
        self.answer()
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        end(self.process)
        self.log.close()

    def answer(self):
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        with open(self.log.name) as log:
            raise RuntimeError(f"offload_client: {log.read()[-500:]}")

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def ask(self, command):
        self.tell(command)
        return self.answer()


class Started:
    """A dpud for the time of a "with"."""

    def __init__(self, lab, max_rules=MAX_RULES):
        lab.clear()
        self.dpud = Dpud(lab, max_rules=max_rules)

    def __enter__(self):
        try:
            self.dpud.start()
        except BaseException:
            self.dpud.stop()
            raise
        return self.dpud

    def __exit__(self, *error):
        self.dpud.stop()


def rules_once(client, dpud, count, threads, rates):
    """Rates of installing, of destroying and creating in turn, and of removing."""
    churned = count // 4
    for command, changes, left in ((f"install {count}", count, count), (f"churn {churned}", 2 * churned, count), ("remove", count, 0)):
        told = client.ask(command)
        there = dpud.statistics()
        if there["rules"] != left + threads or there["refused"]:  # each thread's marker
            raise RuntimeError(f"after '{command}' there are {there['rules']} rules, not {left + threads}; {there['refused']} were refused")
        rates.setdefault(command.split()[0], []).append(changes / told["seconds"])


def rules(lab, options):
    for threads_name, threads in THREADS.items():
        for name, count in SIZES.items():
            key = f"offload-rules-{name}{threads_name}"
            if options.only and options.only not in key:
                continue
            rates = {}
            with Started(lab) as dpud, Client(lab, dpud, 2 * count, threads) as client:
                for _ in range(options.rounds):
                    rules_once(client, dpud, count, threads, rates)
            figures = {verb: round(statistics.median(all)) for verb, all in rates.items()}
            print(f"{key}: {figures}", file=sys.stderr)
            yield {"id": key, "unit": "rules/s", "ours": figures["churn"], "best": round(max(rates["churn"])), "threads": threads,
                   **figures, **{f"{verb}_best": round(max(all)) for verb, all in rates.items()}}


class Exact(Offloaded):
    """OVS whose one rule looks at the whole five-tuple: each is a megaflow."""
    RULE = ("udp,actions=move:NXM_OF_IP_SRC[]->NXM_NX_REG0[],move:NXM_OF_IP_DST[]->NXM_NX_REG1[],move:NXM_OF_UDP_SRC[]->NXM_NX_REG2[0..15],"
            "move:NXM_OF_UDP_DST[]->NXM_NX_REG2[16..31],output:m1")

    def start(self, scenario):
        self.lab.clear()
        self.launch()
        self.port("br0", 0)
        self.port("br0", 1)
        self.ovs.flow("br0", self.RULE)


def ovs_rate(lab):
    """Rules per second from the first packet of the first flow until all are in force."""
    switch, found = Exact(lab), {}

    def learn():
        start = time.monotonic()
        wait_for("OVS to install its flows", lambda: switch.dpud.statistics()["rules"] >= OVS_FLOWS, seconds=60)
        found["rate"] = OVS_FLOWS / (time.monotonic() - start)

    try:
        switch.start("forward")
        generate(lab, 1, OVS_FLOWS, 1, warm_rate=100000, running=learn)
    finally:
        switch.stop()
    return found["rate"]


def ovs(lab, options):
    key = "offload-rules-ovs"
    if options.only and options.only not in key:
        return
    rates = [ovs_rate(lab) for _ in range(options.rounds)]
    print(f"{key}: {statistics.median(rates):.0f}", file=sys.stderr)
    yield {"id": key, "unit": "rules/s", "ours": round(statistics.median(rates)), "best": round(max(rates)), "flows": OVS_FLOWS}


# ---- counters

def write_polled(path):
    """Five-tuples that the first rules of offload_client are for."""
    with open(path, "w") as file:
        file.writelines(f"{megaflows.address((10 << 24) + i)} 172.16.0.1 1024 5000\n" for i in range(POLLED_TUPLES))


def traffic(lab, dpud, client, pause_ms, rate):
    """Cycles per packet and what was lost, while counters are queried: pause_ms between rounds, or None for not at all."""
    polled, found = {}, {}

    def warm():
        dpud.reset()
        if pause_ms is not None:
            client.tell(f"poll {POLL_SECONDS} {pause_ms}")

    def done():
        found["cycles"] = dpud.cycles()[0]
        if pause_ms is not None:
            polled.update(client.answer())

    told = generate(lab, 1, POLLED_TUPLES, POLL_SECONDS, tuples=lab.path("polled"), rate=rate, ring=RECEIVE_RING, warm=warm, done=done)
    return {**found, "lost": told["sent"] - told["received"], "sent": told["sent"], "mpps": told["rx_mpps"], **polled}


def poll(lab, options):
    names = [name for name in PAUSES_MS if not options.only or options.only in f"offload-poll-{name}"]
    if not names:
        return
    write_polled(lab.path("polled"))
    seen = {}
    with Started(lab) as dpud, Client(lab, dpud, POLLED) as client:
        client.ask(f"install {POLLED}")
        for _ in range(options.rounds):
            for name in ["none", *names]:
                for rate in (0, SAFE_RATE):
                    one = traffic(lab, dpud, client, PAUSES_MS.get(name), rate)
                    seen.setdefault((name, rate), []).append(one)
                    print(f"offload-poll {name} at rate {rate}: {one}", file=sys.stderr)
    for name in names:
        yield polled_result(name, seen)


def polled_result(name, seen):
    def median(polling, rate, what):
        return statistics.median(one[what] for one in seen[(polling, rate)])

    ours, theirs = median(name, 0, "cycles"), median("none", 0, "cycles")
    return {"id": f"offload-poll-{name}", "unit": "cycles/packet", "ours": round(ours, 1), "peer": "no polling", "theirs": round(theirs, 1),
            "ratio": round(theirs / ours, 3), "cycles": round(ours, 1), "counters": POLLED,
            "queries_per_second_possible": round(POLLED / median(name, 0, "seconds")),
            "rounds_polled": median(name, 0, "rounds"), "lost": max(one["lost"] for one in seen[(name, SAFE_RATE)]),
            "lost_without": max(one["lost"] for one in seen[("none", SAFE_RATE)]), "sent": seen[(name, SAFE_RATE)][0]["sent"],
            "lost_flat_out": max(one["lost"] for one in seen[(name, 0)]), "lost_flat_out_without": max(one["lost"] for one in seen[("none", 0)])}


def results(lab, options):
    yield from rules(lab, options)
    yield from ovs(lab, options)
    yield from poll(lab, options)
