"""Submissions on their way: gathered in frames, kept until the coordinator has answered."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Protocol

from ..protocol.ids import JobId
from ..protocol.jobs import BlobRef, Payload, Submission
from ..protocol.limits import FRAME_BYTES, FRAME_JOBS, FRAMES_IN_FLIGHT
from ..protocol.outcomes import Ending

if TYPE_CHECKING:
    from .tallies import GroupTally


NUMBERS_AHEAD = 512
"""Frames that are sent beyond one without an answer. (A coordinator remembers twice as many.)"""


Record = tuple[bytes, Payload, str | None, int | None]
"""A ``Submission`` as a plain tuple: the garbage collector looks at those once, and never again."""

_new = tuple.__new__  # makes a named tuple in half the time


class Entry(Protocol):
    """Who is told about one submitted job: a ``Job``, or an item of a group."""

    id: JobId | None
    frame: Frame | None

    def was_accepted(self, job: JobId) -> None: ...

    def has_ended(self, ending: Ending, body: bytes) -> Callable[[], None] | None:
        """Returns what tells who waits: to be called when all is known that came together."""

    def has_failed(self, error: Exception) -> None: ...


class Frame:
    """Submissions of one group, or of none, and who made them, in the same order."""

    __slots__ = (
        "blobs",
        "done",
        "entries",
        "keyed",
        "order",
        "refused",
        "resent",
        "sequence",
        "size",
        "submissions",
        "tally",
    )

    def __init__(self, tally: GroupTally | None, order: int = 0) -> None:
        self.tally = tally
        self.order = order
        self.entries: list[Entry] = []
        self.submissions: list[Record] = []
        self.blobs: set[BlobRef] = set()
        """What must be stored before; each one is kept once in the spool for this frame."""
        self.keyed = False
        """Whether one of them has a key."""
        self.size = 0
        self.sequence: int | None = None
        """Once sent, it keeps its number, and all that went under it: either may have arrived."""
        self.refused = False
        """The last answer was that there is no room now."""
        self.resent = False
        """A connection went while it had no answer."""
        self.done = False

    def as_sent(self) -> list[Submission]:
        """The submissions."""
        return [_new(Submission, record) for record in self.submissions]

    def drop(self, unwanted: Container[Entry]) -> list[Entry]:
        """Leave out, and return, what was cancelled before the frame was sent."""
        dropped = [entry for entry in self.entries if entry in unwanted]
        if dropped:
            kept = [
                (entry, submission)
                for entry, submission in zip(self.entries, self.submissions, strict=True)
                if entry not in unwanted
            ]
            self.entries = [entry for entry, _ in kept]
            self.submissions = [submission for _, submission in kept]
        return dropped


class Frames:
    """The frames that are not answered yet, in order; the last one may still be open.

    One is waiting to be sent, in flight, or held: a map's, while the coordinator has no room.
    """

    __slots__ = (
        "_count",
        "_flying",
        "_held",
        "_most",
        "_next",
        "_numbered",
        "_open",
        "_waiting",
        "_whole",
    )

    def __init__(self) -> None:
        self._open: Frame | None = None
        self._waiting: deque[Frame] = deque()
        self._held: deque[Frame] = deque()
        self._flying: set[Frame] = set()
        self._numbered: dict[int, Frame] = {}
        self._next: int | None = None
        self._count = 0
        self._most = FRAME_JOBS
        self._whole = False

    def fit(self, coordinator: object) -> None:
        """Frames are for this one from here on. One that takes large frames is elsewhere."""
        self._most = getattr(coordinator, "frame_jobs", FRAME_JOBS)
        self._whole = self._most > FRAME_JOBS

    @property
    def due(self) -> bool:
        """Whether the last one is full, and is sent while the program submits more: others can
        begin with it meanwhile. A program of which this is never true has all that it cancels
        within a turn left out."""
        return self._whole and self._open is None

    def __len__(self) -> int:
        closed = len(self._waiting) + len(self._held) + len(self._flying)
        return closed + (self._open is not None)

    def add(
        self,
        entry: Entry,
        spec: bytes,
        payload: Payload,
        key: str | None = None,
        tally: GroupTally | None = None,
        place: int | None = None,
    ) -> Frame:
        """Put a submission in the open frame, or in a new one."""
        frame = self._open
        if frame is None or frame.tally is not tally:
            frame = self._begin(tally)
        entry.frame = frame
        frame.entries.append(entry)
        frame.submissions.append((spec, payload, key, place))
        if key is not None:
            frame.keyed = True
        frame.size += len(payload)
        if len(frame.entries) >= self._most or frame.size >= FRAME_BYTES:
            self.close()
        return frame

    def _begin(self, tally: GroupTally | None) -> Frame:
        self.close()
        self._count += 1
        self._open = Frame(tally, self._count)
        if tally is not None:
            tally.pending += 1
        return self._open

    @property
    def flying(self) -> int:
        """How many are in flight."""
        return len(self._flying)

    def close(self) -> None:
        """Nothing more goes into the open frame."""
        if self._open is not None:
            self._waiting.append(self._open)
            self._open = None

    # -- numbers ----------------------------------------------------------------------------------

    @property
    def oldest(self) -> int | None:
        """The lowest number without an answer; None before a number is known."""
        return next(iter(self._numbered), self._next)

    def number_from(self, first: int) -> None:
        """What is sent from here on counts from this number."""
        self._next = first
        self._numbered.clear()

    @property
    def last(self) -> int:
        """The highest number that was given."""
        return 0 if self._next is None else self._next - 1

    def _give_number(self, frame: Frame) -> int:
        assert self._next is not None
        frame.sequence = self._next
        self._numbered[self._next] = frame
        self._next += 1
        return frame.sequence

    # -- sending ----------------------------------------------------------------------------------

    def first(self, full: bool) -> Frame | None:
        """The next one to be sent, unless enough are in flight; of maps none, if it is full."""
        if len(self._flying) >= FRAMES_IN_FLIGHT:
            return None
        while self._waiting:
            frame = self._waiting[0]
            if not full or frame.tally is None:
                return frame if self._may_have_number(frame) else None
            self._held.append(self._waiting.popleft())
        return None

    def _may_have_number(self, frame: Frame) -> bool:
        """A coordinator remembers so many numbers beyond one that it has not accepted."""
        oldest = self.oldest
        if frame.sequence is not None or oldest is None or self._next is None:
            return True
        return self._next - oldest < NUMBERS_AHEAD

    def first_held(self) -> Frame | None:
        """What has waited longest for room."""
        if not self._held or len(self._flying) >= FRAMES_IN_FLIGHT:
            return None
        return self._held[0]

    def sent(self, frame: Frame) -> int:
        """It is in flight now, under the number that is returned."""
        self._take_out(frame)
        self._flying.add(frame)
        frame.refused = False
        return self._give_number(frame) if frame.sequence is None else frame.sequence

    def again(self, frame: Frame) -> None:
        """It is to be sent once more, before all others."""
        self._take_out(frame)
        self._waiting.appendleft(frame)

    def hold(self, frame: Frame) -> None:
        """There is no room for it now."""
        self._take_out(frame)
        frame.refused = True
        if self._held and frame.order < self._held[0].order:
            self._held.appendleft(frame)
        else:
            self._held.append(frame)

    def let_go(self) -> None:
        """There is room again for what is held."""
        if self._held:
            self._waiting = deque(sorted((*self._held, *self._waiting), key=_order))
            self._held.clear()

    def land(self) -> None:
        """No answer will come to what is in flight: it is to be sent again."""
        frames = (*self._flying, *self._held, *self._waiting)
        self._waiting = deque(sorted(frames, key=_order))
        for frame in frames:
            frame.resent = frame.sequence is not None
        self._held.clear()
        self._flying.clear()

    def answered(self, frame: Frame) -> None:
        """It has its answer, or needs none."""
        self._take_out(frame)
        frame.done = True
        if frame.sequence is not None:
            self._numbered.pop(frame.sequence, None)

    def _take_out(self, frame: Frame) -> None:
        if frame in self._flying:
            self._flying.remove(frame)
            return
        for frames in (self._waiting, self._held):
            if frames and frames[0] is frame:
                frames.popleft()
                return
        for frames in (self._waiting, self._held):  # one before it is sent again
            with contextlib.suppress(ValueError):
                frames.remove(frame)

    def take_all(self) -> list[Frame]:
        """Every frame; none is left."""
        self.close()
        self.land()
        frames, self._waiting = list(self._waiting), deque()
        for frame in frames:
            frame.done = True
        self._numbered.clear()
        return frames


def _order(frame: Frame) -> int:
    return frame.order
