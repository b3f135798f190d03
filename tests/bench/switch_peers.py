# SPDX-License-Identifier: BSD-3-Clause
"""The switches that `./run bench switch` compares: each brings itself up between two memif sockets and tells busy cycles per packet.

A switch has: name, queues (of its memif ports), start(scenario), cycles() since the last reset(), stop(). Scenario "l3": frames from port 0
leave port 1 with new MACs and TTL - 1 (testpmd: plain forwarding with new MACs). Scenario "encap": they leave it inside VXLAN."""
import os
import re
import subprocess
import time

from lab import GATEWAY_MAC, GENERATOR_CORE, RECEIVER_MAC, SWITCH_CORE, end, wait_for
from ovs_daemon import OvsDaemon


class Testpmd:
    """DPDK's own forwarder: the floor of what ports cost."""
    name, queues = "testpmd", 1

    def __init__(self, lab):
        self.lab, self.process = lab, None

    def start(self, scenario):
        assert scenario == "l3"
        self.lab.clear()
        self.launch([], [f"net_memif{port},{self.lab.memif_arguments(port, 'server')}" for port in (0, 1)])

    def launch(self, eal, devices):
        vdevs = [word for device in devices for word in ("--vdev", device)]
        self.log = open(self.lab.path("testpmd.log"), "w+")
        self.process = subprocess.Popen(
            ["stdbuf", "-oL", "dpdk-testpmd", "--lcores", f"0@{GENERATOR_CORE},1@{SWITCH_CORE}", *self.lab.memory_arguments("sdtestpmd"), *eal,
             *vdevs, "--",
             "--interactive", "--forward-mode=mac", "--nb-cores=1", "--record-core-cycles", "--burst=32", "--rxd=1024", "--txd=1024",
             f"--eth-peer=1,{RECEIVER_MAC}", "--total-num-mbufs=16384"],
            stdin=subprocess.PIPE, stdout=self.log, stderr=self.log, text=True, cwd=self.lab.folder,
            env=dict(os.environ, LD_LIBRARY_PATH=self.lab.driver_folder()))
        wait_for("testpmd", lambda: os.path.exists(self.lab.memif(1)) and "testpmd>" in self._text(), seconds=60, log=self.log.name,
                 process=self.process)
        self._command("start")
        time.sleep(0.3)

    def _text(self):
        self.log.flush()
        with open(self.log.name) as file:
            return file.read()

    def _command(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def reset(self):
        self._command("clear fwd stats all")
        time.sleep(0.2)

    def cycles(self):
        seen = len(self._text())
        self._command("show fwd stats all")
        wait_for("testpmd's statistics", lambda: "CPU cycles/packet" in self._text()[seen:])
        return float(re.search(r"CPU cycles/packet=([\d.]+)", self._text()[seen:]).group(1))

    def stop(self):
        if self.process and self.process.poll() is None:
            self._command("stop")
            self._command("quit")
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        end(self.process)


class Ovs:
    """OVS-DPDK as it does best here: one polling core, per-port memory, two queues on memif (it transmits on the second), default caches.
    Measured and worse: every flow into the exact-match cache (394 cycles instead of 372 at 1 k flows), the signature-match
    cache on (504 instead of 450 at 10 k, 703 instead of 559 at 100 k)."""
    name, queues = "OVS-DPDK", 2

    def __init__(self, lab):
        self.lab, self.ovs = lab, OvsDaemon(lab)

    def start(self, scenario):
        self.lab.clear()
        self.ovs.start(SWITCH_CORE)
        self.ovs.memif_port("br-in", 0)
        if scenario == "l3":
            self.ovs.memif_port("br-in", 1)
            self.ovs.flow("br-in", f"in_port=m0,ip,actions=mod_dl_src:{GATEWAY_MAC},mod_dl_dst:{RECEIVER_MAC},dec_ttl,output:m1")
        else:
            self.ovs.memif_port("br-phy", 1)
            self.ovs.tunnel("br-in", "br-phy", "m1")
            self.ovs.flow("br-in", f"in_port=m0,ip,actions=mod_dl_src:{GATEWAY_MAC},mod_dl_dst:{RECEIVER_MAC},dec_ttl,output:vx0")

    def reset(self):
        self.ovs.clear_statistics()

    def cycles(self):
        return self.ovs.cycles_per_packet()

    def stop(self):
        self.ovs.stop()
