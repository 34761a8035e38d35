"""``workers``: the list, ``workers drain`` and ``workers reload``."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import click

from .failures import Exit, say
from .rendering import byte_count, dumps, harmless, local_time, span
from .shared import Common, command
from .specs import DURATION
from .tables import Table

LOOK_SECONDS = 0.5
"""Between two looks at whether a worker has left."""


@command(
    name="workers",
    cls=click.Group,
    invoke_without_command=True,
    short_help="List the workers; drain one, reload their children.",
    examples=[
        "ampacity workers",
        "ampacity workers drain w2 --wait   before that machine is upgraded",
        "ampacity workers reload            after you have changed a module",
    ],
)
def workers_command(common: Common) -> int:
    """List the workers with their slots and load."""
    from .connecting import client

    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        context.obj = common
        return Exit.DONE

    async def main(reactor: Any, link: Any) -> int:
        return show_workers(await link.query("workers"), common.as_json)

    return client(common, main)


@command(
    name="reload",
    short_help="Replace their children.",
    examples=["ampacity workers reload            after you have changed a module"],
)
def reload_command(common: Common) -> int:
    """Replace all children: idle ones now, the others when their job has ended."""
    from .connecting import client

    async def main(reactor: Any, link: Any) -> int:
        count = await link.reload_workers()
        told = f"{count} worker{'' if count == 1 else 's'}: the children are being replaced"
        click.echo(dumps({"workers": count}) if common.as_json else told)
        return Exit.DONE

    return client(common, main)


@command(
    name="drain",
    short_help="Have workers finish what runs, and leave.",
    examples=[
        "ampacity workers drain w2",
        "ampacity workers drain --wait w2 w3      returns when they have left",
    ],
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--wait", is_flag=True, help="Wait until they have left.")
@click.option("--timeout", type=DURATION, help="With --wait, for this long: exit code 124.")
def drain_command(common: Common, names: Sequence[str], wait: bool, timeout: float | None) -> int:
    """Have workers finish what runs within their grace, give back the rest, and leave.

    What they give back runs elsewhere, and counts neither as a failure nor as a loss.
    """
    from .connecting import client

    async def main(reactor: Any, link: Any) -> int:
        from ..protocol.errors import NoSuchWorker

        for name in names:
            try:
                await link.drain_worker(name)
            except NoSuchWorker:
                raise NoSuchWorker(f"there is no worker {name!r:.80}") from None
            if not common.as_json:
                click.echo(f"{harmless(name)} finishes what runs, and leaves")
        left = await _left(reactor, link, names, timeout) if wait else []
        if common.as_json:
            for name in names:
                click.echo(dumps({"worker": name, "left": name in left if wait else None}))
        if wait and len(left) < len(names):
            say("not all of them have left in this time: " + ", ".join({*names} - {*left}))
            return Exit.WAIT_TIMED_OUT
        return Exit.DONE

    return client(common, main)


async def _left(
    reactor: Any, link: Any, names: Sequence[str], timeout: float | None
) -> Sequence[str]:
    """Those of the workers that have left, at the latest after ``timeout`` seconds."""
    from twisted.internet.task import deferLater

    until = None if timeout is None else reactor.seconds() + timeout
    while True:
        there = {worker["name"] for worker in await link.query("workers")}
        left = [name for name in names if name not in there]
        if len(left) == len(names) or (until is not None and reactor.seconds() > until):
            return left
        await deferLater(reactor, LOOK_SECONDS)


assert isinstance(workers_command, click.Group)
workers_command.add_command(drain_command)
workers_command.add_command(reload_command)


def show_workers(workers: Sequence[dict[str, Any]], as_json: bool) -> int:
    """Print the list."""
    from .records import worker_record

    if as_json:
        for worker in workers:
            click.echo(dumps(worker_record(worker)))
        return Exit.DONE
    table = Table(
        "WORKER", "STATE", ">SLOTS", ">RUNNING", ">HELD", ">DONE", ">FAILED", ">LOST",
        "PYTHON", ">CPU", ">MEMORY", ">LAG P99", "SINCE",
    )  # fmt: skip
    for worker in workers:
        table.add(*worker_row(worker))
    table.show(empty="no workers; ampacity join brings one")
    return Exit.DONE


def worker_row(worker: dict[str, Any]) -> list[str]:
    """One line of the table of workers."""
    load = worker.get("load")
    cpu = _number(load, "cpu")
    return [
        str(worker["name"]),
        str(worker["state"]),
        *(str(worker.get(key, "")) for key in ("slots", "running", "held")),
        *(str(worker.get(key, "")) for key in ("finished", "failed", "lost")),
        str(worker.get("python") or ""),
        "" if cpu is None else f"{cpu:.0f}%",
        byte_count(_number(load, "memory")),
        span(_number(load, "lag", "p99")),
        local_time(worker.get("since"), time.time()),
    ]


def _number(load: Any, *path: str) -> float | None:
    """A number somewhere in what a worker says of its load, which may be anything."""
    for key in path:
        load = load.get(key) if isinstance(load, dict) else None
    good = isinstance(load, int | float) and math.isfinite(load)
    return float(load) if good else None
