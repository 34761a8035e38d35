"""The reports that nobody has recorded yet: the first ones in memory, what exceeds that in files.

A coordinator may be gone for long. Reports leave in the order in which they came, whether they
were in a file meanwhile or not, and with the same bytes. Files are written and read in a thread,
in segments of some megabytes; who handed a report over is told as soon as it is in one, for then
this side takes care of it.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.errors import Damaged
from ..protocol.outcomes import Report, pack_reports, unpack_reports
from ..protocol.ports import Holding

if TYPE_CHECKING:
    from ..protocol.transfers import DeferToThread

MEMORY_BYTES: Final = 64 * 1024**2
SEGMENT_BYTES: Final = 4 * 1024**2
_RECORD_BYTES = 80


class Recorded:
    """Fires when all reports that were handed over at once are recorded."""

    __slots__ = ("done", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.done: Deferred[None] = Deferred()

    def one(self) -> None:
        """One of them is, or will never be wanted."""
        self.left -= 1
        if self.left == 0:
            self.done.callback(None)


_TOLD = Recorded(0)
"""For reports from a file: who handed them over was told; this one never fires."""

Kept = tuple[Report, Recorded]


def size_of(report: Report) -> int:
    """The bytes of a report in a frame, nearly."""
    return _RECORD_BYTES + len(report.body) + len(report.log)


def holding_of(report: Report) -> Holding:
    """The attempt that it is about."""
    return Holding(report.job, report.attempt)


@attrs.define(eq=False)
class _Segment:
    """Some consecutive reports: in memory until they are in the file, or where it took none."""

    path: Path
    kept: list[Kept]
    holdings: list[Holding]
    written: int = 0
    """Bytes in the file; 0: it is not written yet."""
    failed: bool = False
    unwanted: set[Holding] = attrs.field(factory=set)


class Backlog:
    """Reports, first in, first out; ``on_change`` is called when files came or went."""

    _log = Logger()

    def __init__(
        self, folder: Path, defer_to_thread: DeferToThread, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self._folder = folder
        self._defer_to_thread = defer_to_thread
        self._memory_bytes = memory_bytes
        self._segment_bytes = min(SEGMENT_BYTES, memory_bytes)
        self._front: deque[Kept] = deque()
        self._front_bytes = 0
        self._segments: deque[_Segment] = deque()
        self._back: list[Kept] = []
        self._back_bytes = 0
        self._number = 0
        self._reading = False
        self.on_change: Callable[[], None] = lambda: None

    def __bool__(self) -> bool:
        return bool(self._front or self._segments or self._back)

    def __len__(self) -> int:
        """How many there are: those that can be had at once, and the others."""
        behind = sum(len(segment.holdings) for segment in self._segments)
        return len(self._front) + behind + len(self._back)

    @property
    def ready(self) -> int:
        """How many can be had at once."""
        return len(self._front)

    @property
    def spooled(self) -> int:
        """Bytes in files."""
        return sum(segment.written for segment in self._segments)

    @property
    def failed(self) -> bool:
        """Whether a file could not be written: the reports stay in memory, and it is full."""
        return any(segment.failed for segment in self._segments)

    def holdings(self) -> list[Holding]:
        """The attempts that they are about, in order."""
        spooled = [
            holding
            for segment in self._segments
            for holding in segment.holdings
            if holding not in segment.unwanted
        ]
        front, back = ([holding_of(r) for r, _ in part] for part in (self._front, self._back))
        return [*front, *spooled, *back]

    # -- in and out -------------------------------------------------------------------------------

    def add(self, kept: Kept) -> None:
        """Queue one."""
        size = size_of(kept[0])
        room = self._front_bytes + size <= self._memory_bytes
        if not self._segments and not self._back and (room or not self._front):
            self._front.append(kept)
            self._front_bytes += size
            return
        self._back.append(kept)
        self._back_bytes += size
        if self._back_bytes >= self._segment_bytes:
            self._spool()

    def add_all(self, reports: Sequence[Report], recorded: Recorded) -> None:
        """Queue these, which were handed over at once."""
        size = sum(map(size_of, reports))
        if self._segments or self._back or self._front_bytes + size > self._memory_bytes:
            for report in reports:
                self.add((report, recorded))
        else:
            self._front.extend(zip(reports, repeat(recorded)))
            self._front_bytes += size

    def put_back(self, frame: Collection[Kept]) -> None:
        """Queue these, which were taken, before all others."""
        self._front.extendleft(reversed(list(frame)))
        self._front_bytes += sum(size_of(report) for report, _ in frame)

    def take(self, most: int, most_bytes: int) -> list[Kept]:
        """The first ones, until there are so many or so many bytes; none, where the first is
        still to be read from its file."""
        if not self._front:
            self._refill()
        front, size = self._front, 0
        taken: list[Kept] = []
        while front and len(taken) < most and size < most_bytes:
            kept = front.popleft()
            size += size_of(kept[0])
            taken.append(kept)
        self._front_bytes -= size
        if not front and self._segments:
            self._refill()
        return taken

    def drop(self, unwanted: Collection[Holding]) -> None:
        """Forget these."""
        self._set_front([kept for kept in self._front if _wanted(kept, unwanted)])
        self._back = [kept for kept in self._back if _wanted(kept, unwanted)]
        self._back_bytes = sum(size_of(report) for report, _ in self._back)
        for segment in self._segments:
            segment.unwanted.update(unwanted)

    def forget(self) -> None:
        """Forget all."""
        kept = [*self._front, *(k for s in self._segments for k in s.kept), *self._back]
        self._set_front([])
        segments, self._segments = self._segments, deque()
        self._back, self._back_bytes = [], 0
        for _, recorded in kept:
            recorded.one()
        for segment in segments:
            segment.kept = []
            if segment.written:
                self._remove(segment)
        if segments:
            self.on_change()

    def _set_front(self, kept: list[Kept]) -> None:
        self._front = deque(kept)
        self._front_bytes = sum(size_of(report) for report, _ in kept)

    def _refill(self) -> None:
        """Have the next ones in front, at once or when they are read."""
        if self._reading:
            return
        if not self._segments:
            back, self._back, self._back_bytes = self._back, [], 0
            self._set_front(back)
        elif self._segments[0].written:
            self._read(self._segments[0])
        elif self._segments[0].failed:
            self._bring_to_front(self._segments[0], self._segments[0].kept)

    def _bring_to_front(self, segment: _Segment, kept: list[Kept]) -> None:
        self._segments.popleft()
        wanted = [one for one in kept if _wanted(one, segment.unwanted)]
        self._set_front([*self._front, *wanted])
        self.on_change()

    # -- files ------------------------------------------------------------------------------------

    def _spool(self) -> None:
        kept, self._back, self._back_bytes = self._back, [], 0
        self._number += 1
        path = self._folder / f"{self._number:08}"
        segment = _Segment(path, kept, [holding_of(report) for report, _ in kept])
        self._segments.append(segment)
        written = self._defer_to_thread(_write, path, [report for report, _ in kept])
        written.addCallbacks(self._written, self._not_written, (segment,), {}, (segment,))

    def _written(self, size: int, segment: _Segment) -> None:
        segment.written = size
        if segment not in self._segments:  # all was forgotten meanwhile
            self._remove(segment)
            return
        kept, segment.kept = segment.kept, []
        for _, recorded in kept:
            recorded.one()
        self.on_change()

    def _not_written(self, failure: Failure, segment: _Segment) -> None:
        self._log.error(
            "{n} reports cannot be put aside and stay in memory: {why}",
            n=len(segment.kept),
            why=str(failure.value),
        )
        segment.failed = True
        self.on_change()

    def _read(self, segment: _Segment) -> None:
        self._reading = True
        read = self._defer_to_thread(_read, segment.path)
        read.addCallbacks(self._read_in, self._not_read, (segment,), {}, (segment,))

    def _read_in(self, reports: list[Report], segment: _Segment) -> None:
        self._reading = False
        if self._segments and self._segments[0] is segment:
            self._remove(segment)
            self._bring_to_front(segment, [(report, _TOLD) for report in reports])

    def _not_read(self, failure: Failure, segment: _Segment) -> None:
        """The coordinator will miss these attempts, and count them as lost."""
        lost = len(segment.holdings)
        self._log.failure("{n} reports are lost: their file is damaged", failure, n=lost)
        self._read_in([], segment)

    def _remove(self, segment: _Segment) -> None:
        self._defer_to_thread(segment.path.unlink, True).addErrback(lambda _: None)


def _wanted(kept: Kept, unwanted: Collection[Holding]) -> bool:
    if holding_of(kept[0]) not in unwanted:
        return True
    kept[1].one()
    return False


def _write(path: Path, reports: list[Report]) -> int:
    """Blocking: write a file; its size."""
    data = pack_reports(reports)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        path.write_bytes(zlib.crc32(data).to_bytes(4, "big") + data)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return len(data) + 4


def _read(path: Path) -> list[Report]:
    """Blocking: what ``_write`` wrote. Raises Damaged, Malformed: it is something else."""
    data = path.read_bytes()
    if zlib.crc32(data[4:]).to_bytes(4, "big") != data[:4]:
        raise Damaged(f"{path} does not fit its checksum")
    return unpack_reports(data[4:])
