# SPDX-License-Identifier: BSD-3-Clause
"""What the benchmarks of whole switches share: a folder, processes that are waited for and ended, and the generator."""
import glob
import json
import os
import signal
import subprocess
import sys
import time

GENERATOR_CORE, SWITCH_CORE = 0, 1
ATTEMPTS = 3
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


class CoreShare:
    """The part of the time that a thread had the core of that in which it wanted it: cycles by TSC have the rest in them."""

    def __init__(self, pid, name):
        for task in glob.glob(f"/proc/{pid}/task/*"):
            with open(f"{task}/comm") as file:
                if file.read().startswith(name):
                    self.path = f"{task}/schedstat"
        self.before = self._times()

    def _times(self):
        with open(self.path) as file:
            return [int(word) for word in file.read().split()[:2]]

    def now(self):
        ran, waited = (now - then for now, then in zip(self._times(), self.before))
        return ran / max(1, ran + waited)


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

    def driver_folder(self):
        return os.path.abspath(os.path.join(self.build, "apps/net_softdpu"))

    def memif(self, port):
        return self.path(f"m{port}.sock")

    def memory_arguments(self, prefix):
        return ["--huge-dir", self.huge, "--in-memory", "--single-file-segments", "--no-pci", "--no-telemetry", "--file-prefix", prefix]

    def memif_arguments(self, port, role, ring=10):
        """ring: the logarithm of its slots, which the client chooses."""
        return f"role={role},id=0,socket={self.memif(port)},socket-abstract=no,rsize={ring}"

    def clear(self):
        for port in (0, 1):
            if os.path.exists(self.memif(port)):
                os.unlink(self.memif(port))


def generator_command(lab, queues, alone=False, ring=10, **more):
    """alone: its own two ports joined by one memif; ring: of the receiving port; more: arguments of the generator."""
    vdevs = []
    for port in (0, 1):
        role, at = ("server" if port == 0 else "client", 0) if alone else ("client", port)
        vdevs += ["--vdev", f"net_memif{port},{lab.memif_arguments(at, role, ring if port == 1 else 10)}"]
    return [os.path.join(lab.build, "tests/bench/generator"), "--lcores", f"0@{GENERATOR_CORE}", *lab.memory_arguments("sdgen"), *vdevs, "--",
            f"queues={queues}", f"dst_mac={GATEWAY_MAC}", f"src_mac={SENDER_MAC}", f"src_ip={SENDER_IP}", f"dst_ip={RECEIVER_IP}",
            f"vtep={VTEP_REMOTE}", f"vtep_mac={RECEIVER_MAC}", *(f"{key}={value}" for key, value in more.items())]


def generate(lab, queues, flows, seconds, alone=False, running=None, warm=None, done=None, rate=0, ring=10, **more):
    """Runs the generator against what listens on the two memif sockets, or with its own two ports joined by one; its JSON. Calls running() when
    it sends, and it warms up until that is done; warm() once every flow is known; and done() at the end, before the ports go. The rest are
    generator_command()'s."""
    command = generator_command(lab, queues, alone, ring, flows=flows, seconds=seconds, rate=rate, warmup=1, size=64, hold=int(bool(running)),
                                **more)
    with open(lab.path("generator.log"), "w") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        for line in process.stdout:
            if line.strip() == "running" and running:
                running()
                process.stdin.write("go\n")
                process.stdin.flush()
            elif line.strip() == "warm" and warm:
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


def measure_again(once, lab, make, scenario, sizes, seconds, seen):
    """A switch that dies, as DPDK's memif may when a peer leaves at the wrong moment, is started again: only whole rounds count. once(lab, switch,
    scenario, sizes, seconds, found) is a round."""
    for attempt in range(ATTEMPTS):
        found = {}
        try:
            once(lab, make(lab), scenario, sizes, seconds, found)
        except RuntimeError as error:
            print(f"{scenario} {make.name}: {error}", file=sys.stderr)
            if attempt == ATTEMPTS - 1:
                raise
        else:
            for key, one in found.items():
                seen.setdefault(key, []).append(one)
            return
