"""What a coordinator says of jobs whose ids are still on their way to us.

It has accepted a frame, and its answer was lost with a connection: until the frame that is sent
again is answered, nobody here knows that the job's outcome and output are for us.
"""

from __future__ import annotations

from typing import NamedTuple

from twisted.internet.defer import Deferred

from ..protocol.ids import JobId
from ..protocol.outcomes import Delivery


class Piece(NamedTuple):
    """Output that is not taken yet."""

    stream: int
    offset: int
    data: bytes
    taken: Deferred[bool]


class Early:
    """Kept until the last frame that was on its way then has been answered.

    It is bounded by what a coordinator sends without an answer: frames of outcomes come in any
    number, but only those of frames in flight are new to us; output waits to be taken.
    """

    __slots__ = ("_outcomes", "_output", "_until")

    def __init__(self) -> None:
        self._outcomes: dict[JobId, Delivery] = {}
        self._output: dict[JobId, list[Piece]] = {}
        self._until: dict[JobId, int] = {}
        """The frame whose answer may name the job at the latest, ascending."""

    def __bool__(self) -> bool:
        return bool(self._until)

    def outcome(self, delivery: Delivery, until: int) -> None:
        """A job's end."""
        self._outcomes[delivery.job] = delivery
        self._until.setdefault(delivery.job, until)

    def output(
        self, job: JobId, stream: int, offset: int, data: bytes, until: int
    ) -> Deferred[bool]:
        """What a job printed; fires when that is clear."""
        piece = Piece(stream, offset, data, Deferred())
        self._output.setdefault(job, []).append(piece)
        self._until.setdefault(job, until)
        return piece.taken

    def take(self, job: JobId) -> tuple[list[Piece], Delivery | None]:
        """The job is one of ours."""
        if job not in self._until:
            return [], None
        del self._until[job]
        return self._output.pop(job, []), self._outcomes.pop(job, None)

    def answered(self, oldest: int) -> None:
        """All frames before this one are answered: what they did not name is not for us."""
        while self._until:
            job, until = next(iter(self._until.items()))
            if until >= oldest:
                return
            self._drop(job)

    def disconnected(self) -> None:
        """Output that was not taken is sent again, over the next connection."""
        for job in [*self._output]:
            for piece in self._output.pop(job):
                piece.taken.callback(False)
            if job not in self._outcomes:
                del self._until[job]

    def clear(self) -> None:
        for job in [*self._until]:
            self._drop(job)

    def _drop(self, job: JobId) -> None:
        pieces, _ = self.take(job)
        for piece in pieces:
            piece.taken.callback(False)
