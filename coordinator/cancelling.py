"""Ends that somebody asks for: a client's cancel, a deadline, a client that is gone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..protocol.ids import JobId
from .attempts import Attempts
from .events import CancelAsked
from .kept import ByIds, Orphans
from .named import Named, look_at
from .records import JobRecord, SessionRecord
from .state import AGAIN, SLICE, State, Task, sliced
from .transitions import DELAYED, ENDED, QUEUED, SENT, STATE_NAMES


class Cancelling:
    """Ends jobs: those that wait at once, the others through their worker."""

    def __init__(self, state: State, attempts: Attempts) -> None:
        self._state = state
        self._attempts = attempts

    def cancel_asked(self, event: CancelAsked) -> None:
        """A client wants jobs ended; answers the state that each had."""
        states: dict[int, str] = {}

        def look(jobs: Named) -> None:
            for number, job in jobs:
                states[number] = "unknown" if job is None else STATE_NAMES[job.state]
                if job is not None:
                    self._cancel(job, event.queued_only)

        look_at(self._state, event, look, states)

    def _cancel(self, job: JobRecord, queued_only: bool) -> None:
        if not queued_only:
            self.ask(job, "cancelled")
        elif job.state in (QUEUED, DELAYED):
            self._attempts.end_waiting(job, "unbegun")
        elif job.state == SENT and job.why is None:
            job.why = "unbegun"
            self._state.changed[job.id] = job
            self._state.tell_retract(job)

    def ask(self, job: JobRecord, why: str) -> None:
        """Have a job end, because it was ``cancelled`` or for its ``deadline``."""
        if job.state in (QUEUED, DELAYED):
            self._attempts.end_waiting(job, why)
        elif job.state < ENDED and job.why in (None, "unbegun"):
            job.why = why
            job.note((self._state.at.wall, why, "asked for"))
            self._state.changed[job.id] = job
            self._state.tell_end(job, why)

    def deadlines(self, due: Sequence[JobId]) -> None:
        """The deadlines of these jobs have come; some may have ended before."""
        self._state.run(self._time_out(due))

    def _time_out(self, due: Sequence[JobId]) -> Task:
        for ids in sliced(due):
            if (cold := self._state.cold(ids)) and (yield ByIds(cold)) is None:
                for number in cold:
                    self._state.fall_due(self._state.at.now + AGAIN, number, 1)
            self._ask_all(ids, "deadline")
            if len(due) > SLICE:
                yield None

    def orphans(self, session: SessionRecord) -> None:
        """A session is gone, and with it the jobs that are to end with it."""
        self._state.run(self._end_orphans(session))

    def _end_orphans(self, session: SessionRecord) -> Task:
        after = JobId(0)
        while session.gone:
            found = yield Orphans(session.id, after, SLICE)
            if found is None or not session.gone:
                self._state.do_again(partial(self.orphans, session))
                return
            self._ask_all(found.ids, "cancelled")
            if len(found.ids) < SLICE:
                return
            after = found.ids[-1]

    def _ask_all(self, ids: Sequence[JobId], why: str) -> None:
        for number in ids:
            job = self._state.jobs.get(number)
            if job is not None:
                self.ask(job, why)
