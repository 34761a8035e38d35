"""Who is owed an outcome: sessions, their coming and going, and who watches.

What is on its way to a session is in its outbox, a bounded number of jobs. What does not fit
there, or ends while the session is away, is in the store only, and read from there when the
session can take it: until then the session is *behind*.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from ..protocol.errors import Disconnected, NotAllowed, TooMany
from ..protocol.ids import ClientId, JobId
from .effects import Answer, Opened, Refuse, SessionForgotten, Silent
from .events import Acknowledged, SessionLeft, SessionOpened, WatchAsked
from .kept import Backlog
from .named import Named, looking
from .records import JobRecord, SessionRecord
from .retention import Retention
from .runs import in_runs, include
from .state import State, Task, sliced
from .transitions import ENDED

OUTBOX = 4096
"""Jobs of its own on their way to a session, before the rest waits in the store."""

WATCHED_RUNS = 65_536
"""Runs of ids that a session may wait for, of jobs that it has not submitted itself."""

WATCHES = 1_000_000
"""Ids that a session may have asked about and was not answered yet."""

PAGE = 500
"""Jobs read from there at once."""

Gone = Callable[[SessionRecord], None]


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
            TooMany: its client has as many as it may.
        """
        state = self._state
        session = state.sessions.get(event.session)
        if session is None:
            self._make_room(event.client)
            client = state.client(event.client)
            client.sessions += 1
            session = state.sessions[event.session] = SessionRecord(event.session, client)
        elif session.client.id != event.client:
            raise NotAllowed("this session belongs to another client")
        else:
            self._let_go(session)
        session.connected, session.gone = True, False
        session.openings += 1
        if session.due is not None:
            state.wheel.discard(session.due, session)
            session.due = None
        state.tells.append(Opened(session))
        self._catch_up(session)

    def _make_room(self, identity: ClientId) -> None:
        """A client has so many sessions: the one that has been away longest gives way."""
        client = self._state.clients.get(identity)
        if client is None or client.sessions < self._state.settings.client_sessions:
            return
        gone = [
            session
            for session in self._state.sessions.values()
            if session.client is client and session.gone and session.due is not None
        ]
        if not gone:
            raise TooMany(f"this client has {client.sessions} sessions, as many as it may")
        oldest = min(gone, key=lambda session: session.due or 0.0)
        self._state.wheel.discard(oldest.due or 0.0, oldest)
        oldest.due = None
        self._forget(oldest, lambda _: None)  # its orphans have ended before

    def left(self, event: SessionLeft, gone: Gone) -> None:
        """A session's connection is gone; calls ``gone`` where it will not come back."""
        session = self._state.sessions.get(event.session)
        if session is None or not session.connected:
            return
        session.connected = False
        self._let_go(session)
        if event.goodbye:
            self._forget(session, gone)
        else:
            self._wait(session, self._state.settings.session_grace)

    def expired(self, session: SessionRecord, gone: Gone) -> None:
        """A session has been away for its grace, or for all the time that it is kept."""
        settings = self._state.settings
        if session.due is None or session.connected:
            return
        session.due = None
        rest = settings.session_keep - settings.session_grace
        if session.gone or rest <= 0:
            self._forget(session, gone)
            return
        session.gone = True
        self._state.tells.append(Silent(session))
        self._wait(session, rest)
        gone(session)

    def _wait(self, session: SessionRecord, seconds: float) -> None:
        session.due = self._state.at.now + seconds
        self._state.wheel.add(session.due, session)

    def extend(self, seconds: float) -> None:
        """Those who are away have that much more time."""
        for session in self._state.sessions.values():
            if session.due is not None:
                self._state.wheel.discard(session.due, session)
                session.due += seconds
                self._state.wheel.add(session.due, session)

    def _forget(self, session: SessionRecord, gone: Gone) -> None:
        state = self._state
        del state.sessions[session.id]
        session.gone = True
        session.client.sessions -= 1
        state.writes.append(SessionForgotten(session))
        state.tells.append(Silent(session))
        state.run(self._drop_groups(session))
        gone(session)
        state.drop_client(session.client)

    def _drop_groups(self, session: SessionRecord) -> Task:
        """Groups without jobs go with their session; there may be thousands."""
        groups = list(session.groups.values())
        for some in sliced(groups):
            for group in some:
                self._retention.drop_empty(group)
            if len(some) < len(groups):
                yield None
        self._state.drop_client(session.client)

    def _let_go(self, session: SessionRecord) -> None:
        """What was on its way is not any more; what it watched, it has to ask for again."""
        for client in (session.client, *session.watching):
            client.watchers.pop(session, None)
        session.watching.clear()
        session.foreign.clear()
        session.watched = []
        if session.outbox:
            outbox, session.outbox = session.outbox, {}
            for number in outbox:
                self._settle(self._state.jobs[number])
        session.behind = session.missed = True
        self._go_on(session)

    # -- outcomes ---------------------------------------------------------------------------------

    def owe(self, job: JobRecord) -> None:
        """A job has ended: deliver its outcome to whoever waits for it."""
        state = self._state
        owner = None if job.owner is None else state.sessions.get(job.owner)
        if owner is not None:
            if owner.connected and len(owner.outbox) < OUTBOX:
                self._promise(owner, job)
            else:
                owner.behind = owner.missed = True
        for session in job.client.watchers:
            if session is not owner and in_runs(session.watched, job.id):
                self._promise(session, job)
        self._retention.ended(job)
        if not job.owed:
            state.cooling.append(job)

    def _promise(self, session: SessionRecord, job: JobRecord) -> None:
        session.outbox[job.id] = None
        if job.client is not session.client:
            session.foreign.add(job.id)
        job.owed += 1
        self._state.visiting.pop(job.id, None)
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
        session.foreign.difference_update(event.jobs)
        gone = session.outbox.pop
        numbers = [number for number in event.jobs if gone(number, False) is None]
        known = self._state.jobs
        jobs = [known[number] for number in numbers]
        self._retention.take_all(jobs, session)
        for job in jobs:
            job.owed -= 1
        self._state.cooling += [job for job in jobs if not job.owed]
        if session.reading is not None:
            session.reading.update(numbers)
        self._go_on(session)
        if session.behind:
            self._catch_up(session)

    def _go_on(self, session: SessionRecord) -> None:
        """A question that waits for room goes on, if there is some, or nobody is left to care."""
        task = session.parked
        if task is not None and (not session.connected or len(session.outbox) <= OUTBOX // 2):
            session.parked = None
            self._state.run(task)

    def _settle(self, job: JobRecord) -> None:
        """A job is not on its way to a session any more."""
        job.owed -= 1
        if not job.owed:
            self._state.cooling.append(job)

    # -- what waits in the store ------------------------------------------------------------------

    def _catch_up(self, session: SessionRecord) -> None:
        idle = session.connected and session.reading is None
        if session.behind and idle and len(session.outbox) <= OUTBOX // 2:
            session.reading = set()
            self._state.run(self._read(session))

    def _read(self, session: SessionRecord) -> Task:
        """Fill the outbox from the store until there is nothing more, or no room."""
        after = JobId(0)
        session.missed = False
        while session.connected and len(session.outbox) < OUTBOX:
            session.reading = set()
            found = yield Backlog(session.id, after, PAGE)
            if found is None or not session.connected:
                self._state.do_again(partial(self._catch_up, session))
                break
            for number in found.ids:
                if number in session.outbox or number in session.reading:
                    continue
                job = self._state.jobs.get(number)
                if job is None:
                    session.missed = True  # others let go of it since it was read
                elif job.state >= ENDED and not job.taken:
                    self._promise(session, job)
            if len(found.ids) == PAGE:
                after = found.ids[-1]
            elif session.missed:
                session.missed, after = False, JobId(0)
            else:
                session.behind = False
                break
        session.reading = None

    # -- watching ---------------------------------------------------------------------------------

    def watch_asked(self, event: WatchAsked) -> None:
        """A session wants outcomes of jobs; answers the ids that are unknown."""
        session = self._state.sessions.get(event.session)
        if session is None or not session.connected:
            self._state.tells.append(Answer(event.ask, list(event.jobs)))
        elif session.watch_ids + len(event.jobs) > WATCHES:
            text = f"this session has asked about {WATCHES} jobs and was not answered yet"
            self._state.tells.append(Refuse(event.ask, TooMany(text)))
        else:
            session.watch_ids += len(event.jobs)
            kept = cast(Sequence[JobId], array("q", event.jobs))  # 8 bytes each
            session.watches.append(event._replace(jobs=kept))
            if len(session.watches) == 1:
                self._state.run(self._watch_all(session))

    def _watch_all(self, session: SessionRecord) -> Task:
        """One question after the other; each goes on when the session has taken what it gets."""
        while session.watches:
            event = session.watches[0]
            unknown: list[JobId] = []
            watch = partial(self._watch_some, session, unknown)
            yield from looking(self._state, event, watch, unknown, partial(self._room_for, session))
            session.watches.popleft()
            session.watch_ids -= len(event.jobs)

    def _room_for(self, session: SessionRecord) -> SessionRecord | None:
        """None: it can be promised more now."""
        if not session.connected:
            raise Disconnected  # it asks again when it comes back
        if len(session.watched) > WATCHED_RUNS:
            raise TooMany("this session waits for as many jobs of others as it may")
        return session if len(session.outbox) >= OUTBOX else None

    def _watch_some(
        self,
        session: SessionRecord,
        unknown: list[JobId],
        jobs: Named,
    ) -> None:
        for number, job in jobs:
            if job is None:
                unknown.append(number)
            else:
                self.watch(session, number, job)

    def watch(self, session: SessionRecord, number: JobId, job: JobRecord) -> None:
        """Deliver a job's outcome to a session, now or when it ends."""
        if not session.connected:
            return
        if job.state >= ENDED:
            if number not in session.outbox:
                self._promise(session, job)
        elif job.owner != session.id:
            job.client.watchers[session] = None
            if job.client is not session.client:
                session.watching[job.client] = None
            include(session.watched, number)
