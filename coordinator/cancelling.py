"""Ends that somebody asks for: a client's cancel, a deadline, a client that is gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..protocol.ids import JobId
from .attempts import Attempts
from .effects import Answer
from .events import CancelAsked
from .records import JobRecord
from .state import SLICE, State
from .transitions import ENDED, QUEUED, SENT, STATE_NAMES


class Cancelling:
    """Ends jobs: those that wait at once, the others through their worker."""

    def __init__(self, state: State, attempts: Attempts) -> None:
        self._state = state
        self._attempts = attempts

    def cancel_asked(self, event: CancelAsked) -> None:
        """A client wants jobs ended; answers the state that each had."""
        self._state.run(self._cancel_all(event))

    def _cancel_all(self, event: CancelAsked) -> Iterator[None]:
        states: dict[int, str] = {}
        for place, number in enumerate(event.jobs, 1):
            job = self._state.jobs.get(number)
            if job is None or job.client.id != event.client:
                states[number] = "unknown"
            else:
                states[number] = STATE_NAMES[job.state]
                self._cancel(job, event.queued_only)
            if place % SLICE == 0:
                yield
        self._state.tells.append(Answer(event.ask, states))

    def _cancel(self, job: JobRecord, queued_only: bool) -> None:
        if not queued_only:
            self.ask(job, "cancelled")
        elif job.state == QUEUED:
            self._attempts.end_waiting(job, "unbegun")
        elif job.state == SENT and job.why is None:
            job.why = "unbegun"
            self._state.tell_retract(job)

    def ask(self, job: JobRecord, why: str) -> None:
        """Have a job end, because it was ``cancelled`` or for its ``deadline``."""
        if job.state == QUEUED:
            self._attempts.end_waiting(job, why)
        elif job.state < ENDED and job.why in (None, "unbegun"):
            job.why = why
            job.note((self._state.at.wall, why, "asked for"))
            self._state.tell_end(job, why)

    def deadlines(self, due: list[JobId]) -> None:
        """The deadlines of these jobs have come."""
        self._state.run(self._ask_all(due, "deadline"))

    def orphans(self, jobs: Iterable[JobId]) -> None:
        """The client of these jobs is gone."""
        self._state.run(self._ask_all(jobs, "cancelled"))

    def _ask_all(self, jobs: Iterable[JobId], why: str) -> Iterator[None]:
        for place, number in enumerate(jobs, 1):
            job = self._state.jobs.get(number)
            if job is not None:
                if why == "deadline":
                    job.due = None
                self.ask(job, why)
            if place % SLICE == 0:
                yield
