# SPDX-License-Identifier: BSD-3-Clause
"""An ovs-vswitchd of a benchmark's own, with everything of it in the lab's folder."""
import glob
import json
import os
import re
import socket
import subprocess

from lab import GENERATOR_CORE, RECEIVER_MAC, VNI, VTEP_LOCAL, VTEP_REMOTE, CoreShare, end, run, wait_for

VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"


class OvsDaemon:
    def __init__(self, lab):
        self.lab, self.database, self.switch = lab, None, None
        self.env = dict(os.environ, OVS_RUNDIR=lab.folder, OVS_LOGDIR=lab.folder, OVS_DBDIR=lab.folder,
                        LD_LIBRARY_PATH=lab.driver_folder())

    def vsctl(self, *words):
        return run(["ovs-vsctl", "--timeout=20", f"--db=unix:{self.lab.path('db.sock')}", *words], env=self.env)

    def appctl(self, *words):
        """By its socket: to start a program takes longer than some of what is measured."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(20)
            link.connect(glob.glob(self.lab.path("ovs-vswitchd*.ctl"))[0])
            link.sendall(json.dumps({"method": words[0], "params": words[1:], "id": 0}).encode())
            text = b""
            while part := link.recv(65536):
                text += part
                try:
                    answer = json.loads(text)
                except ValueError:
                    continue
                if answer["error"]:
                    raise RuntimeError(f"{' '.join(words)}: {answer['error']}")
                return answer["result"]
        raise RuntimeError(f"{' '.join(words)}: no answer")

    def flow(self, bridge, text):
        run(["ovs-ofctl", "-O", "OpenFlow13", "add-flow", f"unix:{self.lab.path(bridge + '.mgmt')}", text], env=self.env)

    def flows(self, bridge, path):
        run(["ovs-ofctl", "-O", "OpenFlow13", "add-flows", f"unix:{self.lab.path(bridge + '.mgmt')}", path], env=self.env)

    def start(self, polling_core, eal="", **config):
        """config: more of other_config, with _ for -; a driver is found by name only from a folder that is not the library's."""
        if os.path.exists(self.lab.path("conf.db")):
            os.unlink(self.lab.path("conf.db"))
        run(["ovsdb-tool", "create", self.lab.path("conf.db"), "/usr/share/openvswitch/vswitch.ovsschema"], env=self.env)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": self.env, "cwd": self.lab.folder}
        self.database = subprocess.Popen(["ovsdb-server", self.lab.path("conf.db"), f"--remote=punix:{self.lab.path('db.sock')}",
                                          f"--pidfile={self.lab.path('ovsdb-server.pid')}", f"--log-file={self.lab.path('ovsdb.log')}"], **quiet)
        wait_for("ovsdb-server", lambda: os.path.exists(self.lab.path("db.sock")))
        self.vsctl("--no-wait", "init")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true", f"other_config:pmd-cpu-mask={1 << polling_core:#x}",
                   f"other_config:dpdk-lcore-mask={1 << GENERATOR_CORE:#x}", "other_config:per-port-memory=true",
                   f"other_config:dpdk-extra=--huge-dir {self.lab.huge} --single-file-segments --no-pci --no-telemetry --file-prefix sdovs {eal}",
                   *(f"other_config:{key.replace('_', '-')}={value}" for key, value in config.items()))
        self.switch = subprocess.Popen([VSWITCHD, f"unix:{self.lab.path('db.sock')}", f"--pidfile={self.lab.path('ovs-vswitchd.pid')}",
                                        f"--log-file={self.lab.path('vswitchd.log')}"], **quiet)

    def port(self, bridge, port, devargs):
        self.vsctl("--may-exist", "add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev", "--", "add-port", bridge, port,
                   "--", "set", "interface", port, "type=dpdk", "options:n_rxq=2", f"options:dpdk-devargs={devargs}")
        error = self.vsctl("get", "interface", port, "error").strip()
        if error != "[]":
            raise RuntimeError(f"OVS cannot use {port}: {error}")

    def memif_port(self, bridge, number):
        self.port(bridge, f"m{number}", f"net_memif{number},{self.lab.memif_arguments(number, 'server')}")

    def tunnel(self, bridge, underlay, uplink):
        """A VXLAN port vx0 of the bridge, whose packets leave by the uplink of the bridge underlay."""
        self.vsctl("add-port", bridge, "vx0", "--", "set", "interface", "vx0", "type=vxlan", f"options:remote_ip={VTEP_REMOTE}",
                   f"options:local_ip={VTEP_LOCAL}", f"options:key={VNI}")
        run(["ip", "address", "replace", f"{VTEP_LOCAL}/24", "dev", underlay])
        run(["ip", "link", "set", underlay, "up"])
        self.appctl("tnl/neigh/set", underlay, VTEP_REMOTE, RECEIVER_MAC)
        self.flow(underlay, f"in_port=LOCAL,actions=output:{uplink}")

    def megaflows(self, *more):
        return len(self.appctl("dpctl/dump-flows", *more).splitlines())

    def clear_statistics(self):
        self.share = CoreShare(self.switch.pid, "pmd-")
        self.appctl("dpif-netdev/pmd-stats-clear")

    def statistics(self, names):
        """0 for what it does not show."""
        text = self.appctl("dpif-netdev/pmd-stats-show")
        return [float(found.group(1)) if (found := re.search(rf"{name}: ([\d.]+)", text)) else 0.0 for name in names]

    def statistic(self, name):
        return float(re.search(rf"{name}: ([\d.]+)", self.appctl("dpif-netdev/pmd-stats-show")).group(1))

    def cycles_per_packet(self):
        return self.share.now() * self.statistic("avg processing cycles per packet")

    def stop(self):
        if self.switch and self.switch.poll() is None:
            try:
                self.appctl("exit", "--cleanup")
            except (RuntimeError, OSError, IndexError):
                pass  # it may be gone before it has answered
            try:
                self.switch.wait(10)
            except subprocess.TimeoutExpired:
                pass
        end(self.switch)
        end(self.database)
