# SPDX-License-Identifier: BSD-3-Clause
"""A dpud of a benchmark's own, and a client of its JSON-RPC socket that keeps its connection."""
import json
import os
import signal
import socket
import subprocess
import time


class Client:
    def __init__(self, path, timeout=120):
        self.link = socket.socket(socket.AF_UNIX)
        self.link.settimeout(timeout)
        self.link.connect(path)
        self.lines = self.link.makefile()
        self.last = 0

    def call(self, method, **params):
        return self.call_text(method, json.dumps(params))

    def call_text(self, method, params):
        """params: JSON text, made beforehand where making it must not be measured."""
        self.last += 1
        self.link.sendall(f'{{"jsonrpc": "2.0", "id": {self.last}, "method": "{method}", "params": {params}}}\n'.encode())
        line = self.lines.readline()
        if not line:
            raise RuntimeError(f"{method}: dpud has closed the connection")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def close(self):
        self.lines.close()
        self.link.close()


class Daemon:
    """dpud with everything of it below a folder, in a mount namespace that ends with the benchmark. seconds: from exec to ready."""

    def __init__(self, build, folder, *options):
        state, notify = os.path.join(folder, "state"), os.path.join(folder, "notify")
        if not os.path.isdir(state):
            os.makedirs(state)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "huge=advise,mode=700", "none", state], check=True)
        if os.path.exists(notify):
            os.unlink(notify)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, open(os.path.join(folder, "dpud.log"), "a") as log:
            ready.bind(notify)
            ready.settimeout(120)
            started = time.monotonic()
            self.process = subprocess.Popen([os.path.join(build, "src/daemon/dpud"), "--run-dir", os.path.join(folder, "run"), "--store-dir",
                                             os.path.join(folder, "store"), "--state-dir", state, "--log-level", "warn", *options],
                                            stdout=log, stderr=log, env=dict(os.environ, NOTIFY_SOCKET=notify))
            ready.settimeout(0.2)
            while True:
                try:
                    if b"READY=1" in ready.recv(4096):
                        break
                except socket.timeout:
                    if self.process.poll() is not None or time.monotonic() > started + 120:
                        self.end()
                        with open(log.name) as text:
                            raise RuntimeError(f"dpud does not start: {text.read()[-1000:]}") from None
            self.seconds = time.monotonic() - started
        self.client = Client(os.path.join(folder, "run/dpud.sock"))
        self.call = self.client.call

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            words = file.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def stop(self):
        self.client.close()
        self.end()
