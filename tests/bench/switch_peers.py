# SPDX-License-Identifier: BSD-3-Clause
"""The switches that `./run bench switch` compares: each brings itself up between two memif sockets and tells busy cycles per packet.

A switch has: name, queues (of its memif ports), start(scenario), cycles() since the last reset(), stop(). Scenario "l3": frames from port 0
leave port 1 with new MACs and TTL - 1 (testpmd: plain forwarding with new MACs). Scenario "encap": they leave it inside VXLAN."""
import glob
import json
import os
import re
import signal
import subprocess
import time

GENERATOR_CORE, SWITCH_CORE = 0, 1
VTEP_LOCAL, VTEP_REMOTE, VNI = "192.0.2.1", "192.0.2.2", 1000
SENDER_MAC, GATEWAY_MAC, RECEIVER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:01", "02:00:00:00:00:bb"
SENDER_IP, RECEIVER_IP = "10.0.0.2", "10.0.1.2"


def run(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def end(process):
    if process and process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(what, test, seconds=20, log=None, process=None):
    """What does not come, or has ended meanwhile, is explained by the end of its log."""
    limit = time.monotonic() + seconds
    while not test():
        ended = process and process.poll() is not None
        if ended or time.monotonic() > limit:
            words = ""
            if log:
                with open(log, errors="replace") as file:
                    words = ": " + file.read()[-800:]
            raise RuntimeError(f"{what}: " + (f"ended with {process.returncode}" if ended else f"not within {seconds} s") + words)
        time.sleep(0.05)


class Lab:
    """A folder for sockets, logs and huge pages; where our programs are."""

    def __init__(self, folder, build):
        self.folder, self.huge, self.build = folder, os.path.join(folder, "huge"), build

    def path(self, name):
        return os.path.join(self.folder, name)

    def memif(self, port):
        return self.path(f"m{port}.sock")

    def memory_arguments(self, prefix):
        return ["--huge-dir", self.huge, "--in-memory", "--single-file-segments", "--no-pci", "--no-telemetry", "--file-prefix", prefix]

    def memif_arguments(self, port, role):
        return f"role={role},id=0,socket={self.memif(port)},socket-abstract=no,rsize=10"

    def clear(self):
        for port in (0, 1):
            if os.path.exists(self.memif(port)):
                os.unlink(self.memif(port))


class Testpmd:
    """DPDK's own forwarder: the floor of what ports cost."""
    name, queues = "testpmd", 1

    def __init__(self, lab):
        self.lab, self.process = lab, None

    def start(self, scenario):
        assert scenario == "l3"
        self.lab.clear()
        vdevs = []
        for port in (0, 1):
            vdevs += ["--vdev", f"net_memif{port},{self.lab.memif_arguments(port, 'server')}"]
        self.log = open(self.lab.path("testpmd.log"), "w+")
        self.process = subprocess.Popen(
            ["stdbuf", "-oL", "dpdk-testpmd", "--lcores", f"0@{GENERATOR_CORE},1@{SWITCH_CORE}", *self.lab.memory_arguments("sdtestpmd"), *vdevs, "--",
             "--interactive", "--forward-mode=mac", "--nb-cores=1", "--record-core-cycles", "--burst=32", "--rxd=1024", "--txd=1024",
             f"--eth-peer=1,{RECEIVER_MAC}", "--total-num-mbufs=16384"],
            stdin=subprocess.PIPE, stdout=self.log, stderr=self.log, text=True)
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
        self.lab, self.database, self.switch = lab, None, None

    def _vsctl(self, *words):
        return run(["ovs-vsctl", "--timeout=20", f"--db=unix:{self.lab.path('db.sock')}", *words], env=self.env)

    def _appctl(self, *words):
        return run(["ovs-appctl", "-t", glob.glob(self.lab.path("ovs-vswitchd*.ctl"))[0], *words], env=self.env)

    def _flow(self, bridge, text):
        run(["ovs-ofctl", "-O", "OpenFlow13", "add-flow", f"unix:{self.lab.path(bridge + '.mgmt')}", text], env=self.env)

    def start(self, scenario):
        self.lab.clear()
        folder = self.lab.folder
        self.env = dict(os.environ, OVS_RUNDIR=folder, OVS_LOGDIR=folder, OVS_DBDIR=folder)
        if os.path.exists(self.lab.path("conf.db")):
            os.unlink(self.lab.path("conf.db"))
        run(["ovsdb-tool", "create", self.lab.path("conf.db"), "/usr/share/openvswitch/vswitch.ovsschema"], env=self.env)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": self.env}
        self.database = subprocess.Popen(["ovsdb-server", self.lab.path("conf.db"), f"--remote=punix:{self.lab.path('db.sock')}",
                                          f"--pidfile={self.lab.path('ovsdb-server.pid')}", f"--log-file={self.lab.path('ovsdb.log')}"], **quiet)
        wait_for("ovsdb-server", lambda: os.path.exists(self.lab.path("db.sock")))
        self._vsctl("--no-wait", "init")
        self._vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true", f"other_config:pmd-cpu-mask={1 << SWITCH_CORE:#x}",
                    f"other_config:dpdk-lcore-mask={1 << GENERATOR_CORE:#x}", "other_config:per-port-memory=true",
                    f"other_config:dpdk-extra=--huge-dir {self.lab.huge} --single-file-segments --no-pci --no-telemetry --file-prefix sdovs")
        self.switch = subprocess.Popen(["/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk", f"unix:{self.lab.path('db.sock')}",
                                        f"--pidfile={self.lab.path('ovs-vswitchd.pid')}", f"--log-file={self.lab.path('vswitchd.log')}"], **quiet)
        self._port("br-in", "m0", 0)
        if scenario == "l3":
            self._port("br-in", "m1", 1)
            self._flow("br-in", f"in_port=m0,ip,actions=mod_dl_src:{GATEWAY_MAC},mod_dl_dst:{RECEIVER_MAC},dec_ttl,output:m1")
        else:
            self._encap()

    def _port(self, bridge, port, number):
        self._vsctl("--may-exist", "add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev", "--", "add-port", bridge, port,
                    "--", "set", "interface", port, "type=dpdk", "options:n_rxq=2",
                    f"options:dpdk-devargs=net_memif{number},{self.lab.memif_arguments(number, 'server')}")

    def _encap(self):
        self._port("br-phy", "m1", 1)
        self._vsctl("add-port", "br-in", "vx0", "--", "set", "interface", "vx0", "type=vxlan", f"options:remote_ip={VTEP_REMOTE}",
                    f"options:local_ip={VTEP_LOCAL}", f"options:key={VNI}")
        run(["ip", "address", "replace", f"{VTEP_LOCAL}/24", "dev", "br-phy"])
        run(["ip", "link", "set", "br-phy", "up"])
        self._appctl("tnl/neigh/set", "br-phy", VTEP_REMOTE, RECEIVER_MAC)
        self._flow("br-in", f"in_port=m0,ip,actions=mod_dl_src:{GATEWAY_MAC},mod_dl_dst:{RECEIVER_MAC},dec_ttl,output:vx0")
        self._flow("br-phy", "in_port=LOCAL,actions=output:m1")

    def reset(self):
        self._appctl("dpif-netdev/pmd-stats-clear")

    def cycles(self):
        return float(re.search(r"avg processing cycles per packet: ([\d.]+)", self._appctl("dpif-netdev/pmd-stats-show")).group(1))

    def stop(self):
        if self.switch and self.switch.poll() is None:
            try:
                self._appctl("exit", "--cleanup")
                self.switch.wait(10)
            except (RuntimeError, IndexError, subprocess.TimeoutExpired):
                pass
        end(self.switch)
        end(self.database)


def generate(lab, queues, flows, seconds, alone=False, warm=None, done=None, rate=0):
    """Runs the generator against what listens on the two memif sockets, or with its own two ports joined by one; its JSON. Calls warm() once
    every flow is known, and done() at the end, before the ports go."""
    vdevs = []
    for port in (0, 1):
        role, at = ("server" if port == 0 else "client", 0) if alone else ("client", port)
        vdevs += ["--vdev", f"net_memif{port},{lab.memif_arguments(at, role)}"]
    command = [os.path.join(lab.build, "tests/bench/generator"), "--lcores", f"0@{GENERATOR_CORE}", *lab.memory_arguments("sdgen"), *vdevs, "--",
               f"flows={flows}", f"seconds={seconds}", f"rate={rate}", "warmup=1", "size=64", f"queues={queues}", f"dst_mac={GATEWAY_MAC}",
               f"src_mac={SENDER_MAC}", f"src_ip={SENDER_IP}", f"dst_ip={RECEIVER_IP}", f"vtep={VTEP_REMOTE}", f"vtep_mac={RECEIVER_MAC}"]
    with open(lab.path("generator.log"), "w") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        for line in process.stdout:
            if line.strip() == "warm" and warm:
                warm()
            elif line.startswith("{"):
                if done:
                    done()
                return json.loads(line)
        with open(lab.path("generator.log")) as log:
            raise RuntimeError(f"generator: {log.read()[-500:]}")
    finally:
        process.stdin.close()
        end(process)
