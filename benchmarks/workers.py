"""The coordinator against 1 to 2,000 simulated workers, all of them in one process.

The workers' connections are real, and end every job at once without running anything, so that
nothing but the coordinator and its client is left to be slow. Besides: what the coordinator uses
while a thousand of them have nothing to do.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from .kit import fresh, gauges
from .kit.cluster import Cluster
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main, say

MANY = "client_connections = 4096\n"
"""Of the user of this machine, whom all of the workers are."""
COUNTS = (1, 10, 100, 1000, 2000)
JOBS = 20_000
IDLE = 1000
IDLE_SECONDS = 8.0
ROUNDS = 3


def measure(plan: Plan) -> Measured:
    measured = Measured("workers", "The coordinator against simulated workers")
    measured.base = {"throughput": "10 workers"}
    found = []
    for count in (1, 10, 50) if plan.quick else COUNTS:
        with Cluster(plan, slots=0, settings=MANY) as cluster:
            if count == 1:
                _note_idle(measured, cluster, 0, plan)
            with simulated(cluster, count):
                if count in (50, IDLE):
                    _note_idle(measured, cluster, count, plan)
                runs = [_run(cluster, plan) for _ in range(min(plan.times, ROUNDS))]
        say(f"{count:6} workers {runs[-1]['rate']:12,.0f} jobs/s")
        found.append((f"{count:,} worker{'s' if count > 1 else ''}", count, runs))
    for way, _, runs in found:
        measured.add("throughput", way, "jobs/s", [run["rate"] for run in runs], "more")
    for way, _, runs in found:
        used = [run["cpu"]["coordinator"] for run in runs]
        measured.add("the coordinator's CPU a job", way, "s", used)
        lag = runs[-1]["lag"]["coordinator"]
        measured.curve("lag", f"coordinator, bulk, {way}", ("lag, s", "ticks"), lag)
    points = [(count, statistics.median(run["rate"] for run in runs)) for _, count, runs in found]
    measured.curve("workers", "ampacity", ("workers", "jobs/s"), points)
    return measured


def _run(cluster: Cluster, plan: Plan) -> dict[str, Any]:
    told = gauges.told(cluster.gauges)
    return fresh.run("programs.client", cluster.address, told, plan.few(JOBS, 1000), 0, "blank")


def _note_idle(measured: Measured, cluster: Cluster, count: int, plan: Plan) -> None:
    """The part of a core that the coordinator uses while nothing is to be done."""
    time.sleep(1)  # all have joined; what that has left to do is done
    gauges.pause(cluster.gauges)
    process, seconds = (
        psutil.Process(cluster.pids["coordinator"]),
        1.0 if plan.quick else IDLE_SECONDS,
    )
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    used = (after.user + after.system - before.user - before.system) / seconds
    measured.add("idle", f"{count:,} workers", "% of a core", [used * 100])


@contextmanager
def simulated(cluster: Cluster, count: int, *words: object) -> Iterator[subprocess.Popen[bytes]]:
    """So many workers of a coordinator, in a process that ends with the block."""
    command = fresh.command("programs.simulated", cluster.address, count, *words)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line or json.loads(line) != {"joined": count}:
            raise fresh.Failed(f"{count} simulated workers did not join")
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


if __name__ == "__main__":
    main(measure, __doc__)
