"""What is to be reached: each target is a ratio or a bound within one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import attrs

from ..ways import AS_DOCUMENTED, CELERY, DASK, DURABLE, EXECUTOR, RAY, RELAY, TLS, TUNED, UNIX
from .results import Results
from .tables import amount, columns, markdown

HEAD = ("what", "to reach", "measured", "reached")

Find = Callable[[Results], float | None]


@attrs.frozen
class Target:
    """``find`` tells what a run found, or None where it did not measure that."""

    what: str
    sign: Literal["≥", "≤"]
    bound: float
    unit: str
    find: Find


@attrs.frozen
class Judged:
    target: Target
    value: float | None

    @property
    def reached(self) -> str:
        if self.value is None:
            return "not measured"
        over = self.value >= self.target.bound
        return "yes" if over == (self.target.sign == "≥") or self._equal else "no"

    @property
    def _equal(self) -> bool:
        return self.value == self.target.bound

    def row(self) -> tuple[str, str, str, str]:
        target = self.target
        asked = f"{target.sign} {_told(target.bound, target.unit)}"
        found = "" if self.value is None else _told(self.value, target.unit)
        return target.what, asked, found, self.reached


def _told(value: float, unit: str) -> str:
    """A ratio with a × after it; everything else as in the tables."""
    return f"{value:.2f} ×" if unit == "×" else amount(value, unit)


def ratio(name: str, over: tuple[str, str], under: tuple[str, str]) -> Find:
    """Of two medians of one measurement, each by its quantity and way."""

    def find(run: Results) -> float | None:
        above, below = run.figure(name, *over), run.figure(name, *under)
        if above is None or below is None or not below.median:
            return None
        return above.median / below.median

    return find


def over_best(name: str, quantity: str, way: str, peer: str) -> Find:
    """The ratio to the best of the two ways in which a peer is started."""

    def find(run: Results) -> float | None:
        ours = run.figure(name, quantity, way)
        ways = (f"{peer}, {mode}" for mode in (AS_DOCUMENTED, TUNED))
        others = [figure for way in ways if (figure := run.figure(name, quantity, way))]
        if ours is None or not others:
            return None
        medians = [figure.median for figure in others]
        return ours.median / (max(medians) if ours.better == "more" else min(medians))

    return find


def value(name: str, quantity: str, way: str) -> Find:
    """A median by itself."""

    def find(run: Results) -> float | None:
        figure = run.figure(name, quantity, way)
        return None if figure is None else figure.median

    return find


def _durable_single(run: Results) -> float | None:
    """The latency of a durable job, over the relay's with three one-row commits."""
    ours, relay = (run.figure("bulk", SINGLE, way) for way in (DURABLE, RELAY))
    commit = run.figure("floors", "one-row commit", "SQLite, WAL, FULL")
    if ours is None or relay is None or commit is None:
        return None
    return ours.median / (relay.median + 3 * commit.median)


SINGLE = "one at a time, p50"
ARRAY = "an array there and back"
CPU = f"CPU a job, {UNIX}"
_ALL = "all of it"

TARGETS: Sequence[Target] = (
    Target(
        "bulk, to the bare relay", "≥", 0.6, "×", ratio("bulk", ("bulk", UNIX), ("bulk", RELAY))
    ),
    Target("bulk, to Ray", "≥", 10, "×", over_best("peers_bulk", "bulk", UNIX, RAY)),
    Target("bulk, to Dask", "≥", 30, "×", over_best("peers_bulk", "bulk", UNIX, DASK)),
    Target(
        "bulk, to ProcessPoolExecutor.submit",
        "≥",
        2,
        "×",
        ratio("bulk", ("bulk", UNIX), ("bulk", EXECUTOR)),
    ),
    Target(
        "bulk with every job on disk, to that in memory",
        "≥",
        0.5,
        "×",
        ratio("bulk", ("bulk", DURABLE), ("bulk", UNIX)),
    ),
    Target(
        "one at a time, p50, to the bare relay's",
        "≤",
        1.5,
        "×",
        ratio("bulk", (SINGLE, UNIX), (SINGLE, RELAY)),
    ),
    Target("one at a time, p50, to Ray's", "≤", 1, "×", over_best("peers_bulk", SINGLE, UNIX, RAY)),
    Target(
        "one at a time, p50, to Celery's",
        "≤",
        1,
        "×",
        over_best("peers_bulk", SINGLE, UNIX, CELERY),
    ),
    Target(
        "one at a time on disk, p50, to the relay's and 3 one-row commits",
        "≤",
        1,
        "×",
        _durable_single,
    ),
    Target(
        "p99 at half load, to the idle p50",
        "≤",
        5,
        "×",
        ratio("latency", ("half load, p99", UNIX), ("idle, p50", UNIX)),
    ),
    Target("METG(50%), to Dask's", "≤", 0.1, "×", over_best("peers_metg", "METG(50%)", UNIX, DASK)),
    Target("the coordinator's CPU a job", "≤", 30e-6, "s", value("bulk", CPU, "coordinator")),
    *(
        Target(f"loop lag of the {who}, {what}", "≤", bound, "s", value("million", key, _ALL))
        for who in ("coordinator", "agent")
        for what, bound in (("p99", 0.01), ("longest", 0.05))
        for key in (f"loop lag of the {who}, {what}",)
    ),
    Target(
        "memory a queued job, besides its payload",
        "≤",
        400,
        "B",
        value("million", "memory a queued job", "besides its payload"),
    ),
    Target(
        "throughput with 1,000 workers, to that with 10",
        "≥",
        0.8,
        "×",
        ratio("workers", ("throughput", "1,000 workers"), ("throughput", "10 workers")),
    ),
    Target(
        "a core, with 1,000 idle workers", "≤", 2, "%", value("workers", "idle", "1,000 workers")
    ),
    Target(
        "an array of 1 GiB there and back, to Dask",
        "≤",
        1,
        "×",
        over_best("peers_values", ARRAY, UNIX, DASK),
    ),
    Target(
        "the coordinator's memory meanwhile",
        "≤",
        64 << 20,
        "B",
        value("transfer", "memory more than before", "coordinator, during the array"),
    ),
    Target(
        "bulk over TLS, to UNIX sockets",
        "≥",
        0.7,
        "×",
        ratio("bulk", ("bulk", TLS), ("bulk", UNIX)),
    ),
)


def judged(runs: Iterable[Results]) -> list[Judged]:
    """Every target by the first run that measured it."""
    every = list(runs)
    found = []
    for target in TARGETS:
        values = (target.find(run) for run in every)
        found.append(Judged(target, next((v for v in values if v is not None), None)))
    return found


def targets_text(found: Sequence[Judged]) -> str:
    return columns([HEAD, *(judgement.row() for judgement in found)])


def targets_markdown(found: Sequence[Judged]) -> str:
    return markdown(HEAD, [judgement.row() for judgement in found])
