"""The file that an agent and one child share: what the child has not told yet, and what was read.

A child reports the jobs of a batch together, in one write. Until then their reports stand in this
file, which is memory to both and outlives the child: the agent reads it when a job takes long,
when it has to know which job runs, and when the child has died. So a report costs neither of them
a call of the system, and none is lost.

The agent in turn says here how much it has read from the child's output streams. The pipe tells
the rest, so that the child knows whether a job has printed, see ``stage.Streams``.

    place   what
    0       number of the job that began last; CLOCK_MONOTONIC of that
    16      how often reports were sent; their number here; their bytes here
    40      reads of output that were begun
    48      reads that were done; bytes that they gave, of stdout and of stderr
    128     reports, packed, one behind the other
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import tempfile
from typing import NamedTuple

SIZE = 128 * 1024
_REPORTS = 128
_ROOM = SIZE - _REPORTS
_BEGUN = struct.Struct("=Qd")
_UNSENT = struct.Struct("=QQQ")
_UNSENT_AT = 16
_READING_AT = 40
_READ_AT = 48
_COUNT = struct.Struct("=Q")
_TOTAL_AT = 56
_TOTAL = struct.Struct("=QQ")
_READING, _READ, _OUT, _ERR = range(_READING_AT // 8, _READING_AT // 8 + 4)
_TRIES = 100


class Journal:
    """The child's side."""

    __slots__ = ("_count", "_map", "_sent", "_used", "_words")

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, SIZE)
        self._words = memoryview(self._map)[:_REPORTS].cast("Q")
        self._count = self._used = self._sent = 0

    def begin(self, number: int, now: float) -> None:
        """Job ``number`` begins."""
        _BEGUN.pack_into(self._map, 0, number, now)

    def add(self, report: bytes) -> int:
        """Keep a packed report, to be sent later; how many wait then, 0 where it has no room."""
        start = _REPORTS + self._used
        stop = start + len(report)
        if stop > SIZE:
            return 0
        self._map[start:stop] = report
        self._count += 1
        self._used += len(report)
        _UNSENT.pack_into(self._map, _UNSENT_AT, self._sent, self._count, self._used)
        return self._count

    def unsent(self) -> tuple[int, bytes]:
        """How many reports are here, and their bytes."""
        return self._count, self._map[_REPORTS : _REPORTS + self._used]

    def sent(self) -> None:
        """All of them are on their way."""
        self._count = self._used = 0
        self._sent += 1
        _UNSENT.pack_into(self._map, _UNSENT_AT, self._sent, 0, 0)

    def reads(self) -> int:
        """How many reads of output were begun."""
        return self._words[_READING]

    def read(self) -> tuple[int, int, int]:
        """How many reads are done, and what they gave of either stream."""
        words = self._words
        return words[_READ], words[_OUT], words[_ERR]


class Unsent(NamedTuple):
    """What the agent finds."""

    begun: int
    began: float
    number: int
    reports: bytes


class SharedFile:
    """The agent's side. It reads and writes as with any file: a child that shortens it, or writes
    nonsense, harms itself alone."""

    __slots__ = ("_reads", "_total", "descriptor")

    def __init__(self) -> None:
        self.descriptor = _anonymous_file()
        os.ftruncate(self.descriptor, SIZE)
        self._reads = 0
        self._total = [0, 0]

    def unsent(self) -> Unsent | None:
        """What the child has not sent; None where it changes all the time, or makes no sense."""
        for _ in range(_TRIES):
            data = os.pread(self.descriptor, _REPORTS, 0)
            if len(data) < _REPORTS:
                return None
            begun, began = _BEGUN.unpack_from(data)
            sent, count, used = _UNSENT.unpack_from(data, _UNSENT_AT)
            if not count:
                return Unsent(begun, began, 0, b"")
            reports = os.pread(self.descriptor, min(used, _ROOM), _REPORTS)
            if _COUNT.unpack(os.pread(self.descriptor, 8, _UNSENT_AT))[0] == sent:
                return Unsent(begun, began, count, reports)
        return None

    def read_output(self, stream: int, descriptor: int, size: int) -> bytes:
        """Read from an output stream (1 or 2) of the child, and tell it so.

        Raises:
            OSError: as ``os.read``.
        """
        self._reads += 1
        os.pwrite(self.descriptor, _COUNT.pack(self._reads), _READING_AT)
        data = b""
        try:
            data = os.read(descriptor, size)
        finally:
            self._total[stream - 1] += len(data)
            with contextlib.suppress(OSError):
                os.pwrite(self.descriptor, _TOTAL.pack(*self._total), _TOTAL_AT)
                os.pwrite(self.descriptor, _COUNT.pack(self._reads), _READ_AT)
        return data

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)


def _anonymous_file() -> int:
    try:
        return os.memfd_create("ampacity", os.MFD_CLOEXEC)
    except AttributeError:  # only Linux has it
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
