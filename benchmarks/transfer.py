"""Values from 1 kB to 1 GiB to a child and back, and what that takes of the coordinator's memory.

``take`` sends bytes and returns their number, ``give`` returns so many bytes. The array goes both
ways in one job. Everything is on one machine here: client and coordinator, and coordinator and
agent, exchange it over a UNIX socket all the same, as two machines would over the network.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from typing import Any

from .kit import fresh, gauges
from .kit.cluster import Cluster
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main, say
from .kit.tables import amount
from .ways import UNIX

SIZES = (1_000, 32_000, 1_000_000, 32_000_000, 1 << 30)
BOTH_WAYS = "an array there and back"
ARRAY, LITTLE = 1 << 30, 1 << 28
ROUNDS = 2
ROOM = 6 << 30
"""Bytes of disk: the value stands in the client's, the coordinator's and the agent's folder."""


def measure(plan: Plan) -> Measured:
    measured = Measured("transfer", "Values to a child and back")
    measured.base = {"to a child": "", "back": ""}
    array = array_size(measured, plan)
    sizes = [size for size in SIZES if size <= array]
    with Cluster(plan) as cluster:
        found = _run(cluster, "sizes", *sizes)
    for way in ("to a child", "back"):
        _note_way(measured, way, found[way])
    for process, lag in found["lag"].items():
        measured.curve("lag", f"{process}, large values", ("lag, s", "ticks"), lag)
    arrays = []
    for _ in range(min(plan.times, ROUNDS)):
        with Cluster(plan) as cluster:  # a fresh one gives back the room that the last one took
            arrays.append(_run(cluster, "array", array))
    measured.add(BOTH_WAYS, UNIX, "s", [run["seconds"] for run in arrays])
    more = [run["more"] for run in arrays]
    measured.add("memory more than before", "coordinator, during the array", "B", more)
    return measured


def array_size(measured: Measured, plan: Plan) -> int:
    """As much as there is room for on the disk; it is noted."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    size = plan.few(ARRAY if free > ROOM else LITTLE, 1 << 24)
    why = "" if free > ROOM else f": less than {amount(ROOM, 'B')} of disk are free"
    measured.notes.append(f"The array that goes there and back has {amount(size, 'B')}{why}.")
    return size


def _run(cluster: Cluster, *words: object) -> dict[str, Any]:
    return fresh.run("programs.values", cluster.address, gauges.told(cluster.gauges), *words)


def _note_way(measured: Measured, way: str, found: list[tuple[int, list[float]]]) -> None:
    for size, seconds in found:
        rates = [size / taken for taken in seconds]
        measured.add(way, f"values of {amount(size, 'B')}", "B/s", rates, "more")
        say(f"{way:12}{amount(size, 'B'):>10}{amount(statistics.median(rates), 'B/s'):>14}")
    points = [(size, size / statistics.median(seconds)) for size, seconds in found]
    measured.curve("transfer", f"{UNIX}, {way}", ("value, B", "B/s"), points)


if __name__ == "__main__":
    main(measure, __doc__)
