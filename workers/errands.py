"""What the agent and a child say to each other, over AMP on the child's pipes.

A child's reactor is blocked while it runs a batch, so ``JobDone`` boxes are packed by hand and
written straight to the pipe; the agent's side reads them by the same hand. All else is stock AMP.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from twisted.protocols import amp

from ..protocol.errors import Malformed
from ..protocol.fields import Frame, Packed
from ..protocol.packing import pack, unpack_list

STDIN, STDOUT, STDERR, TO_CHILD, FROM_CHILD, PERMITS = range(6)
"""The file descriptors of a child."""

STALE = "stale"
"""A child's answer where a module of the job's folder has changed."""

NONCE_SIZE = 16
MARKER_SIZE = NONCE_SIZE + 8


class Prepare(amp.Command):
    """The first call: ``{nonce, setup, folder}``. The answer comes when the child may be used:
    ``{python, software, pid}``, or ``{error: text}`` where the set-up function failed."""

    arguments: ClassVar = [(b"details", Packed())]
    response: ClassVar = [(b"answer", Packed())]


class RunJobs(amp.Command):
    """Run a batch: ``[context, specs, jobs]``, see ``pack_batch``. Answered at the end of the
    batch, which is reached, too, when there are no permits left.

    ``stop``: empty, or why this child shall be replaced: ``stale`` (nothing of the batch was
    begun) or a sentence.
    """

    arguments: ClassVar = [(b"batch", Frame())]
    response: ClassVar = [(b"stop", amp.Unicode())]


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


def pack_batch(context: Any, specs: list[Any], jobs: list[Any]) -> bytes:
    """A batch.

    ``context`` is ``[client, folder, cwd, path, ships]`` (see ``child``), ``specs`` are
    ``[spec, path of the function by value]``, jobs ``[job, term, number, spec's number, payload,
    path of the payload]``.
    """
    return pack((context, specs, jobs))


def marker(nonce: bytes, number: int) -> bytes:
    """What a child writes to both output streams at the end of its job ``number``."""
    return nonce + number.to_bytes(8, "big")


_HEAD = b"\0\x08_command\0\x07JobDone\0\x04done"
_KEY = b"\0\x04done"
_VALUE = 0xFFFF


def job_done(done: Done | tuple[Any, ...]) -> bytes:
    """A ``JobDone`` box. Its value spans several keys where it is long, as a ``Frame`` does."""
    data = pack(done)
    if len(data) <= _VALUE:
        return b"%b%b%b\0\0" % (_HEAD, len(data).to_bytes(2, "big"), data)
    parts = [_HEAD, b"\xff\xff", data[:_VALUE]]
    for place, start in enumerate(range(_VALUE, len(data), _VALUE), 1):
        key = b"done.%d" % place
        part = data[start : start + _VALUE]
        parts += (len(key).to_bytes(2, "big"), key, len(part).to_bytes(2, "big"), part)
    return b"".join([*parts, b"\0\0"])


class BoxReader:
    """Splits what a child sends: ``JobDone`` boxes are unpacked, all others handed on as bytes."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Done | bytes]:
        """The whole boxes up to here, in order.

        Raises:
            Malformed: a ``JobDone`` box is damaged.
        """
        if self._rest:
            data = self._rest + data
        found: list[Done | bytes] = []
        start = 0
        while (stop := _box_end(data, start)) > 0:
            found.append(_box(data, start, stop))
            start = stop
        self._rest = data[start:]
        return found


def _box_end(data: bytes, start: int) -> int:
    """Where the box that begins at ``start`` ends; 0 if it is not complete."""
    at, size = start, len(data)
    while at + 2 <= size:
        length = data[at] << 8 | data[at + 1]
        if not length:
            return at + 2
        at += 2 + length
        if at + 2 > size:
            return 0
        at += 2 + (data[at] << 8 | data[at + 1])
    return 0


def _box(data: bytes, start: int, stop: int) -> Done | bytes:
    if not data.startswith(_HEAD, start):
        return data[start:stop]
    parts: list[bytes] = []
    at = start + len(_HEAD)
    while at < stop - 2:
        length = data[at] << 8 | data[at + 1]
        parts.append(data[at + 2 : at + 2 + length])
        at += 2 + length
        at += 2 + (data[at] << 8 | data[at + 1])
    values = unpack_list(parts[0] if len(parts) == 1 else b"".join(parts))
    if len(values) < len(Done._fields):
        raise Malformed(f"a job's report has {len(Done._fields)} fields, this one {len(values)}")
    return Done(*values[: len(Done._fields)])
