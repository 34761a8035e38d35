"""From ``submit`` to the result: p50, p99 and p99.9, idle and at half load.

Idle is one job at a time, with a pause after each. At half load, jobs are submitted at half of the
rate that the same client has just reached in bulk, each at its own intended moment, whether others
have ended or not; its time counts from that moment, so that what waits because something else was
late is not left out.

The client does what a program does for which milliseconds count: it keeps the garbage collector
from what is there before it begins (``gc.freeze``). Otherwise this looks at all of it once in such
a run, for 30 to 70 ms, and a hundredth of the jobs would tell of that and of nothing else.
"""

from __future__ import annotations

from typing import Any

from .kit import fresh, gauges
from .kit.cluster import Cluster
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main, say
from .kit.spread import percentile, quantiles, together
from .ways import DURABLE, RELAY, UNIX

SINGLES = 1500
SECONDS = 4.0
ROUNDS = 3
PARTS = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}

WORSE = "p99 at half load, to the idle p50, by rounds"

Runs = list[dict[str, Any]]


def measure(plan: Plan) -> Measured:
    measured = Measured("latency", "Latency, idle and at half load")
    singles, seconds = plan.few(SINGLES, 50), 0.5 if plan.quick else SECONDS
    times = min(plan.times, ROUNDS)
    relay = [
        fresh.run("programs.relay", "paced", plan.slots, singles, seconds) for _ in range(times)
    ]
    _note_all(measured, RELAY, relay)
    for way, durable in ((UNIX, False), (DURABLE, True)):
        with Cluster(plan, durable=durable) as cluster:
            runs = [_run(cluster, singles, seconds) for _ in range(times)]
        say(f"{way}: half load is {runs[-1]['load']:,.0f} jobs/s")
        _note_all(measured, way, runs)
        for process in runs[0]["lag"]:
            lag = together(run["lag"][process] for run in runs)
            measured.curve("lag", f"{process}, half load, {way}", ("lag, s", "ticks"), lag)
    return measured


def _run(cluster: Cluster, singles: int, seconds: float) -> dict[str, Any]:
    told = gauges.told(cluster.gauges)
    return fresh.run("programs.paced", cluster.address, told, singles, seconds)


def _note_all(measured: Measured, way: str, runs: Runs) -> None:
    """Idle and at half load, and what becomes of the one in the other, round by round."""
    _note(measured, "idle", way, [run["idle"] for run in runs])
    _note(measured, "half load", way, [run["half"] for run in runs])
    pairs = [(percentile(run["half"], 0.99), percentile(run["idle"], 0.5)) for run in runs]
    measured.add(WORSE, way, "×", [half / idle for half, idle in pairs])
    measured.add("half load", way, "jobs/s", [run["load"] for run in runs], "more")


def _note(measured: Measured, load: str, way: str, samples: list[list[float]]) -> None:
    for name, part in PARTS.items():
        found = [percentile(run, part) for run in samples]
        measured.add(f"{load}, {name}", way, "s", found)
    every = [seconds for run in samples for seconds in run]
    axes = ("part of all jobs", "latency, s")
    measured.curve("latency", f"{way}, {load}", axes, quantiles(every))


if __name__ == "__main__":
    main(measure, __doc__)
