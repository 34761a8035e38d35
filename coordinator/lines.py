"""Output on its way to sessions: one line for each session and job that it listens to."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred

from ..protocol.ids import Attempt, JobId, SessionId
from ..protocol.outcomes import JobLog


class Piece:
    """Bytes that a session shall take, by their offset in what it was told of that stream."""

    __slots__ = ("data", "offset", "stream", "taken")

    def __init__(self, stream: int, offset: int, data: bytes) -> None:
        self.stream = stream
        self.offset = offset
        self.data = data
        self.taken: Deferred[bool] = Deferred()
        """Fires with whether it was taken; never fails."""


class Line:
    """What one session was told of one job, and the pieces that it has not taken."""

    __slots__ = ("_attempt", "_heard", "_told", "pieces")

    def __init__(self) -> None:
        self.pieces: deque[Piece] = deque()
        self._attempt: Attempt | None = None
        self._heard = [0, 0, 0]
        """Bytes that came of the attempt, by stream (1 or 2)."""
        self._told = [0, 0, 0]
        """Bytes that were told of the job, by stream."""

    def begin(self, attempt: Attempt, log: JobLog) -> None:
        """The session has this log of the attempt: what is in it is not told again."""
        self._turn_to(attempt)
        for stream, kept in enumerate(log, 1):
            printed = len(kept.head) + kept.gap + len(kept.tail)
            self._heard[stream] = max(self._heard[stream], printed)

    def add(self, attempt: Attempt, stream: int, offset: int, data: bytes) -> Piece | None:
        """What an attempt has printed; None where the session was told before."""
        self._turn_to(attempt)
        heard = self._heard[stream]
        if offset < heard:
            data = data[heard - offset :]
            if not data:
                return None
            offset = heard
        self._heard[stream] = offset + len(data)
        return self.tell(stream, data)

    def _turn_to(self, attempt: Attempt) -> None:
        if attempt != self._attempt:
            self._attempt = attempt
            self._heard = [0, 0, 0]

    def tell(self, stream: int, data: bytes) -> Piece:
        """The next piece for the session."""
        piece = Piece(stream, self._told[stream], data)
        self._told[stream] += len(data)
        self.pieces.append(piece)
        return piece

    def taken(self, piece: Piece) -> bool:
        """The session has this one; False where that was known."""
        if piece not in self.pieces:
            return False
        self.pieces.remove(piece)
        piece.taken.callback(True)
        return True

    def end(self) -> bool:
        """The session takes no more; whether anything waited."""
        pieces, self.pieces = self.pieces, deque()
        for piece in pieces:
            piece.taken.callback(False)
        return bool(pieces)


class Lines:
    """The lines of all sessions. One is kept as long as its job may print or pieces wait."""

    __slots__ = ("_by_session",)

    def __init__(self) -> None:
        self._by_session: dict[SessionId, dict[JobId, Line]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_session)

    def of(self, session: SessionId, job: JobId) -> Line:
        """The line of a session and a job, made when it is first asked for."""
        return self._by_session.setdefault(session, {}).setdefault(job, Line())

    def of_session(self, session: SessionId) -> list[tuple[JobId, Line]]:
        """All lines of a session, by job."""
        return list(self._by_session.get(session, {}).items())

    def count(self, session: SessionId) -> int:
        """How many lines a session has."""
        return len(self._by_session.get(session, ()))

    def waits(self, session: SessionId, job: JobId) -> bool:
        """Whether pieces wait for the session."""
        line = self._by_session.get(session, {}).get(job)
        return line is not None and bool(line.pieces)

    def drop(self, session: SessionId, job: JobId) -> None:
        """Nothing will come on this line."""
        lines = self._by_session.get(session, {})
        lines.pop(job, None)
        if not lines:
            self._by_session.pop(session, None)

    def end(self, session: SessionId, job: JobId, keep: bool) -> bool:
        """The session wants no more of a job; ``keep``: the job may print, and it may come back.

        Whether anything waited.
        """
        line = self._by_session.get(session, {}).get(job)
        if not keep:
            self.drop(session, job)
        return line is not None and line.end()

    def job_ended(self, job: JobId) -> None:
        """A job prints no more: its lines go, except for those with pieces."""
        for session in list(self._by_session):
            line = self._by_session[session].get(job)
            if line is not None and not line.pieces:
                self.drop(session, job)
