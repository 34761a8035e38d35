"""How an attempt and a job ended, and how that is packed.

The coordinator looks at a report's ending, times and blob references only; the ``body``, made by
the child, goes through it unread and is unpacked by who asked for the job.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from itertools import repeat
from typing import Any, NamedTuple

import attrs

from .columns import Column, all_of, columns, tuples
from .errors import Malformed
from .ids import Attempt, JobId
from .jobs import BlobRef, Payload, attempts, blob_ref, payload_of
from .packing import pack, unpack_list


class Ending(IntEnum):
    """How an attempt ended. A job ends in all of these but ``LOST``, which makes it run again."""

    SUCCEEDED = 1
    FAILED = 2
    TIMED_OUT = 3
    CANCELLED = 4
    CRASHED = 5
    LOST = 6

    @property
    def words(self) -> str:
        """As people read it: ``timed out``."""
        return self.name.lower().replace("_", " ")


ENDINGS = {int(ending): ending for ending in Ending}
"""By number; a dictionary is cheaper than the enumeration's own look-up, and raises KeyError."""


class ErrorText(NamedTuple):
    """An exception as text: its type (``module.Name``), its message, and the whole traceback."""

    type_name: str
    message: str
    traceback: str


class Shown(NamedTuple):
    """A result as text, prepared in the child: exact JSON, or a ``repr`` with its type."""

    exact: bool
    type_name: str
    text: str


class Evidence(NamedTuple):
    """What is known about a process that died, or that had to be ended."""

    worker: str = ""
    host: str = ""
    pid: int | None = None
    signal: str | None = None
    """The name of the signal that ended it, as ``SIGKILL``."""
    exit_code: int | None = None
    peak_memory: int | None = None
    """Bytes, the highest resident size that was seen."""
    reason: str = ""
    """One sentence for people."""


@attrs.frozen(kw_only=True)
class Outcome:
    """The body of a report: what the child, or the agent in its place, says of the end."""

    value: Payload | None = None
    """The pickled result, or the pickled exception where it could be pickled; or ``data``."""
    shown: Shown | None = None
    error: ErrorText | None = None
    exit_code: int | None = None
    """For a command."""
    evidence: Evidence | None = None
    tail: bytes = b""
    """The last bytes that the job printed, for an ending other than ``SUCCEEDED``."""
    withheld: bool = False
    """Whether there was a ``value``, which only the job's own client is given."""
    data: bool = False
    """Whether the value is packed plain data, and no pickle."""


_EMPTY = Outcome()


def pack_outcome(outcome: Outcome) -> bytes:
    """``[value, shown, error, exit code, evidence, tail]``, as bytes; ``withheld`` and ``data``
    follow where one of them is true."""
    fields = (
        outcome.value,
        outcome.shown,
        outcome.error,
        outcome.exit_code,
        outcome.evidence,
        outcome.tail,
    )
    marks = (outcome.withheld, outcome.data)
    return pack((*fields, *marks) if any(marks) else fields)


def without_value(body: bytes) -> bytes:
    """A packed outcome as others than the job's client may have it: nothing to be unpickled.

    Of a body that is none, nothing is left.
    """
    try:
        outcome = unpack_outcome(body)
    except Malformed:
        return b""
    if outcome.value is None:
        return body
    return pack_outcome(attrs.evolve(outcome, value=None, withheld=True))


def unpack_outcome(body: bytes) -> Outcome:
    """The outcome that ``pack_outcome`` packed; no bytes at all are an empty one.

    Raises:
        Malformed: the bytes are no outcome.
    """
    if not body:
        return _EMPTY
    try:
        value, shown, error, exit_code, evidence, tail, *later = unpack_list(body)
        return Outcome(
            value=None if value is None else payload_of(value),
            shown=None if shown is None else Shown(*_fields(shown, _SHOWN)),
            error=None if error is None else ErrorText(*_fields(error, _ERROR)),
            exit_code=_checked(exit_code, _NUMBER),
            evidence=None if evidence is None else Evidence(*_fields(evidence, _EVIDENCE)),
            tail=_checked(tail, (bytes,)),
            withheld=bool(later) and _checked(later[0], (bool,)),
            data=len(later) > 1 and _checked(later[1], (bool,)),
        )
    except (TypeError, ValueError) as e:
        raise Malformed(f"an outcome is damaged: {e}") from None


_Types = tuple[type, ...]
_NUMBER: _Types = (int, type(None))
_SHOWN: tuple[_Types, ...] = ((bool,), (str,), (str,))
_ERROR: tuple[_Types, ...] = ((str,), (str,), (str,))
_EVIDENCE: tuple[_Types, ...] = (
    (str,),
    (str,),
    _NUMBER,
    (str, type(None)),
    _NUMBER,
    _NUMBER,
    (str,),
)
_STREAM: tuple[_Types, ...] = ((bytes,), (int,), (bytes,))


def _checked(value: Any, types: _Types) -> Any:
    if type(value) not in types:
        raise Malformed(f"{value!r:.40} is not one of {', '.join(t.__name__ for t in types)}")
    return value


def _fields(value: Any, types: tuple[_Types, ...]) -> list[Any]:
    """The fields of a packed record that this version knows; a later one may append."""
    if type(value) is not list or len(value) < len(types):
        raise Malformed(f"a list of {len(types)} fields was expected")
    return [_checked(field, kind) for field, kind in zip(value, types, strict=False)]


class StreamLog(NamedTuple):
    """The kept part of one stream: its beginning, its end, and how many bytes between are gone."""

    head: bytes = b""
    gap: int = 0
    tail: bytes = b""


class JobLog(NamedTuple):
    """What a job printed, as far as it is kept."""

    stdout: StreamLog = StreamLog()
    stderr: StreamLog = StreamLog()


def pack_log(log: JobLog) -> bytes:
    """``[[head, gap, tail], [head, gap, tail]]``; nothing printed is no bytes at all."""
    return b"" if log == JobLog() else pack(log)


def unpack_log(data: bytes) -> JobLog:
    """The log that ``pack_log`` packed.

    Raises:
        Malformed: the bytes are no log.
    """
    if not data:
        return JobLog()
    try:
        stdout, stderr, *_later = unpack_list(data)
        return JobLog(StreamLog(*_fields(stdout, _STREAM)), StreamLog(*_fields(stderr, _STREAM)))
    except (TypeError, ValueError) as e:
        raise Malformed(f"a job's log is damaged: {e}") from None


class Report(NamedTuple):
    """How one attempt ended, from a worker to the coordinator."""

    job: JobId
    attempt: Attempt
    ending: Ending
    began: float | None
    """Wall-clock seconds (UNIX time) of the start in the child; none: it had not begun."""
    seconds: float
    """How long it ran, by the monotonic clock."""
    body: bytes
    blobs: tuple[BlobRef, ...] = ()
    """What ``body`` refers to: stored at the coordinator before the report is sent."""
    log: bytes = b""
    again: bool = True
    """Whether its spec's ``retry_on`` names this end as one that is worth another attempt."""


class Delivery(NamedTuple):
    """How one job ended, from the coordinator to a client."""

    job: JobId
    ending: Ending
    body: bytes


def pack_reports(reports: Sequence[Report]) -> bytes:
    """A frame ``[[job, term, number, ending, began, seconds, body, blobs, log, again]...]``."""
    return pack(
        [
            (job, term, number, ending, began, seconds, body, blobs, log, again)
            for job, (term, number), ending, began, seconds, body, blobs, log, again in reports
        ]
    )


def unpack_reports(frame: bytes) -> list[Report]:
    """The reports of a frame.

    Raises:
        Malformed: the frame is none of ``pack_reports``.
    """
    records = unpack_list(frame)
    try:
        if _FIRST_REPORT in set(map(len, records)):
            records = [
                record if len(record) > _FIRST_REPORT else [*record, True] for record in records
            ]
        return _reports(columns(records, _FIRST_REPORT + 1))
    except (TypeError, ValueError, KeyError, OverflowError) as e:
        raise Malformed(f"a frame of reports is damaged: {e}") from None


_FIRST_REPORT = 9
"""The fields of a report in the first release, which had no ``again``."""


def _reports(fields: Sequence[Column]) -> list[Report]:
    jobs, terms, numbers, endings, began, seconds, bodies, blobs, logs, again = fields
    if not all_of(bodies, bytes) or not all_of(logs, bytes):
        raise Malformed("a report's body and log are bytes")
    if not all_of(again, bool):
        raise Malformed("whether a report is worth another attempt is true or false")
    known = began if None not in began else [time for time in began if time is not None]
    if not all(map(math.isfinite, seconds)) or not all(map(math.isfinite, known)):
        raise Malformed("a report's times are numbers of seconds")
    return tuples(
        Report,
        jobs,
        attempts(jobs, terms, numbers),
        map(ENDINGS.__getitem__, endings),
        began,
        map(float, seconds),
        bodies,
        map(_refs, blobs) if any(blobs) else repeat(()),
        logs,
        again,
    )


def _refs(blobs: list[Any]) -> tuple[BlobRef, ...]:
    return tuple(map(blob_ref, blobs)) if blobs else ()


def pack_deliveries(deliveries: Sequence[Delivery]) -> bytes:
    """A frame ``[[job, ending, body]...]``."""
    return pack(deliveries)


def unpack_deliveries(frame: bytes) -> list[Delivery]:
    """The deliveries of a frame.

    Raises:
        Malformed: the frame is none of ``pack_deliveries``.
    """
    jobs, endings, bodies = columns(unpack_list(frame), 3)
    if not all_of(bodies, bytes):
        raise Malformed("an outcome's body is bytes")
    try:
        return tuples(Delivery, jobs, map(ENDINGS.__getitem__, endings), bodies)
    except (TypeError, KeyError) as e:
        raise Malformed(f"a frame of deliveries is damaged: {e}") from None
