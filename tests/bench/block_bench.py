#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What `./run bench block` runs: disks in turns with qemu-storage-daemon, and programs that measure the store and QoS by themselves."""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import qos_dpud_bench
from dpud_client import Daemon
from lab import GENERATOR_CORE, SWITCH_CORE, end, wait_for

BYTES = 1 << 30
PORT, NQN = 4420, "nqn.2026-11.softdpu:bench"
# null-co touches no data: memory that stays in the cache is what comes nearest to it.
SPANS = {"ram": 16 << 20, "disk": 256 << 20}
WIDE = 256 << 20  # … and what does not
MEMORY = ("null", "ram")  # what null-co is measured against
DEPTHS = (1, 32, 128)
IDLE_SECONDS = 8
NVMF_TURNS = 5  # without and with digests, of each target


def result(name, unit, ours, peer, theirs, ratio, **more):
    line = {"id": name, "unit": unit, "ours": ours, "peer": peer, "theirs": theirs, "ratio": round(ratio, 2), **more}
    print(json.dumps(line), file=sys.stderr)
    return line


class Ours:
    """A dpud with one disk on a medium, or on a volume of a pool on it."""
    name = "dpud"

    def __init__(self, bench, kind):
        folder = bench.fresh("dpud")
        self.daemon = Daemon(bench.build, folder, "--huge-pages", "off", "--workers", "1", "--cpus", str(SWITCH_CORE))
        self.socket = os.path.join(folder, "run/disk.sock")
        media = [{"name": "m", "kind": kind, "size": BYTES}]
        if kind not in MEMORY:
            media = [{"name": "m", "path": bench.file(kind, "ours", BYTES * (2 if kind == "volume" else 1)), "cached": kind != "disk"}]
        document = {"version": 1, "tenants": [{"name": "t"}], "media": media,
                    "disks": [{"name": "d", "tenant": "t", "backend": "vhost_user_server", "socket": self.socket, "queues": 1, "queue_size": 256,
                               **({"volume": "v"} if kind == "volume" else {"medium": "m"})}]}
        if kind == "volume":
            document["pools"] = [{"name": "p", "media": ["m"]}]
            document["volumes"] = [{"name": "v", "tenant": "t", "pool": "p", "size": BYTES}]
        self.daemon.call("dpu.apply", document=document)
        wait_for("the disk's socket", lambda: os.path.exists(self.socket))

    def busy_cycles(self):
        return self.daemon.call("dpu.workers")["workers"][0]["busy_cycles"]

    def stop(self):
        self.daemon.stop()


class Theirs:
    """A qemu-storage-daemon with one export."""
    name = "qemu-storage-daemon"
    more = ""

    def __init__(self, bench, kind):
        self.socket = os.path.join(bench.folder, "qsd.sock")
        node = f"driver=null-co,node-name=d,size={BYTES}{self.more}"
        if kind not in MEMORY:
            direct = ",cache.direct=on,aio=native" if kind == "disk" else ""
            node = f"driver=file,node-name=d,filename={bench.file(kind, 'theirs', BYTES)}{direct}"
        self.process = subprocess.Popen(["taskset", "-c", str(SWITCH_CORE), "qemu-storage-daemon", "--blockdev", node, "--export",
                                         f"vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path={self.socket},writable=on,num-queues=1"])
        wait_for("the export's socket", lambda: os.path.exists(self.socket), process=None)

    def busy_cycles(self):
        return 0

    def stop(self):
        end(self.process)
        if os.path.exists(self.socket):
            os.unlink(self.socket)


class Zeroes(Theirs):
    """The same with null-co told to write what it is read from, as a disk does."""
    name = "qemu-storage-daemon, read-zeroes"
    more = ",read-zeroes=on"


class Bench:
    def __init__(self, options):
        self.folder, self.build, self.options = options.folder, options.build, options
        self.shm = tempfile.mkdtemp(dir="/dev/shm", prefix="softdpu-bench-")

    def file(self, kind, name, size):
        """Written, so that no page is missing; on the disk, or else in memory."""
        path = os.path.join(self.folder if kind == "disk" else self.shm, name)
        size = SPANS["disk"] if kind == "disk" else size
        if not os.path.exists(path) or os.path.getsize(path) != size:
            with open(path, "wb") as file:
                block = bytes(range(256)) * 4096
                for _ in range(size // len(block)):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())  # else the disk writes while it is measured
        return path

    def fresh(self, name):
        """A folder for a dpud that knows of no other."""
        folder = os.path.join(self.folder, name)
        shutil.rmtree(os.path.join(folder, "store"), ignore_errors=True)
        return folder

    def wanted(self, name):
        return not self.options.only or self.options.only in name

    def load(self, socket, *words, span=BYTES):
        done = subprocess.run(["taskset", "-c", str(GENERATOR_CORE), os.path.join(self.build, "tests/bench/vhost_blk_load"), socket,
                               f"span={span}", f"seconds={self.options.seconds}", "warm_up=0.3", *words], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"vhost_blk_load: {done.stderr[-500:]}{done.stdout[-500:]}")
        told = json.loads(done.stdout)
        if told["errors"]:
            raise RuntimeError(f"{told['errors']} requests failed")
        return told

    def fill(self, disk):
        """Each block of a thin volume, and each page of memory, is there before it is read."""
        self.load(disk, "fill", "seconds=0.1")

    # ---- disks ----

    def loads(self, kind):
        """(id, words of the load)"""
        names = [(f"vhost-{kind}-d{depth}", [f"depth={depth}"]) for depth in DEPTHS if depth > 1]
        if kind == "ram":
            names += [("vhost-ram-wide-d32", ["depth=32", f"span={WIDE}"])]
        elif kind != "null":
            names += [(f"vhost-{kind}-write-d32", ["write", "depth=32"])]
        names += [(f"vhost-latency-{kind}", ["depth=1"])]
        return [one for one in names if self.wanted(one[0])]

    def measure(self, side, kind, seen):
        loads = self.loads(kind)
        if not loads:
            return
        server = side(self, kind)
        try:
            if side is Ours and kind != "disk":  # that file was written before
                self.fill(server.socket)
            for name, words in loads:
                before = server.busy_cycles()
                told = self.load(server.socket, *words, span=SPANS.get(kind, BYTES))
                told["cycles"] = (server.busy_cycles() - before) / max(1, told["iops"] * (self.options.seconds + 0.3))
                seen.setdefault((name, server.name), []).append(told)
                print(name, server.name, round(told["iops"]), told["latency_ns"]["p99"], file=sys.stderr)
        finally:
            server.stop()

    def disks(self):
        seen = {}
        for _ in range(self.options.rounds):
            for kind in (*MEMORY, "file", "disk"):
                self.measure(Theirs, kind, seen)
                self.measure(Ours, kind, seen)
                if kind in MEMORY:
                    self.measure(Zeroes, kind, seen)
            self.measure(Ours, "volume", seen)
        for kind in (*MEMORY, "file", "disk"):
            for name, _ in self.loads(kind):
                yield self.compared(name, seen[(name, Ours.name)], Theirs.name, seen[(name, Theirs.name)])
                if kind in MEMORY:
                    yield self.compared(name + "-zeroes", seen[(name, Ours.name)], Zeroes.name, seen[(name, Zeroes.name)])
        for name, _ in self.loads("volume"):
            other = seen.get((name.replace("volume", "file"), Ours.name))
            if other:
                yield self.compared(name, seen[(name, Ours.name)], "our disk on the file", other)

    @staticmethod
    def compared(name, ours, peer, theirs):
        def middle(rounds, *keys):
            def value(one):
                for key in keys:
                    one = one[key]
                return one
            return statistics.median(value(one) for one in rounds)
        tails = {f"{who}_p99_us": round(middle(rounds, "latency_ns", "p99") / 1000, 1) for who, rounds in (("ours", ours), ("theirs", theirs))}
        if "latency" in name:
            mine, other = (round(middle(rounds, "latency_ns", "p50") / 1000, 1) for rounds in (ours, theirs))
            return result(name, "us, median", mine, peer, other, other / mine, **tails)
        mine, other = round(middle(ours, "iops")), round(middle(theirs, "iops"))
        return result(name, "I/Os per second", mine, peer, other, mine / other, cycles=round(middle(ours, "cycles")), **tails)

    # ---- NVMe/TCP ----

    def nvmf_load(self, *words):
        done = subprocess.run(["taskset", "-c", str(GENERATOR_CORE), os.path.join(self.build, "tests/bench/nvmf_load"), *words, "queues=4",
                               "depth=32", f"seconds={max(1, round(self.options.seconds))}"], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"nvmf_load: {done.stderr[-500:]}{done.stdout[-500:]}")
        return json.loads(done.stdout)

    def nvmf_read(self, daemon, *words):
        """I/Os per second, and the target's cycles for each, by stage."""
        before = daemon.call("dpu.workers")["workers"][0]
        told = self.nvmf_load("read", "127.0.0.1", str(PORT), NQN, *words)
        after = daemon.call("dpu.workers")["workers"][0]
        stages = {stage: cycles - before["stage_cycles"][stage] for stage, cycles in after["stage_cycles"].items()}
        each = (after["busy_cycles"] - before["busy_cycles"]) / max(1, told["requests"])
        return {"iops": told["iops"], "cycles": round(each),
                "stages": {stage: round(each * cycles / max(1, sum(stages.values()))) for stage, cycles in stages.items()}}

    def nvmf_pair(self, daemon, digest_first):
        """Without and with data digests; who is first changes, since the machine drifts."""
        seen = {digests: self.nvmf_read(daemon, f"digests={digests}") for digests in ((2, 0) if digest_first else (0, 2))}
        return [seen[0], seen[2]]

    def nvmf_target(self, kind):
        """Random reads of a namespace, on filled memory or on a thin volume of a pool on memory: pairs, without and with data digests."""
        folder = self.fresh("dpud")
        daemon = Daemon(self.build, folder, "--huge-pages", "off", "--workers", "1", "--cpus", str(SWITCH_CORE))
        disk = os.path.join(folder, "run/fill.sock")
        backing = {"volume": "v"} if kind == "volume" else {"medium": "m"}
        document = {"version": 1, "tenants": [{"name": "t"}],
                    "media": [{"name": "m", "kind": "ram", "size": BYTES + (BYTES >> 2 if kind == "volume" else 0)}],
                    "disks": [{"name": "d", "tenant": "t", "backend": "vhost_user_server", "socket": disk, **backing}]}
        if kind == "volume":
            document |= {"pools": [{"name": "p", "media": ["m"]}], "volumes": [{"name": "v", "tenant": "t", "pool": "p", "size": BYTES}]}
        try:
            daemon.call("dpu.apply", document=document)
            wait_for("the disk's socket", lambda: os.path.exists(disk))
            self.fill(disk)
            daemon.call("disk.delete", name="t/d")
            daemon.call("dpu.apply", document={
                "version": 1, "nvmf_listeners": [{"name": "l", "address": "127.0.0.1", "port": PORT}],
                "nvmf_subsystems": [{"name": "s", "tenant": "t", "nqn": NQN, "allow_any_host": True}],
                "nvmf_namespaces": [{"name": "n", "tenant": "t", "subsystem": "s", **backing}]})
            return [self.nvmf_pair(daemon, digest_first=turn % 2 == 1) for turn in range(NVMF_TURNS)]
        finally:
            daemon.stop()

    def nvmf_echo(self):
        server = subprocess.Popen(["taskset", "-c", str(SWITCH_CORE), os.path.join(self.build, "tests/bench/nvmf_load"), "echo-server",
                                   "127.0.0.1", str(PORT + 1)])
        try:
            time.sleep(0.3)
            return self.nvmf_load("echo", "127.0.0.1", str(PORT + 1))
        finally:
            end(server)

    @staticmethod
    def nvmf_compared(name, rounds, peer, **more):
        """The median of the rounds' ratios: what the machine does besides changes from round to round."""
        mine, other = (round(statistics.median(one[i]["iops"] for one in rounds)) for i in (0, 1))
        ratio = statistics.median(ours["iops"] / theirs["iops"] for ours, theirs in rounds)
        stages = {stage: round(statistics.median(ours["stages"][stage] for ours, _ in rounds)) for stage in rounds[0][0]["stages"]}
        if more.pop("less", False):
            more["less_percent"] = round(100 * (1 - ratio), 1)
            more["more_cycles_percent"] = round(100 * (statistics.median(ours["cycles"] / theirs["cycles"] for ours, theirs in rounds) - 1), 1)
        return result(name, "I/Os per second", mine, peer, other, ratio, cycles=round(statistics.median(ours["cycles"] for ours, _ in rounds)),
                      stages=stages, **more)

    def nvmf(self):
        kinds = [kind for kind in ("ram", "volume") if any(self.wanted(f"nvmf-{kind}{more}") for more in ("", "-digest"))]
        if not kinds:
            return
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        seen = []
        for _ in range(self.options.rounds):
            seen.append({"echo": self.nvmf_echo(), **{kind: self.nvmf_target(kind) for kind in kinds}})
            print("nvmf", {name: round(told["iops"]) if name == "echo" else [[round(one["iops"]) for one in pair] for pair in told]
                           for name, told in seen[-1].items()}, file=sys.stderr)
        for kind in kinds:
            yield self.nvmf_compared(f"nvmf-{kind}", [(plain, one["echo"]) for one in seen for plain, _ in one[kind]], "a bare TCP echo, 72 to 4168 bytes")
            yield self.nvmf_compared(f"nvmf-{kind}-digest", [(digest, plain) for one in seen for plain, digest in one[kind]], "the target without data digests", less=True)

    # ---- the store ----

    def store_bench(self, *words):
        return json.loads(subprocess.run(["taskset", "-c", str(SWITCH_CORE), os.path.join(self.build, "src/service/block/store/store_bench"), "20000",
                                          *words], capture_output=True, text=True, check=True, timeout=300).stdout)

    def volume_compared(self, told, names):
        """names: id → (rounds, ours, theirs, peer). The check sum is what no volume can do without. Medians of the rounds' ratios and differences, as above."""
        def middle(rounds, value):
            return statistics.median(value(one) for one in told[rounds])
        for name, (rounds, ours, theirs, peer) in names.items():
            if self.wanted(name):
                mine, other = (middle(rounds, lambda one, key=key: one[key]) for key in (ours, theirs))
                ratio = middle(rounds, lambda one, ours=ours, theirs=theirs: one[theirs] / one[ours])
                yield result(name, "cycles/request", mine, peer, other, ratio, more_percent=round(100 * (1 / ratio - 1), 1),
                             more_cycles=round(middle(rounds, lambda one, ours=ours, theirs=theirs: one[ours] - one[theirs])),
                             crc_cycles=middle("rounds", lambda one: one["crc"]))

    def store(self):
        thin = {"thin-vs-raw": ("rounds", "read_volume", "read_medium", "the medium"),
                "thin-vs-raw-write": ("rounds", "write_volume", "write_medium", "the medium")}
        on_memory = {name.replace("raw", "raw-ram"): columns for name, columns in thin.items()}
        on_file = thin | {"clone-10": ("clones", "read_clone10", "read_volume", "the volume")}
        words = ["recovery"] if self.wanted("recovery-1m") else []
        if any(self.wanted(name) for name in on_memory):
            yield from self.volume_compared(self.store_bench(), on_memory)
        if not words and not any(self.wanted(name) for name in on_file):
            return
        told = self.store_bench(self.shm, *words)
        yield from self.volume_compared(told, on_file)
        if words:
            log, pages = told["recovery"]
            yield {"id": "recovery-1m", "unit": "s", "ours": log["seconds"], "aim": 5, "extents": log["extents"], "replayed": log["replayed"],
                   "from_checkpoint": pages["seconds"]}

    # ---- quality of service ----

    def qos(self):
        program = os.path.join(self.build, "tests/bench/qos_bench")
        for medium, path in (("ram", ""), ("file", os.path.join(self.shm, "qos")), ("disk", os.path.join(self.folder, "qos"))):
            if not any(self.wanted(name) for name in (f"qos-neighbour-{medium}", f"qos-neighbour-{medium}-unprotected", "qos-cost-none")):
                continue
            text = subprocess.run(["taskset", "-c", str(SWITCH_CORE), program, medium, path, "0.3"], capture_output=True, text=True, check=True,
                                  timeout=120).stdout
            for line in text.splitlines():
                told = json.loads(line)
                if self.wanted(told["id"]):
                    print(line, file=sys.stderr)
                    yield told

    def qos_dpud(self):
        if any(self.wanted(f"qos-dpud-{kinds}{more}") for kinds in qos_dpud_bench.PAIRS for more in ("", "-unprotected")):
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield from qos_dpud_bench.results(self)

    # ---- nothing to do ----

    def idle(self):
        """Ten disks of ten volumes, each with a front end that asks for nothing."""
        if not self.wanted("idle-10-volumes"):
            return
        folder = self.fresh("dpud")
        daemon = Daemon(self.build, folder, "--huge-pages", "off", "--workers", "1")
        sockets = [os.path.join(folder, f"run/idle{i}.sock") for i in range(10)]
        daemon.call("dpu.apply", document={
            "version": 1, "tenants": [{"name": "t"}], "media": [{"name": "i", "path": self.file("idle", "idle", 256 << 20), "cached": True}],
            "pools": [{"name": "i", "media": ["i"]}],
            "volumes": [{"name": f"v{i}", "tenant": "t", "pool": "i", "size": 64 << 20} for i in range(10)],
            "disks": [{"name": f"d{i}", "tenant": "t", "volume": f"v{i}", "backend": "vhost_user_server", "socket": sockets[i]} for i in range(10)]})
        wait_for("the sockets", lambda: all(os.path.exists(path) for path in sockets))
        guests = [subprocess.Popen([os.path.join(self.build, "tests/bench/vhost_blk_load"), path, "idle", f"seconds={IDLE_SECONDS + 4}"],
                                   stdout=subprocess.DEVNULL) for path in sockets]
        time.sleep(2)
        before = daemon.cpu_seconds()
        time.sleep(IDLE_SECONDS)
        share = (daemon.cpu_seconds() - before) / IDLE_SECONDS * 100
        gone = [guest.poll() for guest in guests if guest.poll() is not None]
        for guest in guests:
            guest.kill()
            guest.wait()
        daemon.stop()
        if gone:
            raise RuntimeError(f"{len(gone)} front ends have ended: {gone}")
        yield {"id": "idle-10-volumes", "unit": "% of a core", "ours": round(share, 2), "aim": 2}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--only")
    options = parser.parse_args()
    bench = Bench(options)
    try:
        results = [line for part in (bench.disks, bench.nvmf, bench.store, bench.qos, bench.qos_dpud, bench.idle) for line in part()]
    finally:
        subprocess.run(["rm", "-rf", bench.shm], check=False)
    print(json.dumps({"bench": "block", "rounds": options.rounds, "results": results}, indent=1))


main()
