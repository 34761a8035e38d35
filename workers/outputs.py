"""What running jobs print, on its way to the coordinator: in order, complete, with back-pressure.

Each job has a line of pieces. At most ``OUTPUT_IN_FLIGHT`` of them wait for their answer; those
that had none when a connection went are sent again on the next. Where it was only the answer that
was lost, their offset tells the coordinator that it has them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..protocol.commands import Output
from ..protocol.errors import Malformed, NotAllowed, TooLarge
from ..protocol.ids import JobId
from ..protocol.limits import OUTPUT_CHUNK, OUTPUT_IN_FLIGHT

if TYPE_CHECKING:
    from ..protocol.connection import Connection


class _Piece(NamedTuple):
    stream: int
    offset: int
    data: bytes
    taken: Deferred[bool] | None
    """Set on the last piece of what was printed at once."""


class _Line:
    """One job's pieces: those that wait, and those that were sent and not answered."""

    __slots__ = ("sent", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[_Piece] = deque()
        self.sent: deque[_Piece] = deque()

    def end(self) -> None:
        """Nobody listens: tell so to everybody who waits."""
        pieces = [*self.sent, *self.waiting]
        self.sent.clear()
        self.waiting.clear()
        for piece in pieces:
            if piece.taken is not None:
                piece.taken.callback(False)


class Outputs:
    """The lines of all jobs that somebody listens to."""

    def __init__(self) -> None:
        self._lines: dict[JobId, _Line] = {}
        self._connection: Connection | None = None

    def connected(self, connection: Connection) -> None:
        """Send what waits, and again what was not answered."""
        self._connection = connection
        for job, line in list(self._lines.items()):
            self._pump(job, line)

    def disconnected(self) -> None:
        """Keep everything for the next connection."""
        self._connection = None
        for line in self._lines.values():
            line.waiting.extendleft(reversed(line.sent))
            line.sent.clear()

    def forget(self) -> None:
        """Nobody will ever listen to any of it."""
        lines, self._lines = self._lines, {}
        for line in lines.values():
            line.end()

    def send(self, job: JobId, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        """Fires when the data has been taken; with False where nobody listens any more."""
        taken: Deferred[bool] = Deferred()
        line = self._lines.setdefault(job, _Line())
        starts = range(0, max(len(data), 1), OUTPUT_CHUNK)
        for start in starts:
            piece = data[start : start + OUTPUT_CHUNK]
            last = taken if start == starts[-1] else None
            line.waiting.append(_Piece(stream, offset + start, piece, last))
        self._pump(job, line)
        return taken

    def _pump(self, job: JobId, line: _Line) -> None:
        connection = self._connection
        while connection is not None and line.waiting and len(line.sent) < OUTPUT_IN_FLIGHT:
            piece = line.waiting.popleft()
            line.sent.append(piece)
            stream, offset, data, _ = piece
            connection.call(Output, job=job, stream=stream, offset=offset, data=data).addCallbacks(
                self._answered,
                self._failed,
                callbackArgs=(connection, job, line, piece),
                errbackArgs=(connection, job, line),
            )

    def _answered(
        self, answer: dict[str, Any], connection: Connection, job: JobId, line: _Line, piece: _Piece
    ) -> None:
        if connection is not self._connection or piece not in line.sent:
            return
        if not answer["wanted"]:
            self._end(job, line)
            return
        line.sent.remove(piece)
        if piece.taken is not None:
            piece.taken.callback(True)
        self._pump(job, line)
        if not line.sent and not line.waiting:
            self._lines.pop(job, None)

    def _failed(self, failure: Failure, connection: Connection, job: JobId, line: _Line) -> None:
        if connection is not self._connection:
            return
        if failure.check(Malformed, NotAllowed, TooLarge):
            self._end(job, line)
        else:
            connection.abort()  # lost already, most likely: then this does nothing

    def _end(self, job: JobId, line: _Line) -> None:
        if self._lines.get(job) is line:
            del self._lines[job]
        line.end()
