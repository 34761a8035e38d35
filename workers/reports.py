"""The reports that the agent makes: of what a child reported, and where it could not."""

from __future__ import annotations

import time

import attrs

from ..protocol.errors import AmpacityError, Malformed
from ..protocol.ids import Attempt, JobId
from ..protocol.jobs import BlobRef
from ..protocol.outcomes import (
    ENDINGS,
    Ending,
    ErrorText,
    Evidence,
    Outcome,
    Report,
    pack_outcome,
    unpack_outcome,
)  # fmt: skip
from .errands import Done
from .held import Held
from .retrying import worth_retrying


def wall_clock(mark: float) -> float:
    """UNIX time of a moment of ``CLOCK_MONOTONIC``."""
    return time.time() - time.monotonic() + mark


def succeeded_or_failed(held: Held, done: Done, since: float) -> Report:
    """What its child reported, with the output's end where it did not succeed. ``since``: UNIX
    time when ``CLOCK_MONOTONIC`` was 0."""
    body, ending = done.body, ENDINGS[done.ending]
    if ending is not Ending.SUCCEEDED:
        body = pack_outcome(attrs.evolve(unpack_outcome(body), tail=held.tail()))
    fields = (
        held.job,
        held.attempt,
        ending,
        since + done.began,
        done.ended - done.began,
        body,
        tuple(BlobRef(digest, size) for digest, size, _ in done.blobs) if done.blobs else (),
        held.packed_log() if held.has_printed else b"",
        done.again,
    )
    return tuple.__new__(Report, fields)  # its own constructor is a function of Python's


def ended(held: Held, evidence: Evidence | None, began: float | None, seconds: float) -> Report:
    """Cancelled or timed out, as asked for; ``began`` is UNIX time, none if it had not."""
    ending = Ending.CANCELLED if held.why == "cancelled" else Ending.TIMED_OUT
    outcome = Outcome(evidence=evidence, tail=held.tail())
    report = _report(held, ending, outcome, began, seconds)
    return report if held.why == "timed out" else report._replace(again=False)


def lost(held: Held, evidence: Evidence, began: float, seconds: float) -> Report:
    """Its child died under it."""
    return _report(held, Ending.LOST, Outcome(evidence=evidence, tail=held.tail()), began, seconds)


def refused(held: Held, kind: type[AmpacityError], message: str) -> Report:
    """It could not be run at all."""
    report = _report(held, Ending.FAILED, Outcome(error=_error(kind, message)), None, 0.0)
    return report._replace(again=worth_retrying(kind, held.plan.spec.retry_on))


def malformed(job: JobId, attempt: Attempt) -> Report:
    """Its spec cannot be read: nothing is known of it but its name."""
    error = _error(Malformed, "what the job is to do cannot be read on this worker")
    body = pack_outcome(Outcome(error=error))
    return Report(job, attempt, Ending.FAILED, None, 0.0, body, again=False)


def _error(kind: type[AmpacityError], message: str) -> ErrorText:
    return ErrorText(kind.__name__, message, f"{kind.__name__}: {message}\n")


def _report(
    held: Held, ending: Ending, outcome: Outcome, began: float | None, seconds: float
) -> Report:
    body = pack_outcome(outcome)
    return Report(held.job, held.attempt, ending, began, seconds, body, (), held.packed_log())
