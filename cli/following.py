"""``result``, ``logs`` and ``wait``: what became of jobs that were submitted before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ..protocol.errors import NoSuchJob
from .failures import Exit, say
from .scopes import scoped
from .selectors import Selection, pages, parse_all
from .shared import Common, command
from .specs import DURATION

SLICE = 256
"""Jobs whose outcomes are asked for ahead of the one that is printed."""


def selectors(function: Any) -> Any:
    """Decorate a command with the selectors that it takes, and whose jobs they select."""
    return click.argument("selected", metavar="SEL...", nargs=-1)(scoped(function))


@command(
    name="result",
    selects=True,
    short_help="Print what jobs returned.",
    examples=[
        "ampacity result 17            waits for its end, if need be",
        "ampacity result g3            a line an item, as map prints them",
        "ampacity result --raw 17 > value.pickle",
    ],
)
@selectors
@click.option(
    "--raw", is_flag=True, help="Write the stored bytes: a pickle; msgpack of plain data."
)
def result_command(common: Common, selected: Sequence[str], raw: bool) -> int:
    """Print what jobs returned, as run and map print it; wait for those that go on.

    The values of several jobs are printed one a line, in order, failures on stderr. The exit
    code is 1 if one of them did not succeed.
    """
    from .connecting import client

    selections = parse_all(selected)

    async def main(reactor: Any, link: Any) -> int:
        if raw:
            return await _raw(reactor, link, selections)
        return await _results(reactor, link, selections, common.as_json)

    return client(common, main)


def is_lone(selections: Sequence[Selection]) -> bool:
    """Whether just one job is meant, and not a list that may have one entry."""
    return len(selections) == 1 and selections[0].what in ("id", "last")


async def _tickets(link: Any, selections: Sequence[Selection]) -> Any:
    """The selected jobs, each waited for a little ahead."""
    async for page in pages(link, selections):
        for start in range(0, len(page), SLICE):
            for ticket in [link.expect(job) for job in page[start : start + SLICE]]:
                yield ticket


async def _results(reactor: Any, link: Any, selections: Sequence[Selection], as_json: bool) -> int:
    from ..protocol.outcomes import Ending
    from .printing import print_item, print_outcome
    from .streams import Writer

    writer, lone, count, failed = Writer(reactor), is_lone(selections), 0, 0
    for selection in selections:
        async for ticket in _tickets(link, [selection]):
            delivery = await ticket.ended()
            fields = await _fields(link, delivery, selection, count, as_json)
            if lone:
                fields.pop("index")
                await print_outcome(writer, link, delivery, as_json, True, fields)
            else:
                await print_item(writer, link, delivery, as_json, fields)
            count += 1
            failed += delivery.ending is not Ending.SUCCEEDED
    await writer.flush()
    return _told(count, failed, lone, _again(selections))


async def _fields(
    link: Any, delivery: Any, selection: Selection, count: int, as_json: bool
) -> dict[str, Any]:
    """What a record begins with: the place in the group, or in the list, and the call."""
    from ..protocol.outcomes import Ending
    from .records import call_fields

    grouped = selection.what == "group"
    if not as_json and not (grouped and delivery.ending is not Ending.SUCCEEDED):
        return {"index": count}
    try:
        about = await link.query("job", job=delivery.job)
    except NoSuchJob:  # forgotten since
        return {"index": count}
    place = about["place"] if grouped else count
    return {"index": place, **(call_fields(about) if as_json else {})}


def _again(selections: Sequence[Selection]) -> str:
    """How to run again what did not succeed, and only that: an id means its job in any case."""
    if any(selection.what in ("id", "last") for selection in selections):
        return ""
    words = " ".join(selection.text for selection in selections)
    return f"; again: ampacity retry {words}"


def _told(count: int, failed: int, lone: bool, again: str = "") -> int:
    if count == 0:
        say("no job is selected")
        return Exit.NOT_FOUND
    if failed and not lone:
        say(f"{failed} of {count} jobs did not succeed{again}")
    return Exit.JOB_FAILED if failed else Exit.DONE


async def _raw(reactor: Any, link: Any, selections: Sequence[Selection]) -> int:
    from ..protocol.errors import ForeignResult
    from ..protocol.jobs import BlobRef
    from ..protocol.outcomes import Ending, unpack_outcome
    from .printing import tell_failure
    from .streams import Writer

    if not is_lone(selections):
        raise click.UsageError("--raw writes the bytes of one job: name one, by its id")
    async for ticket in _tickets(link, selections):
        delivery = await ticket.ended()
        outcome = unpack_outcome(delivery.body)
        if delivery.ending is not Ending.SUCCEEDED:
            tell_failure(delivery, outcome)
            return Exit.JOB_FAILED
        if outcome.withheld:
            raise ForeignResult(
                f"job {delivery.job} is another client's, and its pickle is not given away; "
                f"ampacity result {delivery.job} shows it"
            )
        if isinstance(outcome.value, BlobRef):
            await _copy(Writer(reactor), await link.blob(outcome.value))
        elif outcome.value is not None:
            await Writer(reactor).write(1, outcome.value)
        return Exit.DONE
    return _told(0, 0, True)


async def _copy(writer: Any, path: Any) -> None:
    with path.open("rb") as file:
        while data := file.read(1024 * 1024):
            await writer.write(1, data)


@command(
    name="wait",
    selects=True,
    short_help="Wait until jobs have ended.",
    examples=[
        "ampacity wait g3",
        "ampacity wait --timeout 2h 17 18 20-30",
        "ampacity wait --client Ab3dE all     all jobs of another client, as an operator",
    ],
)
@selectors
@click.option("--timeout", type=DURATION, help="Give up after this long: exit code 124.")
def wait_command(common: Common, selected: Sequence[str], timeout: float | None) -> int:
    """Wait until jobs have ended. Exits 0 if all succeeded, 1 if not, 124 after the time-out."""
    from .connecting import client

    selections = parse_all(selected)

    async def main(reactor: Any, link: Any) -> int:
        from twisted.internet.defer import Deferred
        from twisted.internet.defer import TimeoutError as TimedOut

        waiting = Deferred.fromCoroutine(_wait(link, selections, common.as_json))
        if timeout is not None:
            waiting.addTimeout(timeout, reactor)
        try:
            return await waiting
        except TimedOut:
            say("not all of them have ended in this time; they go on")
            return Exit.WAIT_TIMED_OUT

    return client(common, main)


async def _wait(link: Any, selections: Sequence[Selection], as_json: bool) -> int:
    from ..protocol.outcomes import Ending
    from .rendering import dumps

    count, failed = 0, []
    async for ticket in _tickets(link, selections):
        delivery = await ticket.ended()
        count += 1
        if delivery.ending is not Ending.SUCCEEDED:
            failed.append(delivery.job)
        if as_json:
            click.echo(dumps({"id": int(delivery.job), "outcome": delivery.ending.words}))
    if failed and not as_json:
        some = ", ".join(map(str, failed[:10])) + (", …" if len(failed) > 10 else "")
        say(f"{len(failed)} of {count} jobs did not succeed: {some}")
    return _told(count, len(failed), lone=True)


@command(
    name="logs",
    selects=True,
    short_help="Print what jobs printed.",
    examples=["ampacity logs 17", "ampacity logs -f last     goes on until its end"],
)
@selectors
@click.option("-f", "--follow", is_flag=True, help="Go on while they run.")
def logs_command(common: Common, selected: Sequence[str], follow: bool) -> int:
    """Print what jobs printed: their stdout on stdout, their stderr on stderr.

    Of each stream the first and the last 64 KiB are kept. With several jobs, a line names each.
    """
    from .connecting import client

    selections = parse_all(selected)

    async def main(reactor: Any, link: Any) -> int:
        from .streams import Writer

        logs = _Logs(link, Writer(reactor), common.as_json, not is_lone(selections))
        count = 0
        async for page in pages(link, selections):
            for job in page:
                await logs.show(job, follow)
                count += 1
        return _told(count, 0, True)

    return client(common, main)


class _Logs:
    """Prints one job's output after the other."""

    def __init__(self, link: Any, writer: Any, as_json: bool, headed: bool) -> None:
        self._link = link
        self._writer = writer
        self._as_json = as_json
        self._headed = headed

    async def show(self, job: Any, follow: bool) -> None:
        """Print a job's log, and with ``follow`` what comes until its end."""
        if self._headed and not self._as_json:
            await self._writer.line(f"==> job {job} <==")
        held: list[tuple[int, bytes]] | None = []

        def sink(stream: int, data: bytes) -> Any:
            from twisted.internet.defer import succeed

            if held is None:
                return self._write(job, stream, data)
            held.append((stream, data))
            return succeed(True)

        # an end that is asked for first cannot be missed
        ticket = self._link.expect(job) if follow else None
        try:
            log, live = await self._link.attach(job, sink if follow else None)
        except NoSuchJob:
            raise NoSuchJob(f"there is no job {job}, or it was forgotten") from None
        await self._write_log(job, log)
        kept, held = held or [], None
        for stream, data in kept:
            await self._write(job, stream, data)
        if ticket is not None and live:
            await ticket.ended()

    async def _write_log(self, job: Any, log: Any) -> None:
        from .printing import log_bytes

        for stream, kept in ((1, log.stdout), (2, log.stderr)):
            if data := log_bytes(kept):
                await self._write(job, stream, data)

    def _write(self, job: Any, stream: int, data: bytes) -> Any:
        if not self._as_json:
            return self._writer.write(stream, data)
        from .rendering import dumps

        name = "stdout" if stream == 1 else "stderr"
        text = data.decode("utf-8", "replace")
        line = dumps({"id": int(job), "stream": name, "text": text})
        return self._writer.write(1, line.encode() + b"\n")
