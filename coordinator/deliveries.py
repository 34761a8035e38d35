"""Who is owed an outcome: sessions, their coming and going, and who watches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from ..protocol.errors import NotAllowed
from ..protocol.ids import JobId
from .effects import Answer, Opened, SessionForgotten, Silent
from .events import Acknowledged, SessionLeft, SessionOpened, WatchAsked
from .records import JobRecord, SessionRecord
from .retention import Retention
from .state import SLICE, State
from .transitions import ENDED


class Deliveries:
    """Sessions and what they have not acknowledged."""

    def __init__(self, state: State, retention: Retention) -> None:
        self._state = state
        self._retention = retention

    # -- sessions ---------------------------------------------------------------------------------

    def opened(self, event: SessionOpened) -> None:
        """A session begins or is taken up; what it has not acknowledged is delivered again.

        Raises:
            NotAllowed: it is another client's.
        """
        state = self._state
        session = state.sessions.get(event.session)
        if session is None:
            client = state.client(event.client)
            client.sessions += 1
            session = state.sessions[event.session] = SessionRecord(event.session, client)
        elif session.client.id != event.client:
            raise NotAllowed("this session belongs to another client")
        session.connected, session.gone = True, False
        if session.due is not None:
            state.wheel.discard(session.due, session)
            session.due = None
        state.tells.append(Opened(session))
        owed = [*session.late, *session.outbox]
        if owed:
            state.run(self._deliver_again(session, owed))

    def _deliver_again(self, session: SessionRecord, owed: Sequence[JobId]) -> Iterator[None]:
        for start in range(0, len(owed), SLICE):
            again = []
            for number in owed[start : start + SLICE]:
                if number in session.late and number not in self._state.jobs:
                    del session.late[number]
                elif number in session.outbox or number in session.late:
                    again.append(number)
            if again:
                self._state.deliveries.setdefault(session, []).extend(again)
            if start + SLICE < len(owed):
                yield

    def left(self, event: SessionLeft) -> Iterator[JobId]:
        """A session's connection is gone; gives the jobs that shall end with it."""
        session = self._state.sessions.get(event.session)
        if session is None or not session.connected:
            return iter(())
        session.connected = False
        if event.goodbye:
            return self._forget(session)
        self._wait(session, self._state.settings.session_grace)
        return iter(())

    def expired(self, session: SessionRecord) -> Iterator[JobId]:
        """A session has been away for its grace, or for all the time that it is kept."""
        settings = self._state.settings
        if session.due is None or session.connected:
            return iter(())
        session.due = None
        rest = settings.session_keep - settings.session_grace
        if session.gone or rest <= 0:
            return self._forget(session)
        session.gone = True
        self._state.tells.append(Silent(session))
        self._wait(session, rest)
        self._state.run(self._let_go(session))
        return iter(list(session.orphans))

    def _wait(self, session: SessionRecord, seconds: float) -> None:
        session.due = self._state.at.now + seconds
        self._state.wheel.add(session.due, session)

    def _forget(self, session: SessionRecord) -> Iterator[JobId]:
        state = self._state
        del state.sessions[session.id]
        session.gone = True
        session.client.sessions -= 1
        state.writes.append(SessionForgotten(session))
        state.tells.append(Silent(session))
        for group in list(session.groups.values()):
            self._retention.drop_empty(group)
        state.run(self._let_go(session))
        state.drop_client(session.client)
        return iter(list(session.orphans))

    def _let_go(self, session: SessionRecord) -> Iterator[None]:
        """What a session was owed may be forgotten from now on."""
        while session.outbox and not session.connected:
            for number in list(islice(session.outbox, SLICE)):
                del session.outbox[number]
                session.late[number] = None
                self._settle(self._state.jobs[number])
            if session.outbox:
                yield

    # -- outcomes ---------------------------------------------------------------------------------

    def owe(self, job: JobRecord) -> None:
        """A job has ended: deliver its outcome to whoever waits for it."""
        session = job.session
        if session is not None:
            if session.orphans:
                session.orphans.pop(job.id, None)
            if session.id in self._state.sessions:
                self._promise(session, job)
        for watcher in job.watchers:
            if watcher is not session and watcher.id in self._state.sessions:
                self._promise(watcher, job)
        job.watchers = ()
        job.session = None
        if not job.owed:
            self._retention.keep(job)

    def _promise(self, session: SessionRecord, job: JobRecord) -> None:
        if session.connected or not session.gone:
            session.outbox[job.id] = None
            job.owed += 1
        else:
            session.late[job.id] = None
        if session.connected:
            deliveries = self._state.deliveries
            jobs = deliveries.get(session)
            if jobs is None:
                deliveries[session] = [job.id]
            else:
                jobs.append(job.id)

    def acknowledged(self, event: Acknowledged) -> None:
        """A session has outcomes: they may be forgotten from now on."""
        session = self._state.sessions.get(event.session)
        if session is None:
            return
        jobs = self._state.jobs
        for number in event.jobs:
            if number in session.outbox:
                del session.outbox[number]
                self._settle(jobs[number])
            elif session.late:
                session.late.pop(number, None)

    def _settle(self, job: JobRecord) -> None:
        job.owed -= 1
        if not job.owed:
            self._retention.keep(job)

    # -- watching ---------------------------------------------------------------------------------

    def watch_asked(self, event: WatchAsked) -> None:
        """A session wants outcomes of its client's jobs; answers the ids that are unknown."""
        session = self._state.sessions.get(event.session)
        if session is None or not session.connected:
            self._state.tells.append(Answer(event.ask, list(event.jobs)))
        else:
            self._state.run(self._watch_all(event, session))

    def _watch_all(self, event: WatchAsked, session: SessionRecord) -> Iterator[None]:
        unknown = []
        for place, number in enumerate(event.jobs, 1):
            job = self._state.jobs.get(number)
            if job is None or job.client is not session.client:
                unknown.append(number)
            else:
                self.watch(session, job)
            if place % SLICE == 0:
                yield
        self._state.tells.append(Answer(event.ask, unknown))

    def watch(self, session: SessionRecord, job: JobRecord) -> None:
        """Deliver a job's outcome to a session, now or when it ends."""
        if session.gone:
            return
        if job.state < ENDED:
            if job.session is not session and session not in job.watchers:
                job.watchers = (*job.watchers, session)
        elif job.id not in session.outbox:
            if not job.owed:
                self._retention.want(job)
            self._promise(session, job)
