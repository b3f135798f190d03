# SPDX-License-Identifier: BSD-3-Clause
"""Ours as one of the switches of `./run bench switch`: a whole dpud with store and sockets, told by RPC, with its defaults but for huge pages and
the core.

The sender is a vNIC on a memif; the receiver is a vNIC of another subnet ("l3"), or behind a VTEP ("encap"). Their security group has a hundred
rules, the last of which lets the traffic pass."""
import os
import shutil

from dpud_client import Daemon
from lab import RECEIVER_IP, RECEIVER_MAC, SENDER_IP, SENDER_MAC, SWITCH_CORE, VNI, VTEP_LOCAL, VTEP_REMOTE, wait_for

RULES = 100


def group_rules():
    rules = []
    for direction in ("ingress", "egress"):
        for i in range(RULES):
            rule = {"name": f"{direction}-{i}", "tenant": "t", "group": "g", "direction": direction}
            rules.append({**rule, "protocol": "udp"} if i == RULES - 1 else {**rule, "protocol": "tcp", "port_range_min": 10000 + i})
    return rules


def switch_document(lab, scenario):
    vnic = {"tenant": "t", "backend": "device", "security_groups": ["g"], "max_sessions": 0}
    document = {
        "version": 1, "tenants": [{"name": "t"}], "security_groups": [{"name": "g", "tenant": "t"}], "security_group_rules": group_rules(),
        "vpcs": [{"name": "v", "tenant": "t", "vni": VNI}],
        "subnets": [{"name": "a", "tenant": "t", "vpc": "v", "prefix_v4": "10.0.0.0/24"},
                    {"name": "b", "tenant": "t", "vpc": "v", "prefix_v4": "10.0.1.0/24"}],
        "vnics": [dict(vnic, name="sender", subnet="a", mac=SENDER_MAC, addresses=[SENDER_IP], device=f"memif:{lab.memif(0)},server")],
    }
    if scenario == "l3":
        document["vnics"].append(dict(vnic, name="receiver", subnet="b", mac=RECEIVER_MAC, addresses=[RECEIVER_IP],
                                      device=f"memif:{lab.memif(1)},server"))
    else:
        document["ports"] = [{"name": "uplink", "device": f"memif:{lab.memif(1)},server"}]
        document["underlays"] = [{"name": "fabric", "port": "uplink", "address": VTEP_LOCAL, "prefix_length": 24}]
        document["vpcs"][0]["underlay"] = "fabric"
        document["mappings"] = [{"name": "receiver", "tenant": "t", "vpc": "v", "address": RECEIVER_IP, "mac": RECEIVER_MAC,
                                 "vtep": VTEP_REMOTE}]
    return document


class Dpud:
    name, queues = "softdpu", 1

    def __init__(self, lab):
        self.lab, self.daemon = lab, None

    def start(self, scenario):
        self.lab.clear()
        shutil.rmtree(self.lab.path("dpud/store"), ignore_errors=True)
        self.daemon = Daemon(self.lab.build, self.lab.path("dpud"), "--cpus", str(SWITCH_CORE), "--huge-pages", "on", "--eal",
                             f"--huge-dir {self.lab.huge}")
        self.daemon.call("dpu.apply", document=switch_document(self.lab, scenario), prune=True)
        wait_for("dpud's memif sockets", lambda: all(os.path.exists(self.lab.memif(port)) for port in (0, 1)))

    def _counts(self):
        worker = self.daemon.call("dpu.workers")["workers"][0]
        sender = self.daemon.call("vnic.get", tenant="t", name="sender", observe=True)
        return worker["busy_cycles"], sender["rx_packets"], sender["misses"]

    def reset(self):
        self.before = self._counts()

    def cycles(self):
        busy, packets, misses = (now - then for now, then in zip(self._counts(), self.before))
        if misses > packets / 1000:
            raise RuntimeError(f"{misses} of {packets} packets missed their session: that would be another measurement")
        return busy / max(1, packets)

    def stop(self):
        if self.daemon:
            self.daemon.stop()
