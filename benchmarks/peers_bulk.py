"""The peers and ampacity: no-op jobs in bulk, by map, and one at a time, in one run.

Each is started in a fresh process, as its documentation starts it and tuned, alone on the machine,
with the same number of processes that run jobs; all of them in turns. "Bulk" is a submission a job
without waiting in between; "by map" is what a system has for many jobs at once. The two are never
set against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from .kit import fresh, gauges
from .kit.cluster import Cluster
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main, say
from .kit.rivals import Rival, rivals, try_to
from .kit.spread import percentile
from .ways import RELAY, UNIX

JOBS = 30_000
SINGLES = 300
Way = Callable[[], dict[str, Any] | None]


def measure(plan: Plan) -> Measured:
    measured = Measured("peers_bulk", "No-op jobs, and the peers")
    jobs, singles = plan.few(JOBS, 1000), plan.few(SINGLES, 20)
    ways: dict[str, Way] = {
        RELAY: lambda: fresh.run("programs.relay", "client", plan.slots, jobs, singles)
    }
    found: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(plan))
        told = gauges.told(cluster.gauges)
        ways[UNIX] = lambda: {
            **fresh.run("programs.client", cluster.address, told, jobs, singles),
            **fresh.run("programs.mapped", cluster.address, jobs),
        }
        for rival in rivals(measured):
            ways[rival.way] = _asked(measured, rival, plan, singles)
        for _ in range(plan.times):
            for way, run in list(ways.items()):
                if (answer := run()) is None:
                    del ways[way]  # it would only take its time again
                    continue
                found.setdefault(way, []).append(answer)
                say(f"{way:32}{answer['rate']:12,.0f} jobs/s")
    _note(measured, found)
    return measured


def _asked(measured: Measured, rival: Rival, plan: Plan, singles: int) -> Way:
    measured.notes.append(f"{rival.way}: {rival.meaning}.")
    return lambda: try_to(measured, rival, plan, "rates", singles)


def _note(measured: Measured, found: dict[str, list[dict[str, Any]]]) -> None:
    measured.base = dict.fromkeys(("bulk", "by map", "one at a time, p50"), UNIX)
    for way, runs in found.items():
        measured.add("bulk", way, "jobs/s", [run["rate"] for run in runs], "more")
    for way, runs in found.items():
        mapped = [run["mapped"] for run in runs if "mapped" in run]
        measured.add("by map", way, "jobs/s", mapped, "more")
    for way, runs in found.items():
        singles = [percentile(run["singles"], 0.5) for run in runs]
        measured.add("one at a time, p50", way, "s", singles)


if __name__ == "__main__":
    main(measure, __doc__)
