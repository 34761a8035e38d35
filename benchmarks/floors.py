"""What the machine can do: syncs and one-row commits a second, the loopback's bandwidth, a core.

The figures of ampacity are ratios to such floors, measured in the same run. The bare relay, the
floor of the way of a job, stands beside them in ``bulk`` and ``latency``.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sqlite3
import time
from pathlib import Path

from .kit.cluster import scratch
from .kit.kernel import loops_a_second
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main

BLOCK = 4096
PIECE = bytes(1 << 18)
BYTES = 1 << 30
SECONDS = 0.4


def measure(plan: Plan) -> Measured:
    measured = Measured("floors", "What the machine can do")
    size = plan.few(BYTES, 1 << 24)
    with scratch() as folder:
        syncs = [syncs_a_second(folder / f"{n}.sync") for n in range(plan.times)]
        commits = [commit_seconds(folder / f"{n}.db") for n in range(plan.times)]
    measured.add("fdatasync", "4 KiB each", "a second", syncs, "more")
    measured.add("one-row commit", "SQLite, WAL, FULL", "s", commits)
    for name, family in (("TCP", socket.AF_INET), ("UNIX socket", socket.AF_UNIX)):
        rates = [bandwidth(family, size) for _ in range(plan.times)]
        measured.add("between two processes", name, "B/s", rates, "more")
    for count in (1, plan.slots):
        rates = [loops_a_second(count) / 1e6 for _ in range(plan.times)]
        what = f"{count} process{'es' if count > 1 else ''} at once"
        measured.add("an empty loop, each process", what, "million rounds/s", rates, "more")
    return measured


def syncs_a_second(path: Path) -> float:
    """Blocks written and synced, one after the other, to a file that has its size already."""
    sync = getattr(os, "fdatasync", os.fsync)
    with path.open("wb+", buffering=0) as file:
        file.write(bytes(BLOCK))
        count, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < SECONDS:
            file.seek(0)
            file.write(os.urandom(16))
            sync(file.fileno())
            count += 1
    return count / elapsed


def commit_seconds(path: Path) -> float:
    """One transaction of one short row, set up as the store is."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for setting in ("journal_mode = WAL", "synchronous = FULL", "locking_mode = EXCLUSIVE"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, payload BLOB)")
        count, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < SECONDS:
            connection.execute("INSERT INTO jobs (payload) VALUES (?)", (bytes(100),))
            count += 1
    finally:
        connection.close()
    return elapsed / count


def bandwidth(family: socket.AddressFamily, size: int) -> float:
    """Bytes a second from another process, through one socket."""
    with scratch() as folder, socket.socket(family) as listening:
        listening.bind(str(folder / "s") if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listening.listen()
        where = listening.getsockname()
        sender = multiprocessing.get_context("spawn").Process(
            target=_send, args=(family, where, size)
        )
        sender.start()
        with listening.accept()[0] as line:
            elapsed = _receive(line, size)
        sender.join()
    return size / elapsed


def _receive(line: socket.socket, size: int) -> float:
    room, left = bytearray(len(PIECE)), size
    started = time.perf_counter()
    while left > 0 and (got := line.recv_into(room)):
        left -= got
    return time.perf_counter() - started


def _send(family: socket.AddressFamily, where: str | tuple[str, int], size: int) -> None:
    with socket.socket(family) as line:
        line.connect(where)
        for _ in range(size // len(PIECE)):
            line.sendall(PIECE)


if __name__ == "__main__":
    main(measure, __doc__)
