"""``forget``: give up ended jobs with all that is kept of them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import click

from ..protocol.errors import NoSuchGroup
from ..protocol.ids import JobId
from .failures import Exit, say
from .following import selectors
from .rendering import dumps
from .selectors import Selection, pages, parse_all
from .shared import Common, command

FEW = 10
"""Jobs that are forgotten without asking."""

PAGE = 500
_UNENDED = frozenset({"queued", "sent", "running", "delayed"})


@command(
    name="forget",
    selects=True,
    short_help="Give up ended jobs and their results.",
    examples=[
        "ampacity forget 17 g3            these jobs, as far as they have ended",
        "ampacity forget --fetched        all whose result somebody has",
        "ampacity forget --all-ended      all of yours that have ended",
        "ampacity forget --everyone --fetched    every client's, as an operator",
    ],
)
@selectors
@click.option("--all-ended", is_flag=True, help="All of your jobs that have ended.")
@click.option("--fetched", is_flag=True, help="Only those whose result somebody has.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget_command(
    common: Common, selected: Sequence[str], all_ended: bool, fetched: bool, yes: bool
) -> int:
    """Give up ended jobs: their results, what they printed, and their stories.

    Jobs that have not ended are left alone; ampacity cancel ends them. By themselves, results
    that somebody has are forgotten after a week, and others after 30 days (retain_age,
    retain_unfetched). On a terminal, more than a few are not forgotten without asking.
    """
    from .connecting import client

    if all_ended and selected:
        raise click.UsageError("--all-ended means all of your jobs: name none, or leave it out")
    everything = all_ended or (fetched and not selected)
    selections = [Selection("all", "all")] if everything else parse_all(selected)

    async def main(reactor: Any, link: Any) -> int:
        jobs = await _chosen(link, selections, everything, fetched)
        if not await _confirmed(reactor, len(jobs), yes or common.as_json):
            say("nothing was forgotten")
            return Exit.REFUSED
        states = await _forget(link, jobs, common.as_json)
        return _told(states, everything or fetched)

    return client(common, main)


# -- which ones -----------------------------------------------------------------------------------


async def _chosen(
    link: Any, selections: Sequence[Selection], ended: bool, fetched: bool
) -> list[JobId]:
    """The jobs that are meant, each once. A job that is named is meant though it has not ended."""
    found: dict[JobId, None] = {}
    if not (ended or fetched):
        async for page in pages(link, selections):
            found.update(dict.fromkeys(page))
        return list(found)
    for selection in selections:
        async for job in _summaries(link, selection):
            if job["state"] not in _UNENDED and (job.get("taken") or not fetched):
                found[JobId(job["id"])] = None
    return list(found)


async def _summaries(link: Any, selection: Selection) -> AsyncIterator[dict[str, Any]]:
    """What lists tell of the selected jobs."""
    if selection.what in ("last", "failed"):
        async for page in pages(link, [selection]):
            for number in page:
                async for job in _summaries(link, Selection("", "id", number, number)):
                    yield job
        return
    group = selection.first if selection.what == "group" else None
    if group is not None:
        await _check_group(link, group, selection.text)
    numbered = selection.what in ("id", "range")
    after = selection.first - 1 if numbered else None
    asked = {"state": None, "name": None, "group": group, "newest": False}
    limit = 1 if selection.what == "id" else PAGE
    while True:
        answer = await link.query("jobs", after=after, limit=limit, **asked)
        for job in answer["jobs"]:
            if numbered and job["id"] > selection.last:
                return
            yield job
        after = answer["next"]
        if after is None or selection.what == "id":
            return


async def _check_group(link: Any, group: int, text: str) -> None:
    try:
        await link.query("group", group=group)
    except NoSuchGroup:
        raise NoSuchGroup(f"there is no group {text}, or it was forgotten") from None


async def _confirmed(reactor: Any, count: int, sure: bool) -> bool:
    """Whether to go on; asked on a terminal, without holding the connection up."""
    from .streams import InputLines

    if sure or count <= FEW or sys.stdin is None or not sys.stdin.isatty():
        return True
    click.echo(f"Forget {count} jobs and their results? [y/N] ", err=True, nl=False)
    answer = await InputLines(reactor, sys.stdin.fileno()).take(1)
    return bool(answer) and answer[0].strip().lower() in (b"y", b"yes")


# -- forgetting -----------------------------------------------------------------------------------


async def _forget(link: Any, jobs: Sequence[JobId], as_json: bool) -> Counter[str]:
    """Forget them, a page at a time; how many had which answer."""
    counts: Counter[str] = Counter()
    for start in range(0, len(jobs), PAGE):
        part = jobs[start : start + PAGE]
        states = await link.forget(part)
        for job in part:
            state = states.get(job, "unknown")
            counts[state] += 1
            if as_json:
                click.echo(dumps({"id": int(job), "was": state}))
            elif state != "forgotten" and len(jobs) <= FEW:
                say(f"job {job}: {_left(state)}")
    return counts


def _left(state: str) -> str:
    if state == "unknown":
        return "there is no such job, or it was forgotten"
    return f"it is {state}, and has not ended: ampacity cancel ends it"


def _told(counts: Counter[str], all_of_them: bool) -> int:
    """Say what became of them; the exit code."""
    forgotten = counts.pop("forgotten", 0)
    unknown = counts.pop("unknown", 0)
    left = sum(counts.values())
    facts = [f"{forgotten} {'job was' if forgotten == 1 else 'jobs were'} forgotten"]
    facts += [f"{left} had not ended, and {'is' if left == 1 else 'are'} left"] if left else []
    facts += [f"{unknown} unknown"] if unknown else []
    say("; ".join(facts))
    if forgotten or all_of_them:
        return Exit.DONE
    return Exit.REFUSED if left else Exit.NOT_FOUND
