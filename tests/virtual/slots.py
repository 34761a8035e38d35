"""Slots without children: attempts are scripts that take virtual time.

What a coordinator and an agent see is what ``workers.slots.SlotPool`` shows them: beginnings are
told late, what waits behind long jobs is given back, a report is kept until it is acknowledged,
an end takes its time and may come second to the job's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import attrs
from ampacity.protocol.errors import NoSuchJob
from ampacity.protocol.ids import Attempt, JobId
from ampacity.protocol.jobs import Assignment, JobSpec, unpack_spec
from ampacity.protocol.outcomes import (
    Ending,
    ErrorText,
    Evidence,
    JobLog,
    Outcome,
    Report,
    pack_outcome,
)
from ampacity.protocol.ports import Beginning, Ended, Holding, WorkerEvents, WorkerInfo
from ampacity.workers.reporting import Reporting
from ampacity.workers.resultfiles import Results
from twisted.internet.defer import Deferred, fail, succeed

from .history import Execution, History
from .timeline import Process
from .work import Doing, Script, Way

ANNOUNCED_AFTER = 0.025
RETURNED_AFTER = 0.05


_spec = lru_cache(maxsize=1024)(unpack_spec)


@attrs.define(eq=False)
class Slot:
    """One attempt that is held."""

    job: JobId
    attempt: Attempt
    script: Script
    spec: JobSpec
    since: float
    execution: Execution | None = None
    """What runs; none yet."""
    doing: Doing | None = None
    why: str | None = None
    """Why it is being ended."""
    gone: bool = False
    calls: list[Any] = attrs.field(factory=list)

    @property
    def holding(self) -> Holding:
        return Holding(self.job, self.attempt)

    def over(self) -> None:
        self.gone = True
        for call in self.calls:
            if call.active():
                call.cancel()


class VirtualSlots:
    """``workers.agent.AgentSlots``."""

    def __init__(
        self,
        process: Process,
        slots: int,
        scripts: Sequence[Script],
        history: History,
        random: Random,
        drain: Callable[[], None] = lambda: None,
    ) -> None:
        self._process = process
        self._scripts = scripts
        self._history = history
        self._random = random
        self.on_drain = drain
        self._held_back = False
        self._reporting = Reporting(process, Results(Path()))
        self._events: WorkerEvents | None = None
        self._held: dict[Holding, Slot] = {}
        self._waiting: deque[Slot] = deque()
        self._running: dict[Holding, Slot] = {}
        self._look: Any = None
        self._stopped: Deferred[None] | None = None
        self.info = WorkerInfo(
            name=process.machine.name,
            incarnation=random.randbytes(16),
            slots=slots,
            python="3.11",
            host=process.machine.name,
            software="0",
        )
        process.at_death.append(self._died)

    # -- the worker as a whole --------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether something runs."""
        return bool(self._running)

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
        for slot in list(self._running.values()):
            slot.why = slot.why or "stopped"
            self._signal(slot)

    def _tell_if_stopped(self) -> None:
        if self._stopped is not None and not self._held and not self._stopped.called:
            self._reporting.flush()
            self._stopped.callback(None)

    def _died(self) -> None:
        for slot in self._running.values():
            assert slot.execution is not None
            self._history.ended(slot.execution, "killed")

    # -- what the coordinator asks ----------------------------------------------------------------

    def assign(self, assignments: Sequence[Assignment]) -> None:
        now = self._process.seconds()
        for job, attempt, spec, payload, _client in assignments:
            assert isinstance(payload, bytes)
            script = self._scripts[int(payload)]
            slot = Slot(job, attempt, script, _spec(spec), now)
            self._history.held(self._process.name, job, attempt, slot.holding in self._held)
            self._held[slot.holding] = slot
            self._waiting.append(slot)
        if self._stopped is not None:
            self._give_back(list(self._waiting))
        else:
            self._process.callLater(0.0002, self._begin)

    def retract(self, attempts: Sequence[Holding]) -> None:
        wanted = [self._held[name] for name in attempts if name in self._held]
        self._give_back([s for s in wanted if s.execution is None and s.why is None])

    def end(self, attempts: Sequence[Ended]) -> None:
        for job, attempt, why in attempts:
            slot = self._held.get(Holding(job, attempt))
            if slot is None or slot.why is not None:
                continue
            slot.why = why
            if slot.execution is None:
                self._waiting.remove(slot)
                self._report_ended(slot)
            else:
                self._signal(slot)

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

    # -- running ----------------------------------------------------------------------------------

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self.info.slots and not self._held_back:
            slot = self._waiting.popleft()
            self._running[slot.holding] = slot
            slot.execution = self._history.began(
                slot.script, slot.job, slot.attempt, self._process.name
            )
            slot.doing = slot.script.doing(slot.execution.number)
            self._plan(slot, slot.doing)
        if self._waiting:
            self._look_later()

    def _plan(self, slot: Slot, doing: Doing) -> None:
        later = self._process.callLater
        slot.calls.append(later(ANNOUNCED_AFTER, self._announce, slot))
        if doing.way is not Way.HANG:
            slot.calls.append(later(doing.seconds, self._ends, slot))
        if slot.spec.timeout is not None:
            slot.calls.append(later(slot.spec.timeout, self._times_out, slot))

    def _announce(self, slot: Slot) -> None:
        assert slot.execution is not None
        if self._events is not None:
            began = Beginning(slot.job, slot.attempt, slot.execution.wall)
            self._events.begun([began])

    def _times_out(self, slot: Slot) -> None:
        self.end([Ended(slot.job, slot.attempt, "timed out")])

    def _ends(self, slot: Slot) -> None:
        """By itself, even while a signal is on its way."""
        assert slot.doing is not None and slot.execution is not None
        way = slot.doing.way
        if way is Way.DIE:
            self.lose(slot)
            return
        ending = Ending.SUCCEEDED if way is Way.SUCCEED else Ending.FAILED
        error = None if way is Way.SUCCEED else ErrorText("builtins.ValueError", "as it should", "")
        outcome = Outcome(error=error, tail=slot.execution.mark)
        self._let_go(slot, ending.words)
        if slot.why != "superseded":
            self._report(slot, ending, outcome)

    def lose(self, slot: Slot) -> None:
        """Its child dies under it."""
        assert slot.execution is not None
        if slot.why is not None:
            self._ended_by_signal(slot)
            return
        self._let_go(slot, "lost")
        evidence = Evidence(worker=self.info.name, signal="SIGKILL")
        self._report(slot, Ending.LOST, Outcome(evidence=evidence, tail=slot.execution.mark))

    def kill_a_child(self) -> bool:
        """Somebody kills one of the children that run a job, if there is one."""
        running = list(self._running.values())
        if running:
            self.lose(self._random.choice(running))
        return bool(running)

    def _signal(self, slot: Slot) -> None:
        resists = slot.doing.resists if slot.doing is not None else 0.0
        seconds = 0.002 + resists
        slot.calls.append(self._process.callLater(seconds, self._ended_by_signal, slot))

    def _ended_by_signal(self, slot: Slot) -> None:
        self._let_go(slot, slot.why or "")
        self._report_ended(slot)

    def _let_go(self, slot: Slot, how: str) -> None:
        assert slot.execution is not None
        self._history.ended(slot.execution, how)
        slot.over()
        del self._held[slot.holding], self._running[slot.holding]
        self._process.callLater(0.0002, self._begin)
        self._process.callLater(0, self._tell_if_stopped)

    # -- giving back ------------------------------------------------------------------------------

    def _look_later(self) -> None:
        if self._look is None:
            self._look = self._process.callLater(ANNOUNCED_AFTER, self._look_at_waiting)

    def _look_at_waiting(self) -> None:
        self._look = None
        late = self._process.seconds() - RETURNED_AFTER
        slow = [s for s in self._running.values() if s.execution and s.execution.began < late]
        if len(slow) == self.info.slots:
            self._give_back([slot for slot in self._waiting if slot.since < late])
        if self._waiting:
            self._look_later()

    def _give_back(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            self._waiting.remove(slot)
            del self._held[slot.holding]
        if slots and self._events is not None:
            self._events.returned([slot.holding for slot in slots])
        self._tell_if_stopped()

    # -- reports ----------------------------------------------------------------------------------

    def _report_ended(self, slot: Slot) -> None:
        """It was ended, as somebody asked for."""
        self._held.pop(slot.holding, None)
        if slot.why == "superseded":
            return
        if slot.why == "stopped":
            if self._events is not None:
                self._events.returned([slot.holding])
            return
        ending = Ending.CANCELLED if slot.why == "cancelled" else Ending.TIMED_OUT
        mark = slot.execution.mark if slot.execution is not None else b""
        self._report(slot, ending, Outcome(evidence=Evidence(signal="SIGINT"), tail=mark))

    def _report(self, slot: Slot, ending: Ending, outcome: Outcome) -> None:
        execution = slot.execution
        began = execution.wall if execution is not None else None
        seconds = self._process.seconds() - execution.began if execution is not None else 0.0
        report = Report(slot.job, slot.attempt, ending, began, seconds, pack_outcome(outcome))
        self._reporting.add(report)
