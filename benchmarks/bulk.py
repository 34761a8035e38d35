"""No-op jobs: a second in bulk, one at a time, and the CPU that each process uses for one.

"Bulk" is N ``submit`` calls without waiting in between; "one at a time" waits for each. Everything
runs on this machine as processes of its own: a client, a coordinator, an agent, its children. Each
way is measured in a fresh client, in turns with the others. Over the UNIX socket and over TLS,
both hops are of that kind; "every job on disk" is over UNIX sockets, with the SQLite store.
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
from .kit.spread import percentile, together
from .ways import DURABLE, EXECUTOR, RELAY, TLS, UNIX

Way = Callable[[], dict[str, Any]]

JOBS = 30_000
SINGLES = 500


def measure(plan: Plan) -> Measured:
    measured = Measured("bulk", "No-op jobs in bulk, and one at a time")
    jobs, singles = plan.few(JOBS, 1000), plan.few(SINGLES, 20)
    with ExitStack() as stack:
        here = stack.enter_context(Cluster(plan))
        encrypted = stack.enter_context(Cluster(plan, tls=True))
        durable = stack.enter_context(Cluster(plan, durable=True))

        def ours(cluster: Cluster) -> Way:
            told = gauges.told(cluster.gauges)
            return lambda: fresh.run("programs.client", cluster.address, told, jobs, singles)

        ways: dict[str, Way] = {
            RELAY: lambda: fresh.run("programs.relay", "client", plan.slots, jobs, singles),
            UNIX: ours(here),
            TLS: ours(encrypted),
            DURABLE: ours(durable),
            EXECUTOR: lambda: fresh.run("programs.executor", plan.slots, jobs // 3, singles),
        }
        found = in_turns(ways, plan.times)
    _note(measured, found)
    return measured


def in_turns(ways: dict[str, Way], times: int) -> dict[str, list[dict[str, Any]]]:
    """Every way once, then every way again."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for _ in range(times):
        for name, way in ways.items():
            found[name].append(way())
            say(f"{name:32}{found[name][-1]['rate']:12,.0f} jobs/s")
    return found


def _note(measured: Measured, found: dict[str, list[dict[str, Any]]]) -> None:
    for way, runs in found.items():
        measured.add("bulk", way, "jobs/s", [run["rate"] for run in runs], "more")
    for way, runs in found.items():
        singles = [percentile(run["singles"], 0.5) for run in runs]
        measured.add("one at a time, p50", way, "s", singles)
    for way, runs in found.items():
        rates = [len(run["singles"]) / sum(run["singles"]) for run in runs]
        measured.add("one at a time", way, "jobs/s", rates, "more")
    for way in (UNIX, TLS, DURABLE):
        _note_processes(measured, way, found[way])


def _note_processes(measured: Measured, way: str, runs: list[dict[str, Any]]) -> None:
    """CPU and lag of each process of ours."""
    for process in runs[0]["cpu"]:
        used = [run["cpu"][process] for run in runs]
        measured.add(f"CPU a job, {way}", process, "s", used)
    for process in runs[0]["lag"]:
        lag = together(run["lag"][process] for run in runs)
        measured.curve("lag", f"{process}, bulk, {way}", ("lag, s", "ticks"), lag)


if __name__ == "__main__":
    main(measure, __doc__)
