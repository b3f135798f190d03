#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Reads Prometheus metrics as strictly as their text format is defined: metrics.py ADDRESS [SAMPLE]... prints how many samples there are,
or the values of those named. ADDRESS is HOST:PORT or the path of a socket; SAMPLE is a name with all its labels, as in the text."""
import re
import socket
import sys

LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)*\})? (-?[0-9.e+]+|NaN|\+Inf)')


def fetch(address):
    if address.startswith("/"):
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(10)
        link.connect(address)
    else:
        host, port = address.rsplit(":", 1)
        link = socket.create_connection((host, int(port)), 10)
    with link:
        link.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while chunk := link.recv(65536):
            answer += chunk
    head, body = answer.decode().split("\r\n\r\n", 1)
    assert head.startswith("HTTP/1.1 200 "), head
    assert "text/plain" in head, head
    return body


def samples(text):
    values, family, names, helped = {}, None, set(), set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split(" ", 3)[2])
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert kind in ("counter", "gauge", "histogram"), line
            assert family not in names, f"family {family} twice"
            assert family in helped, f"family {family} without help"
            assert kind != "counter" or family.endswith("_total"), f"counter {family} does not end in _total"
            names.add(family)
        if line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match, f"no sample: {line}"
        of = re.sub("_(bucket|sum|count)$", "", match[1]) if kind == "histogram" else match[1]
        assert of == family, f"{match[1]} outside its family {family}"
        name, value = line.rsplit(" ", 1)
        assert name not in values, f"twice: {line}"
        values[name] = value
    return values, names


values, names = samples(fetch(sys.argv[1]))
for name in "dpud_info", "dpud_rpc_requests_total", "dpu_objects", "dpu_drops_total":
    assert name in names, f"{name} is missing"
for wanted in sys.argv[2:]:
    assert wanted in values, f"{wanted} is missing: {sorted(name for name in values if name.split('{')[0] == wanted.split('{')[0])}"
    print(values[wanted])
if len(sys.argv) == 2:
    print(len(values), "samples")
