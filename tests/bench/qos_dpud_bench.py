# SPDX-License-Identifier: BSD-3-Clause
"""A tenant with a guarantee beside a noisy one, through a whole dpud on one core: over disks, over NVMe/TCP, and a disk beside NVMe/TCP.

What is to be seen is how dpud shares its core and its medium out, not how the kernel shares the other core between two loads: so one
thread drives both (tests/bench/qos_load), by turns that are short against the latencies, and says how long they were. p99 is the median
of slices of 50 ms, because whatever else runs on two cores takes them away for milliseconds; that of the whole is told, too (all_p99_us).
dpud's own times of the quiet volume, from when it had a request to its end, have nothing of the load in them (inside_p99_us). core_share is
how much of the time that dpud's worker wanted its core it had it: with less than 0.97 the percentiles are those of the machine."""
import json
import os
import statistics
import subprocess
import sys

from dpud_client import Daemon
from lab import CoreShare, GENERATOR_CORE, SWITCH_CORE, wait_for

ADDRESS, PORT, NQN = "127.0.0.1", 4430, "nqn.2026-11.softdpu:qos-"
GUARANTEE, ASKED = 20000, 18000
MIB = 1 << 20
# Of the quiet tenant, one for each of what is compared: so each has times of its own.
VOLUMES = {"alone": 32 * MIB, "beside": 32 * MIB, "noisy": 64 * MIB}
PAIRS = {"vhost": ("vhost", "vhost"), "nvmf": ("nvmf", "nvmf"), "vhost-nvmf": ("vhost", "nvmf")}


class Rig:
    """A dpud with three volumes of a pool, each with a disk and a namespace."""

    def __init__(self, bench, medium, guaranteed):
        self.bench, folder = bench, bench.fresh("dpud")
        self.sockets = {name: os.path.join(folder, f"run/{name}.sock") for name in VOLUMES}
        self.daemon = Daemon(bench.build, folder, "--huge-pages", "off", "--workers", "1", "--cpus", str(SWITCH_CORE))
        owner = {name: "loud" if name == "noisy" else "calm" for name in VOLUMES}
        policy = {"qos": "gold"} if guaranteed else {}
        self.daemon.call("dpu.apply", document={
            "version": 1, "tenants": [{"name": "calm"}, {"name": "loud"}],
            "qos_policies": [{"name": "gold", "tenant": "calm", "guarantee_iops": GUARANTEE}],
            "media": [medium], "pools": [{"name": "p", "media": [medium["name"]]}],
            "volumes": [{"name": name, "tenant": owner[name], "pool": "p", "size": size, **(policy if name != "noisy" else {})}
                        for name, size in VOLUMES.items()],
            "disks": [{"name": name, "tenant": owner[name], "volume": name, "backend": "vhost_user_server", "socket": self.sockets[name],
                       "queues": 4} for name in VOLUMES],
            "nvmf_listeners": [{"name": "l", "address": ADDRESS, "port": PORT}],
            "nvmf_subsystems": [{"name": name, "tenant": owner[name], "nqn": NQN + name, "allow_any_host": True} for name in VOLUMES],
            "nvmf_namespaces": [{"name": name, "tenant": owner[name], "subsystem": name, "volume": name} for name in VOLUMES]})
        for path in self.sockets.values():
            wait_for("a disk's socket", lambda path=path: os.path.exists(path))
            bench.fill(path)

    def target(self, kind, name):
        return f"vhost:{self.sockets[name]}" if kind == "vhost" else f"nvmf:{ADDRESS}:{PORT}:{NQN}{name}"

    def load(self, quiet, noisy, name):
        words = [f"quiet={self.target(quiet, name)}", f"rate={ASKED}", f"seconds={self.bench.options.seconds}"]
        if name == "beside":
            words.append(f"noisy={self.target(noisy, 'noisy')}")
        share = CoreShare(self.daemon.process.pid, "worker-0")
        done = subprocess.run(["taskset", "-c", str(GENERATOR_CORE), os.path.join(self.bench.build, "tests/bench/qos_load"), *words],
                              capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"qos_load: {done.stderr[-500:]}{done.stdout[-500:]}")
        return json.loads(done.stdout) | {"core_share": share.now()}

    def inside_us(self, name):
        """p99 of the volume's reads, by dpud."""
        rows = self.daemon.call("volume.latency", tenant="calm", name=name)
        return {row["stage"]: row["p99_us"] for row in rows if row["requests"] == "read"}


def measure(bench, medium, pair, guaranteed):
    rig, seen = Rig(bench, medium, guaranteed), {"alone": [], "beside": []}
    try:
        for _ in range(max(3, bench.options.rounds)):
            for name, rounds in seen.items():
                rounds.append(rig.load(*pair, name))
        return seen, {name: rig.inside_us(name) for name in seen}
    finally:
        rig.daemon.stop()


def compared(name, seen, inside):
    def middle(which, *keys):
        def value(one):
            for key in keys:
                one = one[key]
            return one
        return statistics.median(value(one) for one in seen[which])
    alone, beside = (middle(which, "latency_ns", "p99") / 1000 for which in ("alone", "beside"))
    line = {"id": name, "unit": "us, p99", "ours": round(beside, 1), "peer": "alone", "theirs": round(alone, 1), "ratio": round(alone / beside, 2),
            "p99_factor": round(beside / alone, 2), "rate_change_percent": round(100 * (middle("beside", "rate") / middle("alone", "rate") - 1), 2),
            "rate": round(middle("beside", "rate")), "neighbour": round(middle("beside", "noisy_iops")),
            "p50": round(middle("beside", "latency_ns", "p50") / 1000, 1), "p50_alone": round(middle("alone", "latency_ns", "p50") / 1000, 1),
            "all_p99_us": round(middle("beside", "all_ns", "p99") / 1000, 1), "all_p99_alone_us": round(middle("alone", "all_ns", "p99") / 1000, 1),
            "inside_p99_us": inside["beside"], "inside_p99_alone_us": inside["alone"],
            "core_share": [round(middle(which, "core_share"), 3) for which in ("alone", "beside")],
            "turn_p99_us": [round(middle(which, "turn_ns", "p99") / 1000, 1) for which in ("alone", "beside")]}
    print(json.dumps(line), file=sys.stderr)
    return line


def results(bench):
    """Lines for `./run bench block`."""
    medium = {"name": "m", "kind": "ram", "size": 192 * MIB}
    for kinds, pair in PAIRS.items():
        for guaranteed in (True, False):
            name = f"qos-dpud-{kinds}" + ("" if guaranteed else "-unprotected")
            if bench.wanted(name):
                yield compared(name, *measure(bench, medium, pair, guaranteed))
