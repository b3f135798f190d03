#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What `./run bench switch` runs in its namespaces: all switches in turns, medians as JSON."""
import argparse
import json
import statistics
import sys

import switch_peers as peers
from lab import Lab, generate, measure_again, run
from switch_ours import Dpud

SIZES = {"1k": 1000, "10k": 10000, "100k": 100000}
# id prefix, scenario, peer
COMPARISONS = [("ovs-encap", "encap", peers.Ovs), ("ovs-l3", "l3", peers.Ovs), ("testpmd-plain", "l3", peers.Testpmd)]


def wanted(options):
    """(scenario, switch) to start, each with the sizes to measure."""
    runs = {}
    for prefix, scenario, peer in COMPARISONS:
        for size in SIZES:
            if not options.only or options.only in f"{prefix}-{size}":
                for switch in (peer, Dpud):
                    runs.setdefault((scenario, switch), {})[size] = True
    return {key: list(sizes) for key, sizes in runs.items()}


def measure_once(lab, switch, scenario, sizes, seconds, found):
    try:
        switch.start(scenario)
        for size in sizes:
            cycles = []
            told = generate(lab, switch.queues, SIZES[size], seconds, warm=switch.reset, done=lambda: cycles.append(switch.cycles()))
            if not told["received"]:
                raise RuntimeError(f"{switch.name}, {scenario}, {size}: nothing arrives")
            found[(scenario, type(switch), size)] = (cycles[0], told["rx_mpps"])
            print(f"{scenario} {size} {switch.name}: {cycles[0]:.1f} cycles, {told['rx_mpps']:.2f} Mpps arrive of {told['tx_mpps']:.2f}", file=sys.stderr)
    finally:
        switch.stop()


def results(seen, ceiling):
    for prefix, scenario, peer in COMPARISONS:
        for size in SIZES:
            if (scenario, peer, size) not in seen:
                continue
            (ours, ours_mpps), (theirs, theirs_mpps) = (zip(*seen[(scenario, switch, size)]) for switch in (Dpud, peer))
            yield {"id": f"{prefix}-{size}", "unit": "cycles/packet", "ours": round(statistics.median(ours), 1), "peer": peer.name,
                   "theirs": round(statistics.median(theirs), 1), "ratio": round(statistics.median(theirs) / statistics.median(ours), 2),
                   "cycles": round(statistics.median(ours), 1), "ours_best": round(min(ours), 1), "theirs_best": round(min(theirs), 1),
                   "ratio_best": round(min(theirs) / min(ours), 2),
                   "ratio_paired": round(statistics.median(t / o for t, o in zip(theirs, ours)), 2), "ours_mpps": round(statistics.median(ours_mpps), 2),
                   "theirs_mpps": round(statistics.median(theirs_mpps), 2), "ceiling_mpps": ceiling}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--only")
    options = parser.parse_args()
    lab = Lab(options.folder, options.build)
    run(["ip", "link", "set", "lo", "up"])
    run(["mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", lab.huge])
    ceiling = generate(lab, 1, 10000, seconds=1, alone=True)["rx_mpps"]
    seen = {}
    for _ in range(options.rounds):
        for (scenario, switch), sizes in wanted(options).items():
            measure_again(measure_once, lab, switch, scenario, sizes, options.seconds, seen)
    print(json.dumps({"bench": "switch", "rounds": options.rounds, "results": list(results(seen, ceiling))}, indent=1))


main()
