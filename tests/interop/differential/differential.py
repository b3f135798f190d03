# SPDX-License-Identifier: BSD-3-Clause
"""What an OVS with offload sends, and what the same OVS sends without, packet by packet.

Rounds: random OpenFlow rules are given to both switches; random frames go into both, first as packets that no flow exists
for, then again when flows are offloaded; what comes out of every port must be the same bytes in the same order. The
offloading switch's own counters then tell that what OVS says to be offloaded did not pass through OVS."""
import argparse
import collections
import dataclasses
import random
import re
import sys
import time

import frames
from openflow import GROUPS, METERS, Maker
from peers import Dpu, Ovs, Switch

BATCH = 64
QUIET = 0.004
ENOUGH = 5  # failures that are told


class Flow:
    """A line of dpctl/dump-flows -m."""

    def __init__(self, line):
        self.line = line
        self.id = re.search(r"ufid:([0-9a-f-]+)", line)[1]
        self.packets = int(re.search(r"packets:(\d+)", line)[1])
        self.offloaded = "offloaded:yes" in line and "dp:dpdk" in line
        self.partial = "offloaded:partial" in line
        self.in_port = re.search(r"in_port\(([^)]*)\)", line)[1]


class Test:
    def __init__(self, options):
        self.options = options
        self.dpu = Dpu(options.dpud)
        names = {port: port for port in frames.PORTS}
        self.dut = Switch(Ovs(f"{options.lab_dir}/dut", "br-dut"), f"{options.lab}-a",
                          {name: f"d{name}" if name != "LOCAL" else "br-dut" for name in names})
        self.ref = Switch(Ovs(f"{options.lab_dir}/ref", "br-ref"), f"{options.lab}-b",
                          {name: f"r{name}" if name != "LOCAL" else "br-ref" for name in names})
        self.switches = (self.dut, self.ref)
        self.serial = random.randrange(1 << 31)
        self.failures = 0
        self.totals = collections.Counter()

    # ---- frames

    def quiet(self, seconds):
        """Collects until nothing has come for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if any([switch.collect() for switch in self.switches]):
                end = time.monotonic() + seconds
            else:
                time.sleep(0.0005)

    def send(self, batch):
        """Serial numbers of the batch's frames."""
        sent = {}
        for frame in batch:
            self.serial = (self.serial + 1) & 0xffffffff
            sent[self.serial] = frame
            data = frame.build(self.serial)
            for switch in self.switches:
                switch.alone = self.serial if frame.alone else None
                switch.ports[frame.in_port].send(data)
        return sent

    def run(self, batch_size, all_frames, what):
        """One pass: every frame once. Without `what` nobody looks at what comes out."""
        sent = {}
        together, alone = [f for f in all_frames if not f.alone], [f for f in all_frames if f.alone]
        batches = [together[i:i + batch_size] for i in range(0, len(together), batch_size)] + [[f] for f in alone]
        for batch in batches:
            sent.update(self.send(batch))
            self.quiet(QUIET * 4 if batch[0].alone else QUIET)
            end = time.monotonic() + 1
            while what and not self.same(sent) and time.monotonic() < end:
                self.quiet(QUIET)
            if what and time.monotonic() >= end:
                break
        self.quiet(QUIET * 5)
        if what:
            self.totals["packets"] += len(sent)
            self.compare(sent, what)
        for switch in self.switches:
            switch.received.clear()
        return len(sent)

    def copies(self, sent, serial):
        """By port, what came out without and with offload. The ports without take frames of any length."""
        expected, got = (switch.received.get(serial, {}) for switch in (self.ref, self.dut))
        if serial in sent and sent[serial].jumbo:
            expected = {port: copies for port, copies in expected.items() if port not in frames.SMALL_PORTS}
        if serial in sent and sent[serial].version == 4 and sent[serial].offset and not sent[serial].cut:
            expected, got = ({port: list(map(frames.without_checksum, copies)) for port, copies in side.items()} for side in (expected, got))
        return expected, got

    def serials(self):
        return self.ref.received.keys() | self.dut.received.keys()

    def same(self, sent):
        return self.dut.received == self.ref.received or \
            all(expected == got for expected, got in (self.copies(sent, serial) for serial in self.serials()))

    def compare(self, sent, what):
        for serial in self.serials():
            expected, got = self.copies(sent, serial)
            self.totals["copies"] += sum(map(len, expected.values()))
            if serial not in sent:
                self.fail(f"{what}: frames that nobody has sent now (serial {serial}, last {self.serial})", None, serial, expected, got)
            elif expected != got:
                self.fail(what, sent[serial], serial, expected, got)

    # ---- failures

    def fail(self, what, frame, serial, expected, got):
        self.failures += 1
        if self.failures > ENOUGH:
            return
        print(f"\nFAILED: seed {self.seed}, {what}")
        if frame:
            data = frame.build(serial)
            print(f"  {frame}\n  into {frame.in_port}: {data.hex()[:300]}")
            self.explain(frame, data)
        for port in sorted(expected.keys() | got.keys(), key=str):
            one, other = expected.get(port, []), got.get(port, [])
            if one != other:
                print(f"  out of {port}:\n" + "".join(f"    without {x.hex()[:300]}\n" for x in one) + "".join(f"    offload {x.hex()[:300]}\n" for x in other), end="")
            else:
                print(f"  out of {port}: {len(one)} equal")
        sys.stdout.flush()

    def explain(self, frame, data):
        port = "65534" if frame.in_port == "LOCAL" else str(frame.in_port)
        try:
            trace = self.ref.ovs.control("ofproto/trace", "br-ref", f"in_port={port}", data.hex())
            print("  " + trace.replace("\n", "\n  "))
            wanted = trace.split("Datapath actions: ")[1].split("\n")[0]
            print(f"  datapath actions {wanted}; flows of that port:")
        except RuntimeError as error:
            print(f"  {error}")
        source = int(frame.src.replace(":", ""), 16)
        for line in self.dut.ovs.flows():
            match = re.search(r"in_port\(([^)]*)\).*eth\(src=([^/,]*)/?([^,]*),.*eth_type\(([^)]*)\)", line)
            mask = int((match[3] or "ff:ff:ff:ff:ff:ff").replace(":", ""), 16)
            if match[1] == ("br-dut" if frame.in_port == "LOCAL" else f"d{port}") and \
                    not (int(match[2].replace(":", ""), 16) ^ source) & mask and \
                    (not frame.version or f"ipv{frame.version}(" in line):
                print("    " + line.split("packet_type(ns=0,id=0),")[1])

    def complain(self, sentence):
        self.failures += 1
        if self.failures <= ENOUGH:
            print(f"\nFAILED: seed {self.seed}, {sentence}", flush=True)

    # ---- rules

    def install(self, rules):
        text = "\n".join(map(str, rules)) + "\n"
        for switch in self.switches:
            switch.ovs.openflow("replace-flows", "-", text=text)
        self.settle()

    def settle(self):
        for switch in self.switches:
            switch.ovs.settle()
        end = time.monotonic() + 5
        while time.monotonic() < end:
            stats = self.dut.ovs.control("dpctl/offload-stats-show")
            queued, inserted = (int(re.search(rf"Total +{what} offloads: +(\d+)", stats)[1]) for what in ("Enqueued", "Inserted"))
            dpud = self.dpu.call("eswitch.offload-stats")
            if queued == 0 and inserted == dpud["rules"] + dpud["rules_refused"]:
                return dpud["rules"]
            time.sleep(0.01)
        self.complain(f"OVS has {inserted} offloaded flows and {queued} queued, dpud: {dpud}")
        return dpud["rules"]

    def account(self, these, repeat):
        """Sends once more, and proves by the counters of both sides that what is offloaded did not go up. A frame without
        the headers that a rule's action needs may go up nevertheless, where OVS counts it for the same flow."""
        sent = [frame for frame in these if frame.in_port != "LOCAL"]
        odd = sum(frame.odd for frame in sent)
        rules = self.settle()
        before = {flow.id: flow for flow in map(Flow, self.dut.ovs.flows())}
        up = self.dpu.call("eswitch.offload-stats")["upcalls"]
        repeat()
        up = self.dpu.call("eswitch.offload-stats")["upcalls"] - up
        after = {flow.id: flow for flow in map(Flow, self.dut.ovs.flows())}
        hardware = software = 0
        for flow in after.values():
            count = flow.packets - (before[flow.id].packets if flow.id in before else 0)
            if not count or not flow.in_port.startswith("d"):
                continue
            if flow.offloaded:
                hardware += count
            elif "recirc_id(0)" in flow.line:
                software += count
        self.totals["offloaded"] += hardware
        self.totals["software"] += software
        self.totals["up"] += up
        if rules != sum(flow.offloaded or flow.partial for flow in after.values()):
            # OVS knows offloaded flows by a hash of their match without its mask, and takes one for another. Where its flows
            # overlap it offloads one as another, too, and dpud refuses the second rule of a match.
            self.totals["rounds that prove nothing"] += 1
        elif hardware + software != len(sent) or not software <= up <= software + odd:
            self.complain(f"{len(sent)} packets ({odd} of them odd) were sent to offloading ports: by OVS's counters {hardware} were offloaded and {software} were "
                          f"not, by dpud's {up} went up")

    # ---- rounds

    def frames(self, rng, world, rules, count):
        hints = [rule.hint for rule in rules if rule.table == 0] or [{}]
        made = []
        while len(made) < count:
            if made and rng.random() < 0.4:  # a twin but for one bit: what must be told apart
                made.append(dataclasses.replace(rng.choice(made)))
                frames.make_near(rng, made[-1])
            else:
                made.append(frames.make(rng, world, rng.choice(hints) if rng.random() < 0.7 else {}))
        return made

    def round(self, seed, previous):
        self.seed = seed
        rng, world = random.Random(seed), frames.World()
        maker = Maker(rng, world, rng.random() < 0.5)
        kind = rng.choice(["plain"] * 6 + ["learning", "stateful"])
        if kind == "stateful":
            for switch in self.switches:
                switch.ovs.control("dpctl/flush-conntrack")
            rules, size, count = maker.stateful(), 1, 60
        elif kind == "learning":
            rules, size, count = maker.learning(), 1, 80
        else:
            rules, size, count = maker.rules(rng.choice([5, 20, 40])), BATCH, 150
        self.install(rules)
        clean = kind == "learning" or rng.random() < 0.3
        for switch in self.switches:  # what old flows had counted may have been learnt, too
            if clean:
                switch.ovs.control("revalidator/purge")
                self.settle()
            switch.ovs.control("fdb/flush", switch.ovs.bridge)
        these = self.frames(rng, world, rules, count)
        if kind == "learning":  # every station has its port
            for frame in these:
                frame.in_port = frames.PORTS[int(frame.src[-2:], 16) % 7]
                frame.payload = min(frame.payload, 1200)
        elif kind == "plain":
            these += previous
        for _ in range(2 if kind == "learning" else 0):  # until the tables are full
            self.run(size, these, None)
            self.settle()
        self.run(size, these, f"{kind}, first packets")
        self.settle()
        self.run(size, these, f"{kind}, second packets")
        if kind == "plain":
            whole = [frame for frame in these if frame.payload >= 0]
            self.account(whole, lambda: self.run(size, whole, f"{kind}, third packets"))
        self.totals["rounds"] += 1
        return these[:30] if kind == "plain" else []

    def traffic(self):
        """Frames for the offloading switch, until this process is ended; nobody looks at what becomes of them."""
        rng, world = random.Random(self.options.seed), frames.World()
        while True:
            frame = frames.make(rng, world, {})
            try:
                self.dut.ports[frame.in_port].send(frame.build(0))
            except OSError:
                pass  # a port is away
            time.sleep(0.002)

    def main(self):
        for switch in self.switches:
            for command in ("del-flows", "del-groups", "del-meters"):
                switch.ovs.openflow(command)
            switch.ovs.openflow("add-groups", "-", text="\n".join(GROUPS) + "\n")
            switch.ovs.openflow("add-meter", METERS[0])
        end = time.monotonic() + self.options.seconds
        seed, previous = self.options.seed, []
        while time.monotonic() < end and self.failures < ENOUGH:
            previous = self.round(seed, previous)
            seed += 1
        sent = self.totals["offloaded"] + self.totals["software"]
        if sent > 1000 and self.totals["offloaded"] * 10 < sent:
            self.complain("hardly anything was offloaded")
        print(f"seeds {self.options.seed} to {seed - 1}:", *(f"{count} {what}" for what, count in self.totals.items()), sep=" ")
        return self.failures


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lab", required=True)
    parser.add_argument("--lab-dir", required=True)
    parser.add_argument("--dpud", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--traffic", action="store_true", help="only send")
    return parser.parse_args()


if __name__ == "__main__":
    options = parse()
    test = Test(options)
    sys.exit(test.traffic() if options.traffic else test.main() > 0)
