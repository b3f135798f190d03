#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""dpuctl's interactive shell on a pseudo terminal: shell.py DPUCTL INSTANCE."""
import os
import pty
import re
import select
import signal
import sys
import time

dpuctl, instance = sys.argv[1:3]
child, terminal = pty.fork()
if child == 0:
    os.environ["TERM"] = "xterm"
    os.execv(dpuctl, [dpuctl, "-i", instance])
seen = ""


def expect(pattern, seconds=10):
    """Reads until the pattern appears behind what was expected before."""
    global seen
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        match = re.search(pattern, seen)
        if match:
            seen = seen[match.end():]
            return
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 65536).decode(errors="replace")
                seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)  # colours and cursor movements
            except OSError:
                break
    os.kill(child, signal.SIGKILL)
    sys.exit(f"'{pattern}' did not come; there is {seen!r}")


def type_in(text):
    os.write(terminal, text.encode())


prompt = re.escape(f"{instance}> ")
expect("Tab completes")
expect(prompt)
type_in("tenant list -c name\n")
expect(r"NAME\s+blue")
expect(prompt)
type_in("ten\tli\t-c name\n")  # completed to: tenant list -c name
expect(r"NAME\s+blue")
expect(prompt)
type_in("tenant ?")  # says what may come, and leaves the line as it was
expect(r"list\s+show\s+create\s+set\s+delete")
type_in("create green\n")
expect(prompt)
type_in("tenant show gr\t-o json\n")
expect(r'"name": "green"')
expect(prompt)
type_in("tenant show nobody\n")
expect('there is no tenant "nobody"')
expect(prompt)
type_in("tenant 'list\n")
expect("a quote .'. is not closed")
expect(prompt)
type_in("watch tenant\n")
time.sleep(0.5)
type_in("\x03")  # ends watching, not the shell
expect(prompt)
type_in("tenant delete green\n")
expect(prompt)
type_in("\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A")
type_in("\x15quit\n")
end = time.monotonic() + 10
while time.monotonic() < end:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        sys.exit(os.waitstatus_to_exitcode(status))
    if select.select([terminal], [], [], 0.05)[0]:
        try:
            os.read(terminal, 65536)
        except OSError:
            pass
os.kill(child, signal.SIGKILL)
sys.exit("quit does not end the shell")
