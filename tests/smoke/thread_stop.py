# SPDX-License-Identifier: BSD-3-Clause
"""Stops one thread of a process and lets it go on: a thread that hangs, as its process sees it."""
import ctypes
import os

SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def find(pid, name):
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/comm") as file:
            if file.read().strip() == name:
                return int(thread)
    raise LookupError(f"process {pid} has no thread {name}")


class Stopped:
    """with Stopped(pid, name): … the thread stands still; it goes on afterwards, and when this process ends."""

    def __init__(self, pid, name):
        self.thread = find(pid, name)

    def __enter__(self):
        ptrace(SEIZE, self.thread)
        ptrace(INTERRUPT, self.thread)
        os.waitpid(self.thread, WALL)

    def __exit__(self, *error):
        ptrace(DETACH, self.thread)
