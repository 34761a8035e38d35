"""``cancel`` and ``retry``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import click

from .failures import Exit, ending_text, say
from .following import selectors
from .rendering import dumps
from .selectors import Selection, pages, parse_all
from .shared import Common, command

PATIENCE = 30.0
"""Seconds to wait for running jobs to end; their graces are shorter than that together."""

PAGE = 500
_NOT_SUCCEEDED = ("failed", "timed out", "cancelled", "crashed")
_UNDER_WAY = ("sent", "running")


@command(
    name="cancel",
    selects=True,
    short_help="End jobs, also running ones.",
    examples=[
        "ampacity cancel 17",
        "ampacity cancel g3",
        "ampacity cancel --queued all",
        "ampacity cancel --everyone all    every client's jobs, as an operator",
    ],
)
@selectors
@click.option("--queued", is_flag=True, help="Only what has not begun.")
def cancel_command(common: Common, selected: Sequence[str], queued: bool) -> int:
    """End jobs and say for each what happened.

    A queued job ends at once. A running one gets SIGINT, SIGTERM and SIGKILL, with everything
    that it has started; the line tells which was needed.
    """
    from .connecting import client

    selections = parse_all(selected)

    async def main(reactor: Any, link: Any) -> int:
        count = missing = 0
        async for page in pages(link, selections):
            for start in range(0, len(page), PAGE):
                part = page[start : start + PAGE]
                count += len(part)
                missing += await _cancel(reactor, link, part, queued, common.as_json)
        if count == 0:
            say("no job is selected")
        return Exit.NOT_FOUND if count == missing else Exit.DONE

    return client(common, main)


async def _cancel(
    reactor: Any, link: Any, jobs: Sequence[Any], queued_only: bool, as_json: bool
) -> int:
    """Cancel and tell; how many are not known."""
    states = await link.cancel(jobs, queued_only)
    under_way = [job for job in jobs if states.get(job) in _UNDER_WAY and not queued_only]
    tickets = {job: link.expect(job) for job in under_way}
    for job in jobs:
        record = await _ended(reactor, job, states.get(job, "unknown"), tickets.get(job))
        click.echo(dumps(record) if as_json else f"job {job}: {_told(record, queued_only)}")
    return sum(states.get(job, "unknown") == "unknown" for job in jobs)


async def _ended(reactor: Any, job: Any, state: str, ticket: Any) -> dict[str, Any]:
    from twisted.internet.defer import Deferred
    from twisted.internet.defer import TimeoutError as TimedOut

    from ..protocol.outcomes import unpack_outcome
    from .records import outcome_fields

    record: dict[str, Any] = {"id": int(job), "was": state}
    if ticket is None:
        return record
    try:
        delivery = await Deferred.fromCoroutine(ticket.ended()).addTimeout(PATIENCE, reactor)
    except TimedOut:
        return record
    outcome = unpack_outcome(delivery.body)
    text = ending_text(delivery.ending, outcome)
    return {**record, **outcome_fields(delivery.ending, outcome), "text": text}


def _told(record: dict[str, Any], queued_only: bool) -> str:
    state = record["was"]
    if state == "unknown":
        return "there is no such job, or it was forgotten"
    if state == "delayed":
        return "cancelled; it was waiting for its next attempt"
    if state == "queued" or (state == "sent" and "evidence" not in record and "text" in record):
        return "cancelled; it had not begun"
    if state not in _UNDER_WAY:
        return f"had ended before: {state}"
    if "text" in record:
        return str(record["text"])
    return "goes on: it has begun" if queued_only else "is being ended"


@command(
    name="retry",
    selects=True,
    short_help="Run ended jobs again.",
    examples=[
        "ampacity retry 17",
        "ampacity retry g3       those that did not succeed",
        "ampacity retry --client Ab3dE failed     another client's, as an operator",
    ],
)
@selectors
def retry_command(common: Common, selected: Sequence[str]) -> int:
    """Run ended jobs again, each as a new job.

    A job that is named by its id is run again however it ended; of a group, a range, failed and
    all, those that did not succeed are. The new job has the old one's place in its group, where
    result and wait find it. A job that was run again already is left out: its new job is meant.
    """
    from .connecting import client

    selections = parse_all(selected)

    async def main(reactor: Any, link: Any) -> int:
        count, answer = 0, None
        for selection in selections:
            async for page in _to_retry(link, selection):
                again, refused = await _retry(link, page, common.as_json)
                count += again
                answer = refused or answer
        if count == 0 and answer is None:
            say("no job was run again: none of them has ended other than well")
            answer = Exit.NOT_FOUND
        return Exit.DONE if count else answer or Exit.DONE

    return client(common, main)


async def _retry(link: Any, jobs: Sequence[int], as_json: bool) -> tuple[int, Exit | None]:
    """How many were run again; and, where one was not, how that is told."""
    answer, again = None, await link.retry(jobs)
    for job in jobs:
        new = again.get(job)
        if new is None:
            answer = await _tell_refused(link, job)
        elif as_json:
            click.echo(dumps({"id": int(job), "again": new}))
        else:
            click.echo(f"job {job} runs again as {new}")
    return len(again), answer


async def _tell_refused(link: Any, job: int) -> Exit:
    """Say why a job was not run again."""
    from ..protocol.errors import NoSuchJob

    try:
        known = await link.query("job", job=job)
    except NoSuchJob:
        say(f"there is no job {job}, or it was forgotten")
        return Exit.NOT_FOUND
    if known["retried"]:
        say(
            f"job {job} was run again already, as job {known['retried']}; "
            f"once more: ampacity retry {known['retried']}"
        )
    else:
        say(f"job {job} was not run again: it is {known['state']}, and has not ended")
    return Exit.REFUSED


async def _to_retry(link: Any, selection: Selection) -> AsyncIterator[list[int]]:
    """The ids of a selection's jobs that are to be run again."""
    if selection.what in ("id", "last", "failed"):
        async for page in pages(link, [selection]):
            yield list(page)
        return
    group = selection.first if selection.what == "group" else None
    if group is not None:
        await link.query("group", group=group)
    for state in _NOT_SUCCEEDED:
        async for found in _in_state(link, state, group, selection):
            yield found


async def _in_state(
    link: Any, state: str, group: int | None, selection: Selection
) -> AsyncIterator[list[int]]:
    after = selection.first - 1 if selection.what == "range" else None
    last = selection.last if selection.what == "range" else None
    asked = {"limit": PAGE, "state": state, "name": None, "group": group, "newest": False}
    while True:
        answer = await link.query("jobs", after=after, **asked)
        ids = [
            job["id"]
            for job in answer["jobs"]
            if not job["retried"] and (last is None or job["id"] <= last)
        ]
        if ids:
            yield ids
        after = answer["next"]
        if after is None or (last is not None and after >= last):
            return
