"""From a delivered body to what its reader gets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..protocol.ids import JobId
from ..protocol.jobs import BlobRef
from ..protocol.outcomes import Ending, Outcome, unpack_outcome
from .results import raise_error, refusal, value_of

if TYPE_CHECKING:
    from .session import Session


def read(
    session: Session, job: JobId | None, name: str, ending: Ending, body: bytes, plain: bool = False
) -> Any:
    """The value, or a Deferred of it where it travels as a blob. (No value can be a Deferred:
    they cannot be pickled.) ``plain``: nothing is unpickled.

    Raises what stands for an ending other than success.
    """
    outcome = unpack_outcome(body)
    if plain and outcome.value is not None and not outcome.data:
        raise refusal(job, name, outcome, "a pickle")
    if isinstance(outcome.value, BlobRef):
        return session.values.read(outcome.value, job, _read, job, name, ending, outcome)
    return _read(outcome.value, job, name, ending, outcome)


def _read(
    source: bytes | Path | None, job: JobId | None, name: str, ending: Ending, outcome: Outcome
) -> Any:
    if ending is Ending.SUCCEEDED:
        return value_of(job, name, outcome, source)
    return raise_error(job, name, ending, outcome, source)
