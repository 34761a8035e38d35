"""All that a coordinator knows of one job, to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ..protocol.errors import NoSuchJob
from ..protocol.ids import JobId, show_group
from ..protocol.outcomes import ErrorText, Evidence, unpack_outcome
from .asking import ask

if TYPE_CHECKING:
    from .session import Session


@attrs.frozen(kw_only=True)
class JobInfo:
    """A job as its coordinator sees it. Times are UNIX time in seconds."""

    id: int
    name: str
    target: str
    state: str
    """``queued``, ``sent`` (to a worker, not begun), ``running``, ``delayed`` (it waits for its
    next attempt), or how it ended: ``succeeded``, ``failed``, ``timed out``, ``cancelled``,
    ``crashed``."""
    waiting: str | None = None
    """Why no worker can take it now, if none can."""
    group: str | None = None
    place: int | None = None
    key: str | None = None
    worker: str | None = None
    submitted: float | None = None
    began: float | None = None
    """The start of the last attempt."""
    ended: float | None = None
    seconds: float | None = None
    """How long the last attempt ran, or has been running."""
    attempts: int = 0
    failures: int = 0
    """Attempts that failed or timed out, and were followed by another one."""
    losses: int = 0
    """Attempts that ended because their process or their worker died."""
    resume: float | None = None
    """When its next attempt may begin, while it waits for that."""
    story: tuple[tuple[float, str], ...] = ()
    """What happened to it, with every attempt's end: the time, and a line of text."""
    retried: int | None = None
    """The job that it was run again as."""
    retry_of: int | None = None
    """The job that it is another run of."""
    error: ErrorText | None = None
    """What it raised, as text: ``type_name``, ``message``, ``traceback``."""
    exit_code: int | None = None
    """Of a command."""
    evidence: Evidence | None = None
    """What is known of the process that died, or had to be ended: ``worker``, ``host``, ``pid``,
    ``signal``, ``exit_code``, ``peak_memory`` (bytes), ``reason``."""
    output: str = ""
    """The last lines that it printed, unless it succeeded."""


_SAME = (
    "id",
    "target",
    "state",
    "waiting",
    "place",
    "key",
    "worker",
    "submitted",
    "began",
    "ended",
    "seconds",
    "attempts",
    "losses",
    "retried",
    "retry_of",
)


async def info(session: Session, job: JobId) -> JobInfo:
    """Ask for it. Raises NoSuchJob."""
    try:
        return _info(await ask(session, "job", job=job))
    except NoSuchJob:
        raise NoSuchJob(f"there is no job {job}, or it was forgotten") from None


def _info(known: dict[str, Any]) -> JobInfo:
    outcome = unpack_outcome(known["body"])
    group = known["group"]
    return JobInfo(
        **{name: known[name] for name in _SAME},
        name=known["name"] or known["target"],
        group=None if group is None else show_group(group),
        failures=known.get("failures", 0),
        resume=known.get("resume"),
        story=tuple((time, text) for time, text in known["story"]),
        error=outcome.error,
        exit_code=outcome.exit_code,
        evidence=outcome.evidence,
        output=outcome.tail.decode("utf-8", "replace"),
    )
