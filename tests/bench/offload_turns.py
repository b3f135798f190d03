# SPDX-License-Identifier: BSD-3-Clause
"""One OVS that has representors and memif ports at a time, loaded in turns: by which of them frames come and go costs its polling thread
more or less. A turn is shorter than what neighbours on the machine do, so that each pair of turns is measured in one weather; two runs
of the same switch differ by more than the two kinds of ports do."""
import os
import signal
import statistics
import subprocess
import time

import megaflows
import offload_switches as switches
from lab import GENERATOR_CORE, SWITCH_CORE, Lab, end, generator_command
from ovs_daemon import OvsDaemon

PAIRS_PER_SECOND, SETTLE_SECONDS, TURN_SECONDS = 6, 0.03, 0.06
FLOWS, RATE, DOZE_US = 1000, 2000000, 100
WARM_SECONDS = 1.5  # until OVS's exact-match cache has all flows
# id, frame size
COMPARISONS = [("offload-ring-ovs-1k", 64), ("offload-ring-ovs-512", 512)]


class Way:
    """Ports in0 and in1 of the bridge, and a generator that sends into the one and receives from the other."""

    def __init__(self, lab, ports, queues, tuples, size):
        self.ports = ports
        with open(lab.path("turns.log"), "w") as log:
            self.generator = subprocess.Popen(
                generator_command(lab, queues, flows=FLOWS, seconds=1, rate=RATE, size=size, tuples=tuples, doze_us=DOZE_US, warmup=3600, hold=1),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        if self.generator.stdout.readline().strip() != "running":
            with open(lab.path("turns.log")) as log:
                raise RuntimeError(f"the generator of {ports} does not start: {log.read()[-500:]}")
        time.sleep(WARM_SECONDS)
        self.generator.send_signal(signal.SIGSTOP)

    def turn(self, ovs, reset=lambda: None):
        """Cycles and frames per second of OVS's polling thread."""
        self.generator.send_signal(signal.SIGCONT)
        time.sleep(SETTLE_SECONDS)
        reset()
        ovs.clear_statistics()
        start = time.monotonic()
        time.sleep(TURN_SECONDS)
        figures = ovs.statistics(("packets received", "avg processing cycles per packet", "avg. packets per output batch"))
        seconds = time.monotonic() - start
        share = ovs.share.now()
        self.generator.send_signal(signal.SIGSTOP)
        if not figures[0]:
            raise RuntimeError(f"nothing arrives by {self.ports}")
        return {"cycles": figures[1] * share, "mpps": figures[0] / seconds / 1e6, "batch": figures[2]}

    def stop(self):
        self.generator.send_signal(signal.SIGCONT)
        end(self.generator)


def start_ovs(lab, dpud, ovs):
    ovs.start(SWITCH_CORE, f"-d {switches.DRIVER}", **switches.OVS_CONFIG)
    for number in (0, 1):
        ovs.memif_port("br0", number)
    for number in (0, 1):
        ovs.port("br0", f"r{number}", dpud.devargs(number))
    ovs.flow("br0", switches.PLAIN)
    ovs.flow("br0", switches.PLAIN.replace("m0", "r0").replace("m1", "r1"))


def measure(lab, size, pairs, tuples):
    """Lists of turns: representors', memif's."""
    other = Lab(lab.path("other"), lab.build)
    other.huge = lab.huge
    os.makedirs(other.folder, exist_ok=True)
    lab.clear()
    other.clear()
    ovs, dpud, ways, ours, theirs = OvsDaemon(lab), switches.Dpud(other, GENERATOR_CORE), [], [], []
    try:
        dpud.start()
        start_ovs(lab, dpud, ovs)
        ways.append(Way(lab, "memif", 2, tuples, size))
        ways.append(Way(other, "representors", 1, tuples, size))
        for _ in range(pairs):
            theirs.append(ways[0].turn(ovs))
            ours.append(ways[1].turn(ovs, dpud.reset))
            dpud.check_upcalls()
            ours[-1]["dpud"] = dpud.cycles()[0]
    finally:
        for way in ways:
            way.stop()
        ovs.stop()
        dpud.stop()
    return ours, theirs


def results(lab, options):
    tuples = lab.path("tuples-turns")
    megaflows.write_tuples(tuples, FLOWS)
    for name, size in COMPARISONS:
        if options.only and options.only not in name:
            continue
        ours, theirs = measure(lab, size, PAIRS_PER_SECOND * options.seconds * options.rounds * 5, tuples)
        median = {key: statistics.median(turn[key] for turn in ours) for key in ours[0]}
        them = {key: statistics.median(turn[key] for turn in theirs) for key in theirs[0]}
        best = [min(turn["cycles"] for turn in turns) for turns in (ours, theirs)]
        pairs = [t["cycles"] / o["cycles"] for t, o in zip(theirs, ours)]
        tenths = statistics.quantiles(pairs, n=10)
        yield {"id": name, "unit": "cycles/packet", "ours": round(median["cycles"], 1), "peer": "OVS-DPDK", "theirs": round(them["cycles"], 1),
               "ratio": round(statistics.median(pairs), 2), "cycles": round(median["cycles"], 1), "ratio_low": round(tenths[0], 2),
               "ratio_high": round(tenths[-1], 2), "ours_best": round(best[0], 1), "theirs_best": round(best[1], 1),
               "ratio_best": round(best[1] / best[0], 2), "pairs": len(pairs), "ours_mpps": round(median["mpps"], 2),
               "theirs_mpps": round(them["mpps"], 2), "ours_batch": round(median["batch"], 1), "theirs_batch": round(them["batch"], 1),
               "dpud_cycles": round(median["dpud"], 1)}
