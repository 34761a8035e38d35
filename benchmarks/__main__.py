"""No-op jobs a second: through the coordinator, and through ``ProcessPoolExecutor``.

Everything runs on this machine as processes of its own: a client, a coordinator, an agent, its
children. One measurement at a time, each in a fresh client, in turns; medians are compared. The
bare relay is the floor of the same hops in stock AMP, see ``relay``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from ..examples.demo.cluster import Cluster

ROUNDS = 3
JOBS = 20_000


class Measured(NamedTuple):
    rates: list[float]
    singles: list[float]

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def single(self) -> float:
        return statistics.median(self.singles)


def run(module: str, *words: str) -> dict[str, float]:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", f"{__package__}.{module}", *words]
    printed = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120).stdout
    return dict(json.loads(printed))


def measure(ways: dict[str, list[str]], rounds: int) -> dict[str, Measured]:
    """Every way in turn, ``rounds`` times."""
    measured = {name: Measured([], []) for name in ways}
    for _ in range(rounds):
        for name, words in ways.items():
            found = run(*words)
            measured[name].rates.append(found["rate"])
            measured[name].singles.append(found["single"])
            print(f"  {name:36}{found['rate']:12,.0f} jobs/s", file=sys.stderr)
    return measured


def report(measured: dict[str, Measured], peer: str) -> None:
    """A table; ratios are to the peer in the same run."""
    print(f"{'':36}{'bulk, jobs/s':>14}{'ratio':>8}{'one at a time':>16}{'ratio':>8}")
    for name, found in measured.items():
        print(
            f"{name:36}{found.rate:14,.0f}{found.rate / measured[peer].rate:8.2f}"
            f"{found.single * 1e3:13.2f} ms{found.single / measured[peer].single:8.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    peer = "ProcessPoolExecutor.submit"
    with (
        tempfile.TemporaryDirectory(prefix="ampacity-") as folder,
        Cluster(Path(folder) / "memory") as here,
        Cluster(Path(folder) / "disk") as durable,
    ):
        here.start_coordinator("--ephemeral")
        durable.start_coordinator()
        for cluster in (here, durable):
            cluster.start_worker("agent", given.workers)
            cluster.wait_for_workers(1)
        count = str(given.jobs)
        measured = measure(
            {
                peer: ["executor", str(given.workers), count],
                "ampacity, over the UNIX socket": ["bulk", here.socket_address, count],
                "ampacity, over TLS": ["bulk", here.client_address, count],
                "ampacity, every job on disk": ["bulk", durable.socket_address, count],
                "bare relay, frames of 64": ["relay", "client", str(given.workers), count],
            },
            given.rounds,
        )
    print(
        f"{given.jobs} no-op jobs, {given.workers} processes that run them, medians of "
        f"{given.rounds}; {os.cpu_count()} processors, Python {platform.python_version()}"
    )
    report(measured, peer)


if __name__ == "__main__":
    main()
