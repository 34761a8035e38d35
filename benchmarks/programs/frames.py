"""A client that speaks the protocol itself: frames of jobs, and nothing kept of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.protocols import amp

from ...protocol import commands
from ...protocol.connection import Connection
from ...protocol.dialing import dial
from ...protocol.ids import SessionId
from ...protocol.jobs import Submission, pack_submissions
from ...protocol.limits import FRAMES_IN_FLIGHT


class Ears(amp.CommandLocator):
    """Takes whatever comes."""

    @commands.Delivered.responder
    def delivered(self, outcomes: bytes) -> dict[str, Any]:
        return {}

    @commands.Output.responder
    def output(self, job: int, stream: int, offset: int, data: bytes) -> dict[str, Any]:
        return {"wanted": False}


class Frames:
    """A session over one connection."""

    def __init__(self, connection: Connection, sequence: int) -> None:
        self.connection = connection
        self._sequence = sequence
        self._room = DeferredSemaphore(FRAMES_IN_FLIGHT)

    @classmethod
    async def open(cls, reactor: Any, address: str) -> Frames:
        greeted = await dial(reactor, address, "client", None, Ears())
        session = SessionId(os.urandom(16))
        opened = await greeted.connection.call(commands.OpenSession, session=session)
        return cls(greeted.connection, opened["next_sequence"])

    async def submit(self, submissions: Sequence[Submission]) -> list[list[int]]:
        """Runs of the jobs' ids, ``[first, count]``, once they are accepted."""
        frame, sequence = pack_submissions(submissions), self._sequence
        self._sequence += 1
        answer = await self.connection.call(
            commands.Submit, sequence=sequence, group=None, jobs=frame
        )
        assert not answer["missing"]
        ids: list[list[int]] = answer["ids"]
        return ids

    async def room(self) -> None:
        """Wait until another frame may be sent."""
        await self._room.acquire()

    def in_flight(self, submissions: Sequence[Submission]) -> Deferred[list[list[int]]]:
        """The same as ``submit``, after ``room``."""
        sent = Deferred.fromCoroutine(self.submit(submissions))
        return sent.addBoth(self._answered)

    def _answered(self, result: Any) -> Any:
        self._room.release()
        return result

    async def query(self, question: str, **details: Any) -> Any:
        answer = await self.connection.call(commands.Query, question=question, details=details)
        return answer["answer"]

    async def cancel(self, jobs: Sequence[int]) -> None:
        await self.connection.call(commands.Cancel, jobs=list(jobs), queued_only=False)
