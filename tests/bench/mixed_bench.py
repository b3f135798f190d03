#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What `./run bench mixed` runs: packets alone, blocks alone, both at once, in turns on one dpud with one worker."""
import argparse
import json
import os
import statistics
import sys

from dpud_client import Daemon
from lab import GENERATOR_CORE, SWITCH_CORE, Lab, generate, run, wait_for
from switch_ours import switch_document

PACED = 500000
MIB = 1 << 20
# name: what the generator is told
LOADS = {
    "packets": {}, "blocks": {"silent": 1, "disk": True}, "both": {"disk": True},
    "paced": {"rate": PACED, "stamp": 1}, "paced+blocks": {"rate": PACED, "stamp": 1, "disk": True},
    "one": {"silent": 1, "disk": True, "disk_depth": 1}, "one+packets": {"disk": True, "disk_depth": 1},
}


class SmallLab(Lab):
    """Without huge pages."""

    def memory_arguments(self, prefix):
        return ["--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry", "--file-prefix", prefix]


class Dpud:
    def __init__(self, lab):
        folder = lab.path("dpud")
        self.disk = os.path.join(folder, "run/disk.sock")
        self.daemon = Daemon(lab.build, folder, "--workers", "1", "--cpus", str(SWITCH_CORE), "--huge-pages", "off")
        self.daemon.call("dpu.apply", document=switch_document(lab, "l3") | {
            "media": [{"name": "m", "kind": "ram", "size": 128 * MIB}], "pools": [{"name": "p", "media": ["m"]}],
            "volumes": [{"name": "v", "tenant": "t", "pool": "p", "size": 64 * MIB}],
            "disks": [{"name": "d", "tenant": "t", "volume": "v", "backend": "vhost_user_server", "socket": self.disk}]})
        wait_for("the sockets", lambda: all(os.path.exists(path) for path in (self.disk, lab.memif(0), lab.memif(1))))
        run(["taskset", "-c", str(GENERATOR_CORE), os.path.join(lab.build, "tests/bench/vhost_blk_load"), self.disk, "fill", "seconds=0.1", "warm_up=0"])


def us(told, *keys):
    for key in keys:
        told = told[key]
    return round(told / 1000, 1)


def results(seen):
    def middle(load, value):
        return statistics.median(value(told) for told in seen[load])
    packets, blocks = (lambda told: told["rx_mpps"]), (lambda told: round(told["disk"]["iops"] / 1000, 1))
    shares = {name: middle("both", value) / max(1e-9, middle(name, value)) for name, value in (("packets", packets), ("blocks", blocks))}
    lines = [{"id": f"mixed-{name}", "unit": unit, "ours": round(middle("both", value), 2), "peer": "alone", "theirs": round(middle(name, value), 2),
              "ratio": round(shares[name], 2), "share": round(shares[name], 2), "shares": round(sum(shares.values()), 2)}
             for name, unit, value in (("packets", "M packets per second", packets), ("blocks", "k I/Os per second", blocks))]
    for name, beside, alone, keys in (("packets", "paced+blocks", "paced", ("latency_ns", "p99")), ("blocks", "one+packets", "one", ("disk", "p99_ns"))):
        mine, other = (middle(load, lambda told, keys=keys: us(told, *keys)) for load in (beside, alone))
        lines.append({"id": f"mixed-{name}-p99", "unit": "us, p99", "ours": mine, "peer": "alone", "theirs": other, "ratio": round(other / mine, 2)})
    lines[2]["lost_percent"] = round(100 * middle("paced+blocks", lambda told: 1 - told["received"] / max(1, told["sent"])), 2)
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--only", help="an id; all are measured together")
    options = parser.parse_args()
    lab, seen = SmallLab(options.folder, options.build), {}
    dpud = Dpud(lab)
    try:
        for _ in range(options.rounds):
            for name, words in LOADS.items():
                more = {key: dpud.disk if key == "disk" else value for key, value in words.items()}
                told = generate(lab, 1, 1000, options.seconds, **more)
                seen.setdefault(name, []).append(told)
                print(name, json.dumps(told), file=sys.stderr)
    finally:
        dpud.daemon.stop()
    lines = [line for line in results(seen) if not options.only or options.only in line["id"]]
    print(json.dumps({"bench": "mixed", "rounds": options.rounds, "results": lines}, indent=1))


main()
