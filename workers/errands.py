"""What the agent and a child say to each other, over AMP on the child's pipes.

A child's reactor is blocked while it runs a batch, so what it tells meanwhile, the box
``JobsDone``, is packed by hand and written straight to the pipe. ``RunJobs`` goes the same way,
because a stock call costs as much as some ten jobs. All else is stock AMP.
"""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgpack
from twisted.protocols import amp

from ..protocol.columns import all_of, named
from ..protocol.errors import Malformed
from ..protocol.fields import Frame, Packed
from ..protocol.jobs import blob_ref
from ..protocol.outcomes import ENDINGS
from ..protocol.packing import pack, unpack_list

STDIN, STDOUT, STDERR, TO_CHILD, FROM_CHILD, PERMITS, JOURNAL = range(7)
"""The file descriptors of a child."""

STALE = "stale"
"""A child's answer where a module of the job's folder has changed."""

TELL_AFTER = 0.001
"""Seconds that a report waits in its child for those of the jobs behind it."""

TELL_LATE = 0.005
"""Seconds that it may wait instead, in its child and once more in the agent, while more waits than
the children were given ahead, see ``dispatch.Dispatch.pause``. Nobody is given the next job the
later for it then, and each job has waited for longer than that before it began. A report that goes
by itself costs the agent, the coordinator and the client together half a millisecond of the
processors that the children want."""

NONCE_SIZE = 16
MARKER_SIZE = NONCE_SIZE + 8


class Prepare(amp.Command):
    """The first call: ``{nonce, setup, folder}``. The answer comes when the child may be used:
    ``{python, software, pid}``, or ``{error: text}`` where the set-up function failed."""

    arguments: ClassVar = [(b"details", Packed())]
    response: ClassVar = [(b"answer", Packed())]


class RunJobs(amp.Command):
    """Run a batch: ``[context, specs, jobs, patience]``, see ``pack_batch``. Without an answer: a
    last ``JobsDone`` says that the batch has ended, which it has, too, when no permits are left."""

    arguments: ClassVar = [(b"batch", Frame())]
    requiresAnswer = False  # noqa: N815  # Twisted's own name


class Done(NamedTuple):
    """How one job of a batch ended, as its child says."""

    number: int
    """The job's number in its child, from 1."""
    began: float
    ended: float
    """``CLOCK_MONOTONIC``, which the processes of a machine share."""
    ending: int
    body: bytes
    blobs: list[list[Any]]
    """``[digest, size, path]`` of what the body refers to."""
    again: bool
    """Whether a failure is worth another attempt."""
    signal: int
    """The signal that interrupted it, or 0."""
    marked: bool = True
    """Whether a marker follows in both output streams; if not, it has printed nothing."""


class JobsDone(NamedTuple):
    """What a child tells at once."""

    stop: str | None
    """At the end of a batch: empty, or why this child shall be replaced: ``stale`` (nothing of the
    batch was begun) or a sentence. None: the batch goes on."""
    done: list[Done]


def pack_batch(
    context: Any, specs: list[Any], jobs: list[Any], patience: float = TELL_AFTER
) -> bytes:
    """A batch.

    ``context`` is ``[client, folder, cwd, path, ships]`` (see ``child``), ``specs`` are
    ``[spec, path of the function by value]``, jobs ``[job, term, number, spec's number, payload,
    path of the payload]``. ``patience``: seconds that reports may wait for each other.
    """
    return pack((context, specs, jobs, patience))


def marker(nonce: bytes, number: int) -> bytes:
    """What a child writes to both output streams at the end of the ``number``-th job that has
    printed something; number 0 ends its preparation."""
    return nonce + number.to_bytes(8, "big")


# -- boxes by hand --------------------------------------------------------------------------------

_VALUE = 0xFFFF


class Box:
    """Boxes of one command with one argument, a ``Frame``, and no answer."""

    __slots__ = ("_head", "_key")

    def __init__(self, command: bytes, key: bytes) -> None:
        self._key = key
        parts = (b"_command", command, key)
        self._head = b"".join(len(part).to_bytes(2, "big") + part for part in parts)

    def pack(self, data: bytes) -> bytes:
        """A box, as AMP serializes it."""
        if len(data) <= _VALUE:
            return b"%b%b%b\0\0" % (self._head, len(data).to_bytes(2, "big"), data)
        parts = [self._head, b"\xff\xff", data[:_VALUE]]
        for place, start in enumerate(range(_VALUE, len(data), _VALUE), 1):
            key = b"%b.%d" % (self._key, place)
            part = data[start : start + _VALUE]
            parts += (len(key).to_bytes(2, "big"), key, len(part).to_bytes(2, "big"), part)
        return b"".join([*parts, b"\0\0"])

    def unpack(self, data: bytes, start: int, stop: int) -> bytes | None:
        """The argument of the box that stands there; None where it is another command's."""
        if not data.startswith(self._head, start):
            return None
        parts: list[bytes] = []
        at = start + len(self._head)
        while at < stop - 2:
            length = data[at] << 8 | data[at + 1]
            parts.append(data[at + 2 : at + 2 + length])
            at += 2 + length
            at += 2 + (data[at] << 8 | data[at + 1])
        return parts[0] if len(parts) == 1 else b"".join(parts)


RUN_JOBS = Box(RunJobs.commandName, b"batch")
JOBS_DONE = Box(b"JobsDone", b"done")


class BoxReader:
    """Splits what comes: of boxes of the expected kind the argument, all others as they are."""

    __slots__ = ("_box", "_parts", "_rest", "_size", "_wanted")

    def __init__(self, box: Box) -> None:
        self._box = box
        self._rest = b""
        self._parts: list[bytes] = []
        self._size = self._wanted = 0

    def feed(self, data: bytes) -> list[tuple[bool, bytes]]:
        """The whole boxes up to here, in order, and whether each is of the expected kind."""
        self._parts.append(data)
        self._size += len(data)
        if self._size < self._wanted:
            return []
        if len(self._parts) > 1:
            data = b"".join(self._parts)
        found: list[tuple[bool, bytes]] = []
        start = 0
        stop = _box_end(data, 0)
        while stop > 0:
            argument = self._box.unpack(data, start, stop)
            found.append((False, data[start:stop]) if argument is None else (True, argument))
            start = stop
            stop = _box_end(data, start)
        self._keep(data[start:], -stop)
        return found

    def _keep(self, rest: bytes, missing: int) -> None:
        self._parts = [rest] if rest else []
        self._size = len(rest)
        self._wanted = self._size + missing


def _box_end(data: bytes, start: int) -> int:
    """Where the box that begins at ``start`` ends; if it is not complete, how many bytes are
    missing at least, as a negative number or 0."""
    at, size = start, len(data)
    while at + 2 <= size:
        length = data[at] << 8 | data[at + 1]
        if not length:
            return at + 2
        at += 2 + length
        if at + 2 > size:
            break
        at += 2 + (data[at] << 8 | data[at + 1])
    return min(0, size - at - 2)


# -- reports --------------------------------------------------------------------------------------

_END = {None: pack(None), "": pack("")}
_header = msgpack.Packer().pack_array_header


def jobs_done(stop: str | None, count: int, reports: bytes) -> bytes:
    """A ``JobsDone`` box of so many packed reports, which stand one behind the other."""
    end = _END.get(stop) or pack(stop)
    return JOBS_DONE.pack(b"%b%b%b" % (_header(count + 1), end, reports))


def unpack_done(data: bytes) -> JobsDone:
    """What ``jobs_done`` packed.

    Raises:
        Malformed: it is something else.
    """
    stop, *reports = unpack_list(data) or [0]
    if not (stop is None or type(stop) is str):
        raise Malformed("a batch ends without a word, or with the reason to replace the child")
    return JobsDone(stop, _checked(reports))


def unpack_reports(count: int, reports: bytes) -> list[Done]:
    """Packed reports that stand one behind the other.

    Raises:
        Malformed: they are something else.
    """
    if count > len(reports):
        raise Malformed("a report takes more than a byte")
    return _checked(unpack_list(_header(count) + reports))


def _checked(reports: list[Any]) -> list[Done]:
    try:
        return _all_done(reports)
    except (TypeError, ValueError) as e:
        raise Malformed(f"a job's report is damaged: {e}") from None


def _all_done(reports: list[Any]) -> list[Done]:
    if not reports:
        return []
    if any(type(report) is not list or len(report) != _FIELDS for report in reports):
        raise Malformed(f"a job's report is a list of {_FIELDS} fields")
    number, began, ended, ending, body, blobs, again, signal, marked = zip(*reports, strict=True)
    integers, flags = all_of((*number, *ending, *signal), int), all_of((*again, *marked), bool)
    if not (integers and flags and all_of(body, bytes) and all_of(blobs, list)):
        raise Malformed("a field of a job's report is of a wrong type")
    if not all_of((*began, *ended), float) or not math.isfinite(sum(began) + sum(ended)):
        raise Malformed("a report's times are numbers of seconds")
    if not ENDINGS.keys() >= set(ending):
        raise Malformed("a job has ended in a way that there is not")
    for digest, size, path in chain.from_iterable(blobs):
        blob_ref([digest, size])
        Path(path)
    return named(Done, reports)


_FIELDS = len(Done._fields)
