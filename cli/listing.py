"""``jobs`` and ``job``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from .failures import Exit, say
from .following import selectors
from .rendering import call_text, dumps, harmless, local_time, rfc3339, span
from .scopes import scoped
from .selectors import pages, parse_all
from .shared import Common, command
from .tables import Table

PAGE = 500
STATES = (
    "queued",
    "sent",
    "running",
    "delayed",
    "succeeded",
    "failed",
    "timed out",
    "cancelled",
    "crashed",
)


@command(
    name="jobs",
    short_help="List your jobs.",
    examples=[
        "ampacity jobs                       the newest 50",
        "ampacity jobs --state failed --all",
        "ampacity jobs --group g3 --json     one object a line",
        "ampacity jobs --everyone            all clients' jobs, as an operator or viewer",
    ],
)
@click.option("--state", type=click.Choice(STATES), help="Only jobs in this state.")
@click.option("--name", metavar="TEXT", help="Only jobs of this name.")
@click.option("--group", metavar="GROUP", help="Only jobs of this group, oldest first.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many.")
@click.option("--all", "all_", is_flag=True, help="All of them.")
@scoped
def jobs_command(
    common: Common,
    state: str | None,
    name: str | None,
    group: str | None,
    limit: int,
    all_: bool,
) -> int:
    """List your own jobs, the newest first; operators and viewers may list others'."""
    from .connecting import client

    asked = {
        "state": state,
        "name": name,
        "group": None if group is None else _group_of(group),
        "newest": group is None,
    }

    async def main(reactor: Any, link: Any) -> int:
        if asked["group"] is not None:
            await link.query("group", group=asked["group"])
        return await _list(link, asked, None if all_ else limit, common.as_json)

    return client(common, main)


def _group_of(text: str) -> int:
    from ..protocol.ids import parse_group

    try:
        return parse_group(text)
    except ValueError as e:
        raise click.UsageError(f"--group: {e}") from None


async def _list(link: Any, asked: dict[str, Any], limit: int | None, as_json: bool) -> int:
    from .records import job_record

    others = link.whose is not None
    table, after, left = _jobs_table(others), None, limit
    while left is None or left > 0:
        wanted = PAGE if left is None else min(PAGE, left)
        answer = await link.query("jobs", after=after, limit=wanted, **asked)
        for job in answer["jobs"]:
            if as_json:
                click.echo(dumps(job_record(job)))
            else:
                table.add(*_job_row(job, others))
        left = None if left is None else left - len(answer["jobs"])
        after = answer["next"]
        if after is None:
            break
    if not as_json:
        table.show(empty="no jobs")
        if after is not None:
            say("there are more: --limit N or --all shows them")
    return Exit.DONE


def _jobs_table(others: bool) -> Table:
    whose = ["CLIENT"] if others else []
    return Table(">ID", *whose, "STATE", "JOB", "GROUP", "WORKER", "SUBMITTED", ">RAN")


def _job_row(job: dict[str, Any], others: bool) -> list[str]:
    from .records import group_text

    ran = job.get("seconds")
    if ran is None and job.get("began") is not None and job["state"] == "running":
        ran = max(0.0, time.time() - job["began"])
    return [
        str(job["id"]),
        *([str(job.get("client") or "")] if others else []),
        str(job["state"]) + (", retried" if job.get("retried") else ""),
        str(job.get("name") or job.get("target") or ""),
        group_text(job.get("group")) or "",
        str(job.get("worker") or ""),
        local_time(job.get("submitted"), time.time()),
        span(ran),
    ]


@command(
    name="job",
    selects=True,
    short_help="Tell all about a job.",
    examples=["ampacity job 17", "ampacity job last --json"],
)
@selectors
def job_command(common: Common, selected: Sequence[str]) -> int:
    """Tell all about a job: its call as Python would write it, where it is, what happened.

    The story has every attempt: on which worker it began, and how it ended.
    """
    from .connecting import client

    selections = parse_all(selected)

    async def main(reactor: Any, link: Any) -> int:
        count = 0
        async for page in pages(link, selections):
            for job in page:
                about = await _about(link, job)
                if common.as_json:
                    click.echo(dumps(_full_record(about)))
                else:
                    click.echo(("\n" if count else "") + _full_text(about))
                count += 1
        if count == 0:
            say("no job is selected")
        return Exit.DONE if count else Exit.NOT_FOUND

    return client(common, main)


async def _about(link: Any, job: int) -> dict[str, Any]:
    from ..protocol.errors import NoSuchJob

    try:
        about: dict[str, Any] = await link.query("job", job=job)
    except NoSuchJob:
        raise NoSuchJob(f"there is no job {job}, or it was forgotten") from None
    return about


def _call(about: dict[str, Any]) -> str:
    """As Python would write it; a viewer is told no arguments."""
    from ..protocol.jobs import unpack_spec

    if "spec" not in about:
        return str(about.get("target") or "")
    return call_text(unpack_spec(about["spec"]), about["payload"], about["payload_size"])


def _outcome(about: dict[str, Any]) -> Any:
    """The ending and the outcome of an ended job, or None."""
    from ..protocol.outcomes import Ending, unpack_outcome

    for ending in Ending:
        if ending.words == about["state"]:
            return ending, unpack_outcome(about.get("body") or b"")
    return None


def _full_record(about: dict[str, Any]) -> dict[str, Any]:
    from .records import job_record, outcome_fields

    record = job_record(about) | {
        "call": _call(about),
        "deadline": about["deadline"],
        "story": [{"time": rfc3339(moment), "text": text} for moment, text in about["story"]],
    }
    if "spec" not in about:
        return record
    outcome = _outcome(about)
    return record | _spec_fields(about) | (outcome_fields(*outcome) if outcome else {})


def _spec_fields(about: dict[str, Any]) -> dict[str, Any]:
    from ..protocol.jobs import unpack_spec

    spec = unpack_spec(about["spec"])
    return {
        "timeout": spec.timeout,
        "folder": spec.folder,
        "cwd": spec.cwd,
        "env": [name for name, _ in spec.env],
        "retries": spec.retries,
        "retry_on": None if spec.retry_on is None else list(spec.retry_on),
        "backoff": spec.backoff,
        "max_losses": spec.max_losses,
    }


def _full_text(about: dict[str, Any]) -> str:
    from .records import group_text

    group = group_text(about.get("group"))
    rows = [
        ("job", str(about["id"]) + (f" ({about['name']})" if about.get("name") else "")),
        ("call", _call(about)),
        ("client", about.get("client") or ""),
        ("state", _state_text(about)),
        ("group", f"{group}, item {about.get('place')}" if group else ""),
        ("retried", f"as job {about['retried']}" if about.get("retried") else ""),
        ("retry of", f"job {about['retry_of']}" if about.get("retry_of") else ""),
        ("key", about.get("key") or ""),
        ("worker", about.get("worker") or ""),
        ("submitted", local_time(about.get("submitted"))),
        ("began", local_time(about.get("began"))),
        ("ended", local_time(about.get("ended"))),
        ("ran", span(about.get("seconds"))),
        ("attempts", _attempts_text(about)),
        *(_spec_rows(about) if "spec" in about else ()),
    ]
    lines = [f"{name:<12} {harmless(text)}" for name, text in rows if text]
    return "\n".join([*lines, *_story(about), *_outcome_lines(about)])


def _spec_rows(about: dict[str, Any]) -> list[tuple[str, str]]:
    """What was asked for with the job."""
    from ..protocol.jobs import unpack_spec

    spec = unpack_spec(about["spec"])
    return [
        ("timeout", span(spec.timeout)),
        ("deadline", span(spec.deadline)),
        ("folder", spec.cwd or spec.folder or ""),
        ("environment", " ".join(name for name, _ in spec.env)),
        ("retries", _again_text(spec)),
    ]


def _state_text(about: dict[str, Any]) -> str:
    waiting, resume = about.get("waiting"), about.get("resume")
    if resume is not None:
        left = max(0.0, resume - time.time())
        waiting = f"the next attempt begins at {local_time(resume, time.time())}, in {span(left)}"
    return f"{about['state']}: {waiting}" if waiting else str(about["state"])


def _attempts_text(about: dict[str, Any]) -> str:
    counts = [(about.get("failures"), "failed and tried again"), (about.get("losses"), "lost")]
    told = [f"{count} {what}" for count, what in counts if count]
    return ", ".join([f"{about.get('attempts') or 0}", *told])


def _again_text(spec: Any) -> str:
    """When the job runs again, where that was asked for."""
    facts = []
    if spec.retries:
        errors = f" after {', '.join(spec.retry_on)}" if spec.retry_on is not None else ""
        facts.append(f"up to {spec.retries}{errors}, the first after {span(spec.backoff)}")
    if spec.max_losses is not None:
        facts.append(f"at most {spec.max_losses} losses")
    return "; ".join(facts)


def _story(about: dict[str, Any]) -> list[str]:
    lines = [f"  {local_time(moment)}  {harmless(text)}" for moment, text in about["story"]]
    return ["story", *lines] if lines else []


def _outcome_lines(about: dict[str, Any]) -> list[str]:
    from ..protocol.outcomes import Ending
    from .failures import ending_text
    from .rendering import harmless_block, value_line

    found = _outcome(about) if "body" in about else None
    if found is None:
        return []
    ending, outcome = found
    if ending is Ending.SUCCEEDED:
        shown = value_line(outcome.shown)
        return [f"{'result':<12} {shown[:200]}{'…' if len(shown) > 200 else ''}"] if shown else []
    lines = [f"{'why':<12} {ending_text(ending, outcome)}"]
    if outcome.error is not None and "\n" in outcome.error.traceback.rstrip():
        lines.append(harmless_block(outcome.error.traceback))
    if outcome.tail:
        lines += ["last output", harmless_block(outcome.tail.decode("utf-8", "replace"))]
    return lines
