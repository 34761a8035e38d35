"""The end of a job, as its user sees it: a value, or an exception that says all that is known."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ..protocol.errors import (
    CommandFailed,
    ForeignResult,
    JobCancelled,
    JobCrashed,
    JobError,
    JobFailed,
    JobTimedOut,
    Malformed,
    NotPlainData,
)
from ..protocol.ids import JobId
from ..protocol.outcomes import Ending, ErrorText, Evidence, Outcome
from ..protocol.plain import unpack_plain

_NOT_REBUILT = (StopIteration, StopAsyncIteration)
"""They mean something to whoever awaits, and no coroutine lets them through."""

_NOT_PLAIN_DATA = f"{NotPlainData.__module__}.{NotPlainData.__qualname__}"

_MIB = 1024 * 1024

E = TypeVar("E", bound=JobError)


class RemoteTraceback(Exception):
    """The traceback of an exception in another process: the cause of the one raised here."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return "\n\n" + self.text.rstrip()


def load(source: bytes | Path) -> Any:
    """Unpickle a value. Raises whatever the value's own classes raise."""
    if isinstance(source, bytes):
        return pickle.loads(source)  # noqa: S301  # the result of the user's own function
    from ..protocol import mapped  # large values are rare, and it takes much else with it

    return mapped.load(source)


def load_plain(source: bytes | Path) -> Any:
    """Unpack plain data. Raises Malformed: it is none."""
    return unpack_plain(source if isinstance(source, bytes) else source.read_bytes())


def refusal(job: JobId | None, shown: str, outcome: Outcome, what: str) -> NotPlainData:
    """Why a value, or an exception, is not read that is not the plain data it should be."""
    failed = NotPlainData(
        f"plain data was to come from {_named(job, shown)}, and {what} came, which was not read: "
        "its worker is too old to know the option results, or is not to be trusted"
    )
    if outcome.error is not None:
        failed.type_name, failed.traceback = outcome.error.type_name, outcome.error.traceback
        failed.add_note(f"as text, what came is {outcome.error.type_name}: {outcome.error.message}")
    return _told(failed, job, outcome)


def value_of(job: JobId | None, shown: str, outcome: Outcome, source: bytes | Path | None) -> Any:
    """The value of a job that succeeded.

    Raises:
        JobFailed: it cannot be unpickled here.
        NotPlainData: it should be plain data, and is none.
        ForeignResult: it is another client's.
    """
    if outcome.withheld:
        text = "is another client's, and its value is not given away"
        shown_by = "" if job is None else f"; ampacity result {job} shows it"
        raise _told(ForeignResult(f"{_named(job, shown)} {text}{shown_by}"), job, outcome)
    if source is None:
        return None
    if outcome.data:
        try:
            return load_plain(source)
        except Malformed as e:
            raise refusal(job, shown, outcome, f"something else ({e})") from None
    try:
        return load(source)
    except Exception as e:
        raise unreadable(job, shown, outcome, e) from e


def unreadable(job: JobId | None, shown: str, outcome: Outcome, error: Exception) -> JobFailed:
    """Why a value that came is not given."""
    failed = JobFailed(f"the result of {_named(job, shown)} cannot be unpickled here: {error!r}")
    failed.type_name = outcome.shown.type_name if outcome.shown else ""
    return _told(failed, job, outcome)


def raise_error(
    job: JobId | None, shown: str, ending: Ending, outcome: Outcome, source: bytes | Path | None
) -> NoReturn:
    """Raise what stands for an ending other than success."""
    if ending is Ending.FAILED:
        raise _failure(job, shown, outcome, source)
    kinds = {Ending.TIMED_OUT: JobTimedOut, Ending.CANCELLED: JobCancelled}
    kind = kinds.get(ending, JobCrashed)
    message = f"{_named(job, shown)} {_ENDED[kind]}{_how(outcome)}{_last_output(outcome)}"
    raise _told(kind(message), job, outcome)


_ENDED: dict[type[JobError], str] = {
    JobTimedOut: "timed out",
    JobCancelled: "was cancelled",
    JobCrashed: "crashed",
}


def _failure(
    job: JobId | None, shown: str, outcome: Outcome, source: bytes | Path | None
) -> Exception:
    error = outcome.error
    if error is None:
        return _command_failed(job, shown, outcome)
    original = None if outcome.data else _rebuilt(source)
    if original is None:
        original = _job_failed(job, shown, outcome, error)
    _attach_traceback(original, _named(job, shown), error.traceback)
    return original


def _command_failed(job: JobId | None, shown: str, outcome: Outcome) -> CommandFailed:
    code = outcome.exit_code
    failed = CommandFailed(
        f"{_named(job, shown)} ended with exit code {code}{_how(outcome)}{_last_output(outcome)}"
    )
    failed.exit_code = code
    return _told(failed, job, outcome)


def _job_failed(job: JobId | None, shown: str, outcome: Outcome, error: ErrorText) -> JobFailed:
    if error.type_name == _NOT_PLAIN_DATA:
        failed: JobFailed = NotPlainData(
            f"{_named(job, shown)} did not give plain data: {error.message}"
        )
    else:
        failed = JobFailed(
            f"{_named(job, shown)} raised {error.type_name}: {error.message}{_last_output(outcome)}"
        )
    failed.type_name, failed.traceback = error.type_name, error.traceback
    return _told(failed, job, outcome)


def _rebuilt(source: bytes | Path | None) -> Exception | None:
    """The exception itself, where the child could pickle it and it can be unpickled here."""
    if source is None:
        return None
    try:
        original = load(source)
    except Exception:  # noqa: BLE001  # the text of the exception is told instead
        return None
    if not isinstance(original, Exception) or isinstance(original, _NOT_REBUILT):
        return None
    return original


def _attach_traceback(error: Exception, named: str, text: str) -> None:
    error.__cause__ = RemoteTraceback(text)
    error.add_note(f"raised by {named}, in another process")
    with contextlib.suppress(AttributeError):  # a class may refuse attributes
        error.remote_traceback = text  # type: ignore[attr-defined]  # users are told of it


def _told(error: E, job: JobId | None, outcome: Outcome) -> E:
    error.job = job
    error.output = outcome.tail.decode("utf-8", "replace")
    error.evidence = outcome.evidence._asdict() if outcome.evidence else None
    return error


# -- the words ------------------------------------------------------------------------------------


def _named(job: JobId | None, shown: str) -> str:
    if job is None:
        return f"the job ({shown})"
    return f"job {job} ({shown})" if shown else f"job {job}"


def _how(outcome: Outcome) -> str:
    """What is known about the process: ``: killed by SIGKILL on worker w1 (host h), ...``."""
    evidence = outcome.evidence
    if evidence is None:
        return ""
    facts = [*_facts(evidence)]
    reason = f": {evidence.reason}" if evidence.reason else ""
    return reason + (f" ({', '.join(facts)})" if facts else "")


def _facts(evidence: Evidence) -> list[str]:
    facts = []
    if evidence.worker:
        host = f" on {evidence.host}" if evidence.host else ""
        facts.append(f"worker {evidence.worker}{host}")
    if evidence.pid is not None:
        facts.append(f"pid {evidence.pid}")
    if evidence.signal is not None:
        facts.append(f"signal {evidence.signal}")
    if evidence.exit_code is not None:
        facts.append(f"exit code {evidence.exit_code}")
    if evidence.peak_memory is not None:
        facts.append(f"peak memory {evidence.peak_memory / _MIB:.0f} MiB")
    return facts


def _last_output(outcome: Outcome) -> str:
    text = outcome.tail.decode("utf-8", "replace").strip()
    return f"; its last output:\n{text}" if text else ""
