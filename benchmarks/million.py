"""A million jobs: what each takes of memory, and how late the loops are meanwhile.

All cores are busy: the agent's slots run long jobs of another client. Then a million jobs are
submitted that no worker may take, listed, and cancelled; then 200 workers with work in hand vanish
at once. The lag of coordinator and agent is measured in each part by itself, with a tick of 5 ms.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .kit import fresh, gauges
from .kit.cluster import Cluster
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main
from .kit.spread import bound, together
from .workers import simulated

JOBS = 1_000_000
WORKERS = 200
TOGETHER = "all of it"
PROCESSES = ("coordinator", "agent")
LAGS = ("p99", "longest")


def measure(plan: Plan) -> Measured:
    measured = Measured("million", "A million jobs, and 200 workers that vanish")
    parts = ("time", *(f"loop lag of the {who}, {what}" for who in PROCESSES for what in LAGS))
    measured.base = dict.fromkeys(("memory a queued job", *parts), "")
    with Cluster(plan) as cluster, _busy(cluster, plan):
        found = _run(cluster, "million", plan.few(JOBS, 20_000))
        with simulated(cluster, plan.few(WORKERS, 20), "busy") as workers:
            filled = _run(cluster, "vanishing", plan.few(WORKERS, 20), workers.pid)
    _note_memory(measured, found["memory"])
    seconds = found["seconds"] | filled["seconds"]
    for part, spent in seconds.items():
        measured.add("time", part, "s", [spent])
    _note_lag(measured, {**found["parts"], **filled["parts"]})
    return measured


def _run(cluster: Cluster, program: str, *words: object) -> dict[str, Any]:
    told = gauges.told(cluster.gauges)
    return fresh.run(f"programs.{program}", cluster.address, told, *words, seconds=600)


@contextmanager
def _busy(cluster: Cluster, plan: Plan) -> Iterator[None]:
    """Every slot has work, as long as the block lasts."""
    command = fresh.command("programs.busy", cluster.address, 2 * plan.slots)
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _note_memory(measured: Measured, memory: dict[str, Any]) -> None:
    """``points``: jobs queued and resident bytes; ``payload``: bytes of each job's own."""
    points, payload = memory["points"], memory["payload"]
    measured.curve("memory", "coordinator", ("jobs queued", "resident, B"), points)
    (few, before), (many, after) = points[0], points[-1]
    each = (after - before) / (many - few)
    measured.add("memory a queued job", "all of it", "B", [each])
    measured.add("memory a queued job", "besides its payload", "B", [each - payload])


def _note_lag(measured: Measured, parts: dict[str, Any]) -> None:
    for process in PROCESSES:
        every = []
        for part, readings in parts.items():
            lag, longest = readings[process]["lag"], readings[process]["longest"]
            every.append((lag, longest))
            _note(measured, process, part, lag, longest)
            measured.curve("lag", f"{process}, {part}", ("lag, s", "ticks"), lag)
        whole = together(lag for lag, _ in every)
        _note(measured, process, TOGETHER, whole, max(longest for _, longest in every))


def _note(measured: Measured, process: str, part: str, lag: Any, longest: float) -> None:
    measured.add(f"loop lag of the {process}, p99", part, "s", [min(bound(lag, 0.99), longest)])
    measured.add(f"loop lag of the {process}, longest", part, "s", [longest])


if __name__ == "__main__":
    main(measure, __doc__)
