# SPDX-License-Identifier: BSD-3-Clause
"""The switches that `./run bench ovs` compares: OVS on memif, OVS whose flows dpud forwards, and OVS and testpmd that get every frame over
the rings of representors. All have port 0, where frames come in, and port 1, where they leave; "encap": in VXLAN."""
import os
import re
import shutil

import megaflows
import switch_peers
from dpud_client import Daemon
from lab import GATEWAY_MAC, GENERATOR_CORE, RECEIVER_MAC, SWITCH_CORE, CoreShare, wait_for
from ovs_daemon import OvsDaemon

DRIVER = "librte_net_softdpu.so"
# Revalidation is to keep its hands off flows that the generator has not come to for a while.
OVS_CONFIG = {"max_idle": 60000, "flow_limit": 300000}
ACTIONS = {"forward": "output:m1", "encap": "output:vx0"}
# "plain": one rule.
PLAIN = f"in_port=m0,ip,actions=mod_dl_src:{GATEWAY_MAC},mod_dl_dst:{RECEIVER_MAC},dec_ttl,output:m1"


class Dpud:
    """dpud with two uplinks on memif, of which an eswitch has representors."""

    def __init__(self, lab, core=SWITCH_CORE, max_rules=262144):
        self.lab, self.daemon, self.core, self.max_rules = lab, None, core, max_rules

    def start(self):
        shutil.rmtree(self.lab.path("dpud/store"), ignore_errors=True)
        self.daemon = Daemon(self.lab.build, self.lab.path("dpud"), "--cpus", str(self.core), "--huge-pages", "on", "--eal",
                             f"--huge-dir {self.lab.huge}")
        self.daemon.call("dpu.apply", prune=True, document={
            "version": 1, "eswitches": [{"name": "ovs", "max_rules": self.max_rules}],
            "ports": [{"name": f"m{i}", "device": f"memif:{self.lab.memif(i)},server"} for i in (0, 1)],
            "representors": [{"name": f"m{i}", "eswitch": "ovs", "port": f"m{i}"} for i in (0, 1)]})
        wait_for("dpud's memif sockets", lambda: all(os.path.exists(self.lab.memif(port)) for port in (0, 1)))

    def devargs(self, number):
        return f"net_softdpu{number},socket={self.lab.path('dpud/run/eswitch.sock')},port=m{number}"

    def statistics(self):
        return self.daemon.call("eswitch.offload-stats")

    def counts(self):
        worker = self.daemon.call("dpu.workers")["workers"][0]
        flows = self.statistics()
        return worker["busy_cycles"], self.daemon.call("port.get", name="m0", observe=True)["rx_packets"], flows["upcalls"], flows["lookups"]

    def reset(self):
        self.share = CoreShare(self.daemon.process.pid, "worker-0")
        self.before = self.counts()

    def cycles(self):
        """Busy cycles per packet, and the parts of the packets that went up and that were looked up."""
        busy, packets, upcalls, lookups = (now - then for now, then in zip(self.counts(), self.before))
        return busy * self.share.now() / max(1, packets), upcalls / max(1, packets), lookups / max(1, packets)

    def check_upcalls(self):
        _, upcalls, _ = self.cycles()
        if upcalls < 0.9:
            raise RuntimeError(f"only {100 * upcalls:.1f} % of the packets went up")

    def stop(self):
        if self.daemon:
            self.daemon.stop()


class Ovs:
    """Stock OVS with 10,000 rules of twenty masks, on memif; its polling thread has a core, all else is on the generator's."""
    name, queues, ports = "OVS-DPDK", 2, "memif"

    def __init__(self, lab):
        self.lab, self.ovs, self.dpud = lab, OvsDaemon(lab), None

    def start(self, scenario):
        self.lab.clear()
        self.launch()
        self.port("br0", 0)
        if scenario == "encap":
            self.port("br-phy", 1)
            self.ovs.tunnel("br0", "br-phy", "m1")
        else:
            self.port("br0", 1)
        if scenario == "plain":
            self.ovs.flow("br0", PLAIN)
            return
        path = self.lab.path("rules")
        megaflows.write_open_flow(path, ACTIONS[scenario])
        self.ovs.flows("br0", path)

    def launch(self):
        self.ovs.start(SWITCH_CORE, **OVS_CONFIG)

    def port(self, bridge, number):
        self.ovs.memif_port(bridge, number)

    def settled(self, flows):
        return self.ovs.megaflows("filter=udp") >= min(flows, megaflows.MEGAFLOWS)

    def reset(self):
        self.ovs.clear_statistics()

    def figures(self):
        return {"cycles": self.ovs.cycles_per_packet(), "masks_searched": self.ovs.statistic("avg. subtable lookups per megaflow hit"),
                "exact_match_hits": self.ovs.statistic("emc hits"), "megaflow_hits": self.ovs.statistic("megaflow hits")}

    def stop(self):
        self.ovs.stop()
        if self.dpud:
            self.dpud.stop()


class Offloaded(Ovs):
    """The same OVS; dpud forwards on the core, and OVS's polling thread sleeps on the generator's."""
    name, queues, ports = "OVS offloaded to softdpu", 1, "representors"
    polling_core, dpud_core, config = GENERATOR_CORE, SWITCH_CORE, {"hw_offload": "true", "pmd_maxsleep": 500}

    def launch(self):
        self.dpud = Dpud(self.lab, self.dpud_core)
        self.dpud.start()
        self.ovs.start(self.polling_core, f"-d {DRIVER}", **OVS_CONFIG, **self.config)

    def port(self, bridge, number):
        self.ovs.port(bridge, f"m{number}", self.dpud.devargs(number))

    def settled(self, flows):
        return self.dpud.statistics()["rules"] >= min(flows, megaflows.MEGAFLOWS)

    def reset(self):
        self.dpud.reset()

    def figures(self):
        cycles, upcalls, lookups = self.dpud.cycles()
        if upcalls > 0.001:
            raise RuntimeError(f"{100 * upcalls:.2f} % of the packets went up: that would be another measurement")
        return {"cycles": cycles, "looked_up_percent": 100 * lookups, "rules": self.dpud.statistics()["rules"], "masks": self.dpud.statistics()["masks"]}


class PlainOvs(Ovs):
    def settled(self, flows):
        return True

    def figures(self):
        return {"cycles": self.ovs.cycles_per_packet()}


class Ring(Offloaded):
    """OVS without offload on representors: it has a core; dpud's worker is on the generator's."""
    name = "OVS over representors"
    polling_core, dpud_core, config = SWITCH_CORE, GENERATOR_CORE, {}

    def settled(self, flows):
        return True

    def reset(self):
        self.ovs.clear_statistics()
        self.dpud.reset()

    def figures(self):
        self.dpud.check_upcalls()
        return {"cycles": self.ovs.cycles_per_packet()}


class RingOfDpud(Ring):
    """The other way round, for what dpud's part of it costs: a frame up and a frame down."""
    name = "dpud between memif and representors"
    polling_core, dpud_core, config = GENERATOR_CORE, SWITCH_CORE, {"pmd_maxsleep": 50}

    def figures(self):
        self.dpud.check_upcalls()
        return {"cycles": self.dpud.cycles()[0]}


class Testpmd(switch_peers.Testpmd):
    def start(self, scenario):
        super().start("l3")

    def settled(self, flows):
        return True

    def reset(self):
        super().reset()
        self.share = CoreShare(self.process.pid, "rte-worker-1")

    def figures(self):
        return {"cycles": self.cycles() * self.share.now()}


class TestpmdRing(Testpmd):
    """testpmd over representors, with the core."""
    name, queues = "testpmd over representors", 1

    def start(self, scenario):
        self.lab.clear()
        self.dpud = Dpud(self.lab, GENERATOR_CORE)
        self.dpud.start()
        self.launch([f"-d{DRIVER}"], [self.dpud.devargs(port) for port in (0, 1)])

    def stop(self):
        super().stop()
        self.dpud.stop()
