"""Slots without children: what a job does is a play, and takes virtual time.

What a coordinator and an agent see is what ``workers.slots.SlotPool`` shows them: beginnings are
told late, what waits behind long jobs is given back, a report is kept until it is acknowledged,
an end takes its time and may come second to the job's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, FirstError, fail, maybeDeferred, succeed
from twisted.python.failure import Failure

from ..client.functions import PYTHON
from ..protocol.errors import CoordinatorLost, Disconnected, NoSuchJob
from ..protocol.ids import JobId
from ..protocol.jobs import Assignment, BlobRef
from ..protocol.outcomes import (
    Ending,
    ErrorText,
    Evidence,
    JobLog,
    Outcome,
    Report,
    pack_log,
    pack_outcome,
)
from ..protocol.ports import Beginning, Ended, Holding, WorkerEvents, WorkerInfo
from ..workers.ending import Grace
from ..workers.reporting import Reporting
from ..workers.resultfiles import Results
from .runs import End, Play, Run, spec_of
from .timeline import Process

_GRACE = Grace()
_LOOK = 0.025
"""Seconds between two looks at what waits."""


class VirtualSlots:
    """``workers.agent.AgentSlots``, and the slots of a coordinator in the same process."""

    announced_after = 0.025
    """Seconds from a beginning until it is told."""
    returned_after = 0.05
    """Seconds for which jobs wait behind long ones before they are given back."""
    between = 0.0002
    """Seconds from one job of a slot to the next."""
    signalled = 0.002
    """Seconds from a signal to the end of who does not resist it."""

    def __init__(
        self,
        process: Process,
        slots: int,
        play: Play,
        random: Random,
        drain: Callable[[], None] = lambda: None,
        python: str = PYTHON,
    ) -> None:
        self.play = play
        self._process = process
        self._random = random
        self.on_drain = drain
        self._held_back = False
        self._reporting = Reporting(process, Results(Path()))
        self._events: WorkerEvents | None = None
        self._held: dict[Holding, Run] = {}
        self._waiting: deque[Run] = deque()
        self._running: dict[Run, None] = {}
        self._look: Any = None
        self._stopped: Deferred[None] | None = None
        self.info = WorkerInfo(
            name=process.machine.name,
            incarnation=random.randbytes(16),
            slots=slots,
            python=python,
            host=process.machine.name,
            software="0",
        )
        process.at_death.append(self._died)

    # -- the worker as a whole --------------------------------------------------------------------

    @property
    def running(self) -> list[Run]:
        """What runs, in the order in which it began."""
        return list(self._running)

    @property
    def waiting(self) -> list[Run]:
        """What has not begun."""
        return list(self._waiting)

    def bind(self, events: WorkerEvents | None) -> None:
        self._events = events
        self._reporting.bind(events)

    def start(self) -> Deferred[None]:
        return succeed(None)

    def held(self) -> list[Holding]:
        return [*self._held, *self._reporting.holdings()]

    def drop(self, unwanted: Iterable[Holding]) -> None:
        gone = set(unwanted)
        self._reporting.drop(gone.__contains__)
        self.end([Ended(job, attempt, "superseded") for job, attempt in sorted(gone)])

    def stop(self, grace: float) -> Deferred[None]:
        """Give back what has not begun; the rest when its grace is over."""
        if self._stopped is None:
            self._stopped = Deferred()
            self._give_back(list(self._waiting))
            self._process.callLater(grace, self._stop_running)
            self._tell_if_stopped()
        return self._stopped

    def _stop_running(self) -> None:
        for run in self.running:
            run.why = run.why or "stopped"
            self._signal(run)

    def _tell_if_stopped(self) -> None:
        if self._stopped is not None and not self._left() and not self._stopped.called:
            self._reporting.flush()
            self._stopped.callback(None)

    def _left(self) -> bool:
        return bool(self._held or self._running)

    def _died(self) -> None:
        for run in self._running:
            self.play.ended(run, "killed")

    # -- what the coordinator asks ----------------------------------------------------------------

    def assign(self, assignments: Sequence[Assignment]) -> None:
        worker = self._process.name
        for assignment in assignments:
            run = Run(assignment, spec_of(assignment.spec), worker, self._process.seconds())
            self.play.held(run, run.holding in self._held)
            self._held[run.holding] = run
            self._waiting.append(run)
            self._fetch(run)
        if self._stopped is not None:
            self._give_back(list(self._waiting))
        else:
            self._process.callLater(self.between, self._begin)

    def retract(self, attempts: Sequence[Holding]) -> None:
        wanted = [self._held[name] for name in attempts if name in self._held]
        self._give_back([run for run in wanted if not run.has_begun and run.why is None])

    def end(self, attempts: Sequence[Ended]) -> None:
        for job, attempt, why in attempts:
            run = self._held.get(Holding(job, attempt))
            if run is None or run.why is not None:
                continue
            run.why = why
            if run.has_begun:
                self._signal(run)
            else:
                self._waiting.remove(run)
                self._report_ended(run)

    def attach(self, job: JobId, follow: bool) -> Deferred[JobLog]:
        if any(holding.job == job for holding in self._held):
            return succeed(JobLog())
        return fail(NoSuchJob())

    def reload(self) -> None:
        """There are no children."""

    def drain(self) -> None:
        self.on_drain()

    def hold_back(self, held_back: bool) -> None:
        """Begin nothing for a while; what runs goes on."""
        self._held_back = held_back
        if not held_back:
            self._process.callLater(0, self._begin)

    def given_up(self) -> None:
        raise AssertionError("only a coordinator in the same process says so")

    # -- fetching ---------------------------------------------------------------------------------

    def _fetch(self, run: Run) -> None:
        """What a job needs beside its frame comes before it begins."""
        payload = run.assignment.payload
        refs = [*run.spec.blobs(), *([payload] if isinstance(payload, BlobRef) else [])]
        if refs and self._events is not None:
            run.ready = False
            calls = [maybeDeferred(self._events.fetch, ref) for ref in refs]
            fetched = DeferredList(calls, fireOnOneErrback=True, consumeErrors=True)
            fetched.addCallbacks(self._fetched, self._not_fetched, (run, refs), errbackArgs=(run,))

    def _fetched(self, found: Any, run: Run, refs: list[BlobRef]) -> None:
        run.paths = {ref.digest: path for ref, (_, path) in zip(refs, found, strict=True)}
        run.ready = True
        self._process.callLater(0, self._begin)

    def _not_fetched(self, failure: Failure, run: Run) -> None:
        error = failure.value
        if isinstance(error, FirstError):
            error = error.subFailure.value
        if run not in self._waiting:
            return
        if isinstance(error, CoordinatorLost | Disconnected):
            self._give_back([run])
            return
        self._waiting.remove(run)
        self._forget(run)
        told = ErrorText(type(error).__qualname__, str(error), str(error))
        self._report(run, End(Ending.FAILED, pack_outcome(Outcome(error=told))))

    # -- running ----------------------------------------------------------------------------------

    def _begin(self) -> None:
        while len(self._running) < self.info.slots and not self._held_back:
            run = next((run for run in self._waiting if run.ready), None)
            if run is None:
                break
            self._waiting.remove(run)
            self._running[run] = None
            run.began, run.wall = self._process.seconds(), self._process.machine.wall()
            self._plan(run)
        if self._waiting:
            self._look_later()

    def _plan(self, run: Run) -> None:
        run.course = course = self.play.begins(run)
        later = self._process.callLater
        run.calls.append(later(self.announced_after, self._announce, run))
        if course.seconds is not None:
            run.calls.append(later(course.seconds, self.finish, run))
        if run.spec.timeout is not None:
            run.calls.append(later(run.spec.timeout, self.time_out, run))

    def _announce(self, run: Run) -> None:
        if self._events is not None:
            self._events.begun([Beginning(run.job, run.attempt, run.wall)])

    def time_out(self, run: Run) -> None:
        """Its time is over: it is ended."""
        self.end([Ended(run.job, run.attempt, "timed out")])

    def finish(self, run: Run, end: End | None = None) -> None:
        """It ends by itself, even while a signal is on its way: so, or as its play has it."""
        if run.over:
            return
        end = end or self.play.ends(run)
        lost = end.ending is Ending.LOST
        if lost and run.why is not None:
            self._ended_by_signal(run)
            return
        self._let_go(run, end.ending.words)
        if run.why != "superseded":
            self._report(run, end)

    def kill_a_child(self) -> bool:
        """Somebody kills one of the children that run a job, if there is one."""
        running = self.running
        if running:
            run = self._random.choice(running)
            outcome = Outcome(evidence=self._evidence("SIGKILL"), tail=self.play.tail(run))
            self.finish(run, End(Ending.LOST, pack_outcome(outcome)))
        return bool(running)

    def _signal(self, run: Run) -> None:
        resists = run.course.resists if run.course is not None else 0.0
        seconds = min(resists, _GRACE.interrupt + _GRACE.terminate)
        calls = run.calls
        calls.append(self._process.callLater(self.signalled + seconds, self._ended_by_signal, run))

    def _ended_by_signal(self, run: Run) -> None:
        self._let_go(run, run.why or "")
        self._report_ended(run)

    def _let_go(self, run: Run, how: str) -> None:
        self.play.ended(run, how)
        run.stop()
        self._forget(run)
        del self._running[run]
        self._process.callLater(self.between, self._begin)
        self._process.callLater(0, self._tell_if_stopped)

    def _forget(self, run: Run) -> None:
        """A coordinator with another store may have given us one of the same name by now."""
        if self._held.get(run.holding) is run:
            del self._held[run.holding]

    # -- giving back ------------------------------------------------------------------------------

    def _look_later(self) -> None:
        if self._look is None:
            self._look = self._process.callLater(_LOOK, self._look_at_waiting)

    def _look_at_waiting(self) -> None:
        self._look = None
        late = self._process.seconds() - self.returned_after
        slow = [run for run in self._running if run.began < late]
        if len(slow) == self.info.slots:
            self._give_back([run for run in self._waiting if run.since < late])
        if self._waiting:
            self._look_later()

    def _give_back(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._waiting.remove(run)
            self._forget(run)
        if runs and self._events is not None:
            self._events.returned([run.holding for run in runs])
        self._tell_if_stopped()

    # -- reports ----------------------------------------------------------------------------------

    def _report_ended(self, run: Run) -> None:
        """It was ended, as somebody asked for."""
        self._forget(run)
        if run.why == "superseded":
            return
        if run.why == "stopped":
            if self._events is not None:
                self._events.returned([run.holding])
            return
        ending = Ending.CANCELLED if run.why == "cancelled" else Ending.TIMED_OUT
        outcome = Outcome(evidence=self._ended_evidence(run), tail=self.play.tail(run))
        self._report(run, End(ending, pack_outcome(outcome)))

    def _ended_evidence(self, run: Run) -> Evidence:
        """As a real worker says what was enough."""
        resists = run.course.resists if run.course is not None else 0.0
        by_hand, both = _GRACE.interrupt, _GRACE.interrupt + _GRACE.terminate
        name = "SIGINT" if resists < by_hand else "SIGTERM" if resists < both else "SIGKILL"
        why = "past its deadline" if run.why == "deadline" else run.why
        enough = "it took SIGKILL" if name == "SIGKILL" else f"{name} was enough"
        return self._evidence(name, f"{why}; {enough}")

    def _evidence(self, name: str, reason: str = "") -> Evidence:
        return Evidence(self.info.name, self.info.host, signal=name, reason=reason)

    def _report(self, run: Run, end: End) -> None:
        began = run.wall if run.has_begun else None
        seconds = self._process.seconds() - run.began if run.has_begun else 0.0
        blobs = tuple(ref for ref, _ in end.files)
        log = pack_log(end.log)
        self._reporting.add(
            Report(
                run.job, run.attempt, end.ending, began, seconds, end.body, blobs, log, end.again
            ),
            end.files,
        )
