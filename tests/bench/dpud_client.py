# SPDX-License-Identifier: BSD-3-Clause
"""A client of dpud's JSON-RPC socket that keeps its connection, for benchmarks."""
import json
import socket


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
