"""What a coordinator says of jobs whose ids are still on their way to us.

It has accepted a frame, and its answer was lost with a connection: until the frame that is sent
again is answered, nobody here knows that the job's outcome and output are for us. And a job that
has ended here may be named once more, by a frame with its key: it is not delivered for that again,
if its delivery and the frame have crossed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred

from ..protocol.ids import JobId
from ..protocol.outcomes import Delivery
from .followed import Followed


class Piece(NamedTuple):
    """Output that is not taken yet."""

    stream: int
    offset: int
    data: bytes
    taken: Deferred[bool]


class Early:
    """Kept until the last frame that was on its way then has been answered.

    It is bounded by what a coordinator sends without an answer: frames of outcomes come in any
    number, but only those of frames in flight are new to us, or of jobs that have a key; output
    waits to be taken.
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
        self._keep(delivery.job, until)

    def output(
        self, job: JobId, stream: int, offset: int, data: bytes, until: int
    ) -> Deferred[bool]:
        """What a job printed; fires when that is clear."""
        piece = Piece(stream, offset, data, Deferred())
        self._output.setdefault(job, []).append(piece)
        self._keep(job, until)
        return piece.taken

    def _keep(self, job: JobId, until: int) -> None:
        self._until.pop(job, None)  # to the end: frames are numbered upwards
        self._until[job] = until

    def tell(
        self,
        jobs: Iterable[JobId],
        following: Followed,
        delivered: Callable[[Sequence[Delivery]], object],
    ) -> None:
        """These are ours. An outcome stays: another frame may name its job as well."""
        for job in jobs:
            if job not in self._until:
                continue
            pieces, delivery = self._output.pop(job, ()), self._outcomes.get(job)
            if delivery is None:
                del self._until[job]
            for stream, offset, data, taken in pieces:
                following.output(job, stream, offset, data).chainDeferred(taken)
            if delivery is not None:
                delivered([delivery])

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
        del self._until[job]
        self._outcomes.pop(job, None)
        for piece in self._output.pop(job, ()):
            piece.taken.callback(False)
