"""Large values, and C code that gives up the interpreter's lock: where others win.

An array goes to a process and back; an array is read by several jobs, in the way that a peer has
for it; digests are made by C code that lets other threads run, each of a piece of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .kit import fresh
from .kit.cluster import Cluster
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main, say
from .kit.rivals import rivals, try_to
from .kit.tables import amount
from .peers.peer import PIECE, READERS
from .transfer import BOTH_WAYS, array_size
from .ways import UNIX

READ = f"an array read by {READERS} jobs"
DIGESTS = "SHA-256 of many pieces"
SHARED = 1 << 28
ROUNDS = 2

Run = Callable[[str, int], dict[str, Any] | None]


def measure(plan: Plan) -> Measured:
    measured = Measured("peers_values", "Large values and C code, and the peers")
    array, shared = array_size(measured, plan), plan.few(SHARED, 1 << 24)
    measured.notes.append(
        f"The array that is read by {READERS} jobs has {amount(shared, 'B')}; a piece that is "
        f"digested, {amount(PIECE, 'B')}."
    )
    measured.base = dict.fromkeys((BOTH_WAYS, READ, DIGESTS), UNIX)
    ways: dict[str, Run] = {UNIX: _ours(plan)}
    for rival in rivals(measured):
        ways[rival.way] = partial(try_to, measured, rival, plan)
    for way, run in ways.items():
        times = min(plan.times, ROUNDS)
        arrays, others = (
            _answers(run, "array", array, times),
            _answers(run, "shared", shared, times),
        )
        measured.add(BOTH_WAYS, way, "s", [found["seconds"] for found in arrays])
        reads = [found["seconds"] for found in others if "seconds" in found]
        measured.add(READ, way, "s", reads)
        digests = [found["digests"] for found in others if "digests" in found]
        measured.add(DIGESTS, way, "B/s", digests, "more")
        say(f"{way}: {', '.join(amount(found['seconds'], 's') for found in arrays)}")
    return measured


def _answers(run: Run, what: str, size: int, times: int) -> list[dict[str, Any]]:
    """Who cannot do it once is not asked again."""
    found: list[dict[str, Any]] = []
    while len(found) < times and (answer := run(what, size)):
        found.append(answer)
    return found


def _ours(plan: Plan) -> Callable[[str, int], dict[str, Any]]:
    def run(what: str, size: int) -> dict[str, Any]:
        with Cluster(plan) as cluster:  # a fresh one: it keeps values for a while
            return fresh.run("programs.arrays", cluster.address, what, size)

    return run


if __name__ == "__main__":
    main(measure, __doc__)
