# SPDX-License-Identifier: BSD-3-Clause
"""Hosts that race for a reservation of one namespace: nvmf_races.py ADDRESS PORT NQN ROUNDS."""
import select
import struct
import sys
import threading
import time

from nvmf_client import IN_CAPSULE, READ, TRANSPORT, WRITE, Host, sqe

REGISTER, REPORT, ACQUIRE, RELEASE = 0x0D, 0x0E, 0x11, 0x15
PREEMPT_ABORT, WRITE_EXCLUSIVE, CONFLICT = 2, 1 << 8, 0x83
HOSTS, DEPTH, PREEMPTIONS, BYTES = 4, 16, 4, 4096
ADDRESS, PORT, NQN, ROUNDS = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
BLOCKS = struct.pack("<QI", 0, 7)


def fail(words):
    sys.exit(f"nvmf_races.py: {words}")


class Rival:
    def __init__(self, number):
        self.key = 0xA0 + number
        host = Host(ADDRESS, PORT, NQN, f"nqn.2025-01.org.example:rival{number}", bytes([number + 1]) * 16)
        status, self.admin, self.io = host.pair()
        if status:
            fail(f"Connect: {status:x}")
        self.register()

    def ask(self, opcode, cdw10, *keys):
        data = struct.pack(f"<{len(keys)}Q", *keys)
        return self.io.call(sqe(opcode, 1, 1, len(data), IN_CAPSULE, struct.pack("<I", cdw10)), data)[0] & 0x7FF

    def register(self):
        if self.ask(REGISTER, 0, 0, self.key):
            fail("a host cannot register")

    def acquire(self, action=0, preempted=0):
        return self.ask(ACQUIRE, WRITE_EXCLUSIVE | action, self.key, preempted)

    def release(self):
        return self.ask(RELEASE, WRITE_EXCLUSIVE, self.key)

    def holders(self):
        """Keys of those who hold the reservation, and how many are registered."""
        status, _, data = self.io.call(sqe(REPORT, 1, 1, BYTES, TRANSPORT, struct.pack("<II", BYTES // 4 - 1, 1)))
        count = struct.unpack_from("<H", data, 5)[0]
        entries = [data[64 + 64 * i:128 + 64 * i] for i in range(count)]
        return status or [struct.unpack_from("<Q", entry, 8)[0] for entry in entries if entry[2] & 1], count

    def write(self, cid=1):
        self.io.send(sqe(WRITE, 1, cid, BYTES, IN_CAPSULE, BLOCKS), bytes([self.key]) * BYTES)

    def answered(self, count, seconds):
        """Statuses of so many writes, or of those that are answered within that time."""
        statuses, end = [], time.monotonic() + seconds
        while len(statuses) < count and select.select([self.io.link], [], [], max(0, end - time.monotonic()))[0]:
            statuses.append(self.io.answer()[0] & 0x7FF)
        return statuses


def all_at_once(rivals, what):
    barrier, results = threading.Barrier(len(rivals)), [None] * len(rivals)

    def one(index):
        barrier.wait()
        results[index] = what(rivals[index])
    threads = [threading.Thread(target=one, args=(index,), daemon=True) for index in range(len(rivals))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def one_acquires(rivals):
    winners = set()
    for _ in range(ROUNDS):
        results = all_at_once(rivals, Rival.acquire)
        if sorted(results) != [0] + [CONFLICT] * (HOSTS - 1):
            fail(f"of those who acquire one must succeed: {results}")
        winner = rivals[results.index(0)]
        winners.add(winner.key)
        for rival in rivals:
            if rival.holders() != ([winner.key], HOSTS):
                fail(f"the report says {rival.holders()}, not {winner.key}")
        if winner.release():
            fail("the holder cannot release")
    return len(winners)


def none_writes_after_preemption(rivals):
    """When Preempt and Abort is answered nothing of the preempted host is under way, though a limit holds its writes back; and the
    new holder's write is what stays."""
    for number in range(PREEMPTIONS):
        holder, other = rivals[number % HOSTS], rivals[(number + 1) % HOSTS]
        if holder.acquire():
            fail("a free reservation cannot be acquired")
        for cid in range(DEPTH):
            holder.write(cid)
        statuses = holder.answered(1, 10)
        if other.acquire(PREEMPT_ABORT, holder.key):
            fail("a holder cannot be preempted")
        # All answers are there, or a moment behind. Those of DEPTH writes would take DEPTH / 40 seconds.
        statuses += holder.answered(DEPTH - 1, 0.1)
        if len(statuses) < DEPTH or set(statuses) - {0, CONFLICT}:
            fail(f"the preemption is answered before what the preempted host had under way: {statuses}")
        other.write()
        if other.answered(1, 10) != [0]:
            fail("the new holder cannot write")
        holder.write()
        if holder.answered(1, 10) != [CONFLICT]:
            fail("the preempted host can write")
        data = rivals[-1].io.call(sqe(READ, 1, 1, BYTES, TRANSPORT, BLOCKS))[2]
        if data != bytes([other.key]) * BYTES:
            fail(f"{bytes(data[:4]).hex()} was written after the preemption")
        if other.release():
            fail("the new holder cannot release")
        holder.register()


def main():
    rivals = [Rival(number) for number in range(HOSTS)]
    winners = one_acquires(rivals)
    none_writes_after_preemption(rivals)
    print(f"{ROUNDS} races, {winners} winners; {PREEMPTIONS} preemptions under write")


main()
