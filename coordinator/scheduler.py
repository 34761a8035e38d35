"""The scheduler: events in, effects out. It has no clock, no reactor and no disk.

``handle`` looks at a bounded number of jobs. What needs more goes on in slices at each
``Continue``, and events may come between them. The parts share one ``State``:

- ``Intake``: submissions, groups, retries          - ``Deliveries``: sessions, who is owed what
- ``Placement``: which worker gets the next jobs    - ``Cancelling``: cancels, deadlines, orphans
- ``Attempts``: begun, ended, given back, lost      - ``Leases``: workers coming and going
- ``Retention``: what is forgotten, and when     - ``Adoption``: cold jobs that become hot
- ``Restoring``: what an earlier coordinator left
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..protocol.ids import JobId
from .adoption import Adoption
from .attempts import Attempts
from .cancelling import Cancelling
from .deliveries import Deliveries
from .dues import Again, Deadlines, Resumption, Thirst
from .effects import Effect, WakeAt
from .events import (
    Acknowledged,
    Begun,
    CancelAsked,
    Continue,
    Event,
    Finished,
    ForgetAsked,
    GroupClosed,
    Loaded,
    Paused,
    Read,
    Restored,
    RetryAsked,
    Returned,
    SessionLeft,
    SessionOpened,
    Submitted,
    Tick,
    WatchAsked,
    WorkerJoined,
    WorkerLeft,
)
from .intake import Intake
from .invariants import check
from .leases import Leases
from .placement import Placement
from .records import SessionRecord, WorkerRecord
from .restoring import Restoring
from .retention import Retention
from .settings import Settings
from .state import State, Task
from .successes import Successes

_Route = Callable[[Any], None]


class Scheduler:
    """Decides about every job of one coordinator, during one term over its store.

    With a ``durable`` store it lets go of cold jobs, and asks for them by ``Load``.
    """

    def __init__(self, settings: Settings, term: int, durable: bool = False) -> None:
        self.state = state = State(settings, term, durable)
        self.retention = Retention(state)
        self.placement = Placement(state)
        self.deliveries = Deliveries(state, self.retention)
        successes = Successes(state, self.retention)
        self.attempts = Attempts(state, self.placement, self.deliveries, successes)
        self.cancelling = Cancelling(state, self.attempts)
        self.intake = Intake(state, self.placement, self.deliveries, self.retention)
        self.leases = Leases(state, self.placement, self.attempts)
        self.adoption = Adoption(state, self.attempts)
        self.restoring = Restoring(state, self.adoption, self.leases, self.retention)
        self._placing = False
        self.wake: float | None = None
        """When a ``Tick`` is due."""
        self._routes: dict[type, _Route] = {
            SessionOpened: self.deliveries.opened,
            SessionLeft: self._session_left,
            Submitted: self.intake.submitted,
            GroupClosed: self.intake.group_closed,
            CancelAsked: self.cancelling.cancel_asked,
            RetryAsked: self.intake.retry_asked,
            WatchAsked: self.deliveries.watch_asked,
            ForgetAsked: self.retention.forget_asked,
            Read: self.retention.read,
            Acknowledged: self.deliveries.acknowledged,
            WorkerJoined: self.leases.joined,
            WorkerLeft: self.leases.left,
            Begun: self.attempts.begun,
            Finished: self.attempts.finished,
            Returned: self.attempts.returned,
            Tick: self._tick,
            Continue: self._continue,
            Paused: self._paused,
            Restored: self.restoring.restored,
            Loaded: self.adoption.loaded,
        }

    def handle(self, event: Event) -> list[Effect]:
        """Take one event in; the effects are in the order in which they are to be carried out.

        Raises:
            NotAllowed: ``SessionOpened`` for a session of another client.
            IllegalMove: a mistake in the scheduler, with the story of the job.
        """
        state = self.state
        state.at = event.at
        state.racing = bool(state.loading) and type(event) is not Loaded
        self._routes[type(event)](event)
        self.retention.expire()
        state.flush_writes()
        self.placement.place()
        self.placement.balance()
        self.adoption.quench()
        if self.placement.more and not self._placing:
            self._placing = True
            state.tasks.append(self._place_on())
        self._tell_wake()
        state.cool()
        return state.take_effects()

    def _place_on(self) -> Task:
        """Keeps ``Continue`` coming while there are jobs to be placed, which every event does."""
        while self.placement.more:
            yield None
        self._placing = False

    def _tick(self, event: Tick) -> None:
        overdue: list[JobId] = []
        for due in self.state.wheel.pop_due(event.at.now):
            if isinstance(due, Deadlines):
                overdue.extend(self.state.fallen_due(due))
            elif isinstance(due, Resumption):
                self.attempts.resume(due)
            elif isinstance(due, WorkerRecord):
                self.leases.expired(due)
            elif isinstance(due, SessionRecord):
                self.deliveries.expired(due, self.cancelling.orphans)
            elif isinstance(due, Thirst):
                self.adoption.fill(due.client, due.python)
            elif isinstance(due, Again):
                due.work()
            else:
                self.leases.recalled(due.worker)
        if overdue:
            self.cancelling.deadlines(overdue)

    def _session_left(self, event: SessionLeft) -> None:
        self.deliveries.left(event, self.cancelling.orphans)

    def _paused(self, event: Paused) -> None:
        self.leases.extend(event.seconds)
        self.deliveries.extend(event.seconds)

    def _continue(self, event: Continue) -> None:
        self.state.proceed()

    def _tell_wake(self) -> None:
        """Ask for a ``Tick`` where the next one has changed."""
        times = (self.state.wheel.next(), self.placement.uneven(), self.retention.look())
        wake = min((time for time in times if time is not None), default=None)
        if wake != self.wake:
            self.wake = wake
            self.state.tells.append(WakeAt(wake))

    def check_invariants(self) -> None:
        """Look at every record; slow, for tests.

        Raises:
            AssertionError: the records contradict each other.
        """
        check(self.state, self.retention, self.placement)
