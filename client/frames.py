"""Submissions on their way: gathered in frames, kept until the coordinator has answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import TYPE_CHECKING, Protocol

from ..protocol.ids import JobId
from ..protocol.jobs import BlobRef, Payload, Submission
from ..protocol.limits import FRAME_BYTES, FRAME_JOBS, FRAMES_IN_FLIGHT
from ..protocol.outcomes import Ending

if TYPE_CHECKING:
    from .tallies import GroupTally


class Entry(Protocol):
    """Who is told about one submitted job: a ``Job``, or an item of a group."""

    id: JobId | None
    frame: Frame | None

    def was_accepted(self, job: JobId) -> None: ...

    def has_ended(self, ending: Ending, body: bytes) -> None: ...

    def has_failed(self, error: Exception) -> None: ...


class Frame:
    """Submissions of one group, or of none, and who made them, in the same order."""

    __slots__ = (
        "blobs",
        "entries",
        "in_flight",
        "sequence",
        "size",
        "submissions",
        "tally",
    )

    def __init__(self, tally: GroupTally | None) -> None:
        self.tally = tally
        self.entries: list[Entry] = []
        self.submissions: list[Submission] = []
        self.blobs: set[BlobRef] = set()
        """What must be stored before; each one is kept once in the spool for this frame."""
        self.size = 0
        self.sequence: int | None = None
        self.in_flight = False

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
    """The frames that are not answered yet, in order; the last one may still be open."""

    __slots__ = ("_closed", "_open")

    def __init__(self) -> None:
        self._open: Frame | None = None
        self._closed: deque[Frame] = deque()

    def __len__(self) -> int:
        return len(self._closed) + (self._open is not None)

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
        frame.submissions.append(Submission(spec, payload, key, place))
        frame.size += len(payload)
        if len(frame.entries) >= FRAME_JOBS or frame.size >= FRAME_BYTES:
            self.close()
        return frame

    def _begin(self, tally: GroupTally | None) -> Frame:
        self.close()
        self._open = Frame(tally)
        if tally is not None:
            tally.pending += 1
        return self._open

    def close(self) -> None:
        """Nothing more goes into the open frame."""
        if self._open is not None:
            self._closed.append(self._open)
            self._open = None

    def next_to_send(self) -> Frame | None:
        """The first frame that is not in flight, unless enough are."""
        for place, frame in enumerate(self._closed):
            if not frame.in_flight:
                return frame
            if place + 1 >= FRAMES_IN_FLIGHT:
                return None
        return None

    def land(self) -> None:
        """No answer will come to what is in flight: it is to be sent again."""
        for frame in self._closed:
            frame.in_flight = False

    def __contains__(self, frame: Frame) -> bool:
        return frame in self._closed

    def answered(self, frame: Frame) -> None:
        if self._closed and self._closed[0] is frame:
            self._closed.popleft()
        else:
            self._closed.remove(frame)

    def take_all(self) -> list[Frame]:
        """Every frame; none is left."""
        self.close()
        frames, self._closed = list(self._closed), deque()
        return frames
