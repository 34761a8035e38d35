"""From a delivered body to what its reader gets."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..protocol.ids import JobId
from ..protocol.jobs import BlobRef
from ..protocol.outcomes import Ending, Outcome, unpack_outcome
from ..protocol.packing import unpack_list
from .results import raise_error, refusal, unreadable, value_of

if TYPE_CHECKING:
    from .session import Session

_SUCCEEDED = Ending.SUCCEEDED

_UNMARKED = 6
"""Fields of a packed outcome that is neither plain data nor withheld: then the value is a pickle,
and the rest of a success is of no interest here."""


def read(
    session: Session, job: JobId | None, name: str, ending: Ending, body: bytes, plain: bool = False
) -> Any:
    """The value, or a Deferred of it where it travels as a blob. (No value can be a Deferred:
    they cannot be pickled.) ``plain``: nothing is unpickled.

    Raises what stands for an ending other than success.
    """
    if ending is _SUCCEEDED and body and not plain:
        fields = unpack_list(body)
        if len(fields) == _UNMARKED and type(fields[0]) is bytes:
            try:
                return pickle.loads(fields[0])  # noqa: S301  # the result of the user's own function
            except Exception as e:
                raise unreadable(job, name, unpack_outcome(body), e) from e
    outcome = unpack_outcome(body)
    if plain and outcome.value is not None and not outcome.data:
        raise refusal(job, name, outcome, "a pickle")
    if isinstance(outcome.value, BlobRef):
        return session.values.read(outcome.value, job, _read, job, name, ending, outcome)
    return _read(outcome.value, job, name, ending, outcome)


def _read(
    source: bytes | Path | None, job: JobId | None, name: str, ending: Ending, outcome: Outcome
) -> Any:
    if ending is _SUCCEEDED:
        return value_of(job, name, outcome, source)
    return raise_error(job, name, ending, outcome, source)
