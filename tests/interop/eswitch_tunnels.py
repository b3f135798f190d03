# SPDX-License-Identifier: BSD-3-Clause
"""A client that joins a vNIC and tunnels by rules, and tells what rules counted.

usage: eswitch_tunnels.py FOLDER-OF-ESWITCH_CLIENT SOCKET VNIC=TUNNEL… Prints "ready", waits for a line, prints the
packets of each rule."""
import sys
import time

sys.path.insert(0, sys.argv[1])
from eswitch_client import ACTIVE, OUTPUT, Client, fields, op  # noqa: E402

client = Client(sys.argv[2]).hello("tunnels")
index = 0
for pair in sys.argv[3:]:
    one, other = (client.open(name) for name in pair.split("="))
    for a, b in ((one, other), (other, one)):
        state = client.install(index, 1, fields(a.number), fields(0xffff), [op(OUTPUT, b.number)])
        if state != ACTIVE:
            sys.exit(f"rule {index}: {state}")
        index += 1
print("ready", flush=True)
sys.stdin.readline()
print(*(client.counter(i) for i in range(index)), flush=True)
time.sleep(0.1)
