"""``top``: a live view of a coordinator."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from .failures import Exit
from .rendering import byte_count, dumps, harmless, local_time, rfc3339, span
from .scopes import EVERYONE
from .shared import Common, command, on_terminal
from .specs import DURATION

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_FIXED = 14
"""Lines of the picture that are no workers and no jobs."""

WIDE = 90
"""Columns from which on all is shown; on narrower terminals, the columns that matter most."""

RUNNING = 500
"""Running jobs that are asked for; as many are shown as fit."""


@command(
    name="top",
    short_help="Watch workers, queue and running jobs.",
    examples=["ampacity top", "ampacity top --once        one picture", "ampacity top --json"],
)
@click.option("--once", is_flag=True, help="Print one picture and leave.")
@click.option("--interval", type=DURATION, default=1.0, help="Between two pictures; default: 1 s.")
def top_command(common: Common, once: bool, interval: float) -> int:
    """Watch workers, slots, queue, rates, running jobs and the loop's lag. Ctrl-C leaves.

    Operators and viewers see every client's jobs, clients their own.
    """
    from .connecting import client

    async def main(reactor: Any, link: Any) -> int:
        if common.as_json:
            return await _stream(reactor, link, once, interval)
        if once:
            console = _console()
            console.print(picture(await snapshot(link), time.time(), width=console.width))
            return Exit.DONE
        return await _live(reactor, link, interval)

    return client(common, main)


async def snapshot(link: Any) -> dict[str, Any]:
    """What there is to see now: ``status``, ``workers``, ``running``."""
    return {
        "status": await link.query("status"),
        "workers": await link.query("workers"),
        "running": await _running(link),
    }


async def _running(link: Any) -> list[dict[str, Any]]:
    """Everyone's jobs that run; those of a client, where it may see no others."""
    from ..protocol.errors import NotAllowed

    asked = {"after": None, "limit": RUNNING, "name": None, "group": None, "newest": False}
    try:
        answer = await link.query("jobs", state="running", client=EVERYONE, **asked)
    except NotAllowed:
        answer = await link.query("jobs", state="running", **asked)
    jobs: list[dict[str, Any]] = answer["jobs"]
    return jobs


async def _stream(reactor: Any, link: Any, once: bool, interval: float) -> int:
    from twisted.internet.task import deferLater

    while True:
        click.echo(dumps(record(await snapshot(link), time.time())))
        if once:
            return Exit.DONE
        await deferLater(reactor, interval)


def record(seen: dict[str, Any], now: float) -> dict[str, Any]:
    """A picture as JSON."""
    from .records import job_record, status_record, worker_record

    return {
        "time": rfc3339(now),
        "status": status_record(seen["status"]),
        "workers": [worker_record(worker) for worker in seen["workers"]],
        "running": [job_record(job) for job in seen["running"]],
    }


async def _live(reactor: Any, link: Any, interval: float) -> int:
    from rich.live import Live
    from twisted.internet.task import deferLater

    console = _console()
    first = picture(await snapshot(link), time.time(), console.height, console.width)
    with Live(first, console=console, auto_refresh=False, screen=on_terminal(1)) as live:
        while True:
            await deferLater(reactor, interval)
            seen = await snapshot(link)
            now = time.time()
            live.update(picture(seen, now, console.height, console.width), refresh=True)


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, width=None if on_terminal(1) else 110)


def picture(
    seen: dict[str, Any], now: float, height: int | None = None, width: int = WIDE
) -> RenderableType:
    """The view, for rich; ``height`` is the number of lines that it may have."""
    from rich.console import Group
    from rich.text import Text

    wide = width >= WIDE
    fixed = _FIXED if wide else _FIXED + 5
    most = None if height is None else max(3, (height - fixed) // 2)
    workers = _workers(seen["workers"], most, wide)
    left = None if height is None else max(3, height - fixed - workers.row_count)
    jobs = _jobs(seen["running"], now, left, wide)
    return Group(_head(seen["status"], now, wide), Text(""), workers, Text(""), jobs)


def _head(status: dict[str, Any], now: float, wide: bool) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = _facts(status, now)
    across = 4 if wide else 2
    grid = Table.grid(padding=(0, 3))
    for start in range(0, len(facts), across):
        grid.add_row(*facts[start : start + across])
    title = f"ampacity {harmless(str(status['software']))}"
    where = ", ".join(harmless(place) for place in status["listening"])
    line = Text(f"{title}   {where}   {local_time(now)}", style="bold", no_wrap=True)
    line.overflow = "ellipsis"
    return Group(line, Text(""), grid)


def _facts(status: dict[str, Any], now: float) -> list[Any]:
    ended = status.get("ended") or {}
    failed = sum(count for words, count in ended.items() if words != "succeeded")
    lag = status.get("lag") or {}
    slots, busy = status["slots"], status["busy"]
    return [
        _fact("slots", f"{busy}/{slots} {_gauge(busy, slots)}"),
        _fact("workers", status["workers"]),
        _fact("rate", f"{status['rate']:.1f} jobs/s"),
        _fact("loop lag p99", span(lag.get("p99"))),
        _fact("queued", status["queued"] + status.get("sent", 0) + status.get("delayed", 0)),
        _fact("running", status["running"]),
        _fact("done", ended.get("succeeded", 0)),
        _fact("failed", failed, "red" if failed else ""),
        _fact("up", span(now - status["started"])),
        _fact("memory", byte_count(status.get("memory"))),
        _fact("cpu time", span(status.get("cpu"))),
        _fact("lag max", span(lag.get("max"))),
    ]


def _fact(name: str, value: Any, style: str = "") -> Any:
    from rich.text import Text

    return Text.assemble((f"{name} ", "dim"), (str(value), style or "bold"))


def _gauge(part: int, whole: int, width: int = 10) -> str:
    full = round(width * part / whole) if whole else 0
    return "█" * min(full, width) + "░" * max(width - full, 0)


def _table(*headings: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(
            heading.lstrip(">"), justify="right" if right else "left", no_wrap=True,
            overflow="ellipsis",
        )  # fmt: skip
    return table


_WORKERS = (
    "WORKER", "STATE", ">SLOTS", ">RUN", ">HELD", ">DONE", ">FAIL", ">LOST",
    "PYTHON", ">CPU", ">MEMORY", ">LAG P99",
)  # fmt: skip
_NARROW_WORKERS = (0, 2, 3, 6, 9)
_NARROW_JOBS = (0, 1, 3)


def _workers(workers: list[dict[str, Any]], most: int | None, wide: bool) -> Table:
    from rich.text import Text

    from .workers import worker_row

    chosen = range(len(_WORKERS)) if wide else _NARROW_WORKERS
    table = _table(*(_WORKERS[k] for k in (chosen if workers else chosen[:1])))
    for worker in workers[:most]:
        style = "" if worker["state"] == "connected" else "yellow"
        cells = worker_row(worker)
        table.add_row(*(Text(harmless(cells[k])) for k in chosen), style=style)
    if most is not None and len(workers) > most:
        table.add_row(Text(f"and {len(workers) - most} more", style="dim"))
    if not workers:
        table.add_row(Text("none; ampacity join brings one", style="dim"))
    return table


def _jobs(jobs: list[dict[str, Any]], now: float, most: int | None, wide: bool) -> Table:
    from rich.text import Text

    headings = (">JOB", "WHAT", "WORKER", ">RUNS FOR", ">ATTEMPT", "CLIENT")
    several = len({job.get("client") for job in jobs}) > 1
    chosen = range(len(headings) if several else len(headings) - 1) if wide else _NARROW_JOBS
    table = _table(*(headings[k] for k in chosen))
    shown = jobs[:most]
    for job in shown:
        cells = _job_cells(job, now)
        table.add_row(*(Text(cells[k]) for k in chosen))
    if len(jobs) > len(shown):
        table.add_row("", Text(f"and {len(jobs) - len(shown)} more", style="dim"))
    if not jobs:
        table.add_row("", Text("nothing runs", style="dim"))
    return table


def _job_cells(job: dict[str, Any], now: float) -> list[str]:
    what = harmless(str(job.get("name") or job.get("target") or ""))
    began = job.get("began")
    return [
        str(job["id"]),
        what if len(what) <= 50 else what[:49] + "…",
        harmless(str(job.get("worker") or "")),
        span(None if began is None else max(0.0, now - began)),
        str(job.get("attempts") or ""),
        harmless(str(job.get("client") or "")),
    ]
