#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What `./run bench ovs` runs in its namespaces: comparisons of whole switches in turns, then rules and counters; medians as JSON."""
import argparse
import json
import statistics
import sys

import megaflows
import offload_rules
import offload_switches as switches
import offload_turns
from lab import Lab, generate, measure_again, run, wait_for

WARM_RATE = 200000  # packets per second while flows are learnt: the generator leaves its core to OVS
SIZES = {"1k": 1000, "10k": 10000, "100k": 100000}
# id prefix, scenario, ours, peer, sizes
COMPARISONS = [("offload-forward", "forward", switches.Offloaded, switches.Ovs, ("1k", "10k", "100k")),
               ("offload-encap", "encap", switches.Offloaded, switches.Ovs, ("100k",)),
               ("offload-ring-testpmd", "plain", switches.TestpmdRing, switches.Testpmd, ("1k",)),
               ("offload-ring-dpud", "plain", switches.RingOfDpud, switches.PlainOvs, ("1k",))]
# Over the rings three poll on two cores: the generator leaves its core to the one that is not measured.
LOADS = {"plain": {"rate": 2000000, "doze_us": 100}}


def wanted(only):
    """(scenario, switch) to start, each with the sizes to measure."""
    runs = {}
    for prefix, scenario, ours, peer, sizes in COMPARISONS:
        for size in sizes:
            if not only or only in f"{prefix}-{size}":
                for switch in (peer, ours):
                    runs.setdefault((scenario, switch), {})[size] = True
    return {key: list(sizes) for key, sizes in runs.items()}


def measure_once(lab, switch, scenario, sizes, seconds, found):
    try:
        switch.start(scenario)
        for size in sizes:
            figures = {}
            told = generate(lab, switch.queues, SIZES[size], seconds, tuples=tuples(lab, size), warm_rate=WARM_RATE, **LOADS.get(scenario, {}),
                            running=lambda: wait_for(f"{size} flows to be learnt", lambda: switch.settled(SIZES[size])),
                            warm=switch.reset, done=lambda: figures.update(switch.figures()))
            if not told["received"]:
                raise RuntimeError(f"{switch.name}, {scenario}, {size}: nothing arrives")
            found[(scenario, type(switch), size)] = {**figures, "mpps": told["rx_mpps"]}
            print(f"{scenario} {size} {switch.name}: {figures}, {told['rx_mpps']:.2f} Mpps arrive of {told['tx_mpps']:.2f}", file=sys.stderr)
    finally:
        switch.stop()


def tuples(lab, size):
    return lab.path(f"tuples-{size}")


def medians(rounds):
    return {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}


def compared(seen):
    for prefix, scenario, ours, peer, sizes in COMPARISONS:
        for size in sizes:
            if (scenario, ours, size) not in seen:
                continue
            mine, theirs = seen[(scenario, ours, size)], seen[(scenario, peer, size)]
            us, them = medians(mine), medians(theirs)
            best = [min(one["cycles"] for one in rounds) for rounds in (mine, theirs)]
            yield {"id": f"{prefix}-{size}", "unit": "cycles/packet", "ours": round(us["cycles"], 1), "peer": peer.name,
                   "theirs": round(them["cycles"], 1), "ratio": round(them["cycles"] / us["cycles"], 2), "cycles": round(us["cycles"], 1),
                   "ours_best": round(best[0], 1), "theirs_best": round(best[1], 1), "ratio_best": round(best[1] / best[0], 2),
                   "ratio_paired": round(statistics.median(t["cycles"] / m["cycles"] for t, m in zip(theirs, mine)), 2),
                   **{f"ours_{key}": round(value, 2) for key, value in us.items() if key != "cycles"},
                   **{f"theirs_{key}": round(value, 2) for key, value in them.items() if key != "cycles"}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--only")
    options = parser.parse_args()
    lab = Lab(options.folder, options.build)
    run(["ip", "link", "set", "lo", "up"])
    run(["mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", lab.huge])
    for size, flows in SIZES.items():
        megaflows.write_tuples(tuples(lab, size), flows)
    seen = {}
    for _ in range(options.rounds):
        for (scenario, switch), sizes in wanted(options.only).items():
            measure_again(measure_once, lab, switch, scenario, sizes, options.seconds, seen)
    results = [*compared(seen), *offload_turns.results(lab, options), *offload_rules.results(lab, options)]
    print(json.dumps({"bench": "ovs", "rounds": options.rounds, "results": results}, indent=1))


main()
