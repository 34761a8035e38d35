"""The slots of one machine: hands the attempts that it is assigned to its children."""

from __future__ import annotations

import functools
import os
import platform
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from .. import __version__
from ..protocol.errors import CannotStart, Malformed, NoSuchJob
from ..protocol.ids import JobId
from ..protocol.jobs import Assignment
from ..protocol.limits import OUTPUT_CHUNK
from ..protocol.outcomes import Evidence, JobLog
from ..protocol.ports import Beginning, Ended, Holding, WorkerEvents, WorkerInfo
from . import reports
from .attached import Attached
from .calls import blob
from .crew import Crew
from .ending import Grace
from .evidence import evidence_of
from .fetching import Fetching
from .guard import Guard
from .held import Held, Plan, State, holdings
from .machine import identity
from .process import Child, ChildOptions
from .reporting import Reporting
from .waiting import Durations, Waiting

TICK = 0.025
ANNOUNCED_AFTER = 0.02
"""Seconds after which a running job's beginning is told apart from its end."""
RELIEVED_AFTER = 0.025
"""Seconds after which a running job's child loses what it has not begun."""
RETURNED_AFTER = 0.05
"""Seconds that a job waits behind longer ones before it is given back."""
_KEPT_PLANS = 1024
_SAMPLED_EACH = 10


class SlotPool:
    """A worker's slots: ``ports.WorkerPort``, for a coordinator in this process or an uplink's."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        slots: int,
        folder: Path,
        python: str | None = None,
        setup: str | None = None,
        name: str | None = None,
        grace: Grace | None = None,
    ) -> None:
        self._reactor = reactor
        self._slots = slots
        self._name = name or platform.node() or "worker"
        self._incarnation = secrets.token_bytes(16)
        self._options = ChildOptions(
            python=_interpreter(python),
            setup=setup,
            worker=self._name,
            software=__version__,
            folder=folder / f"slots-{os.getpid()}-{self._incarnation.hex()[:8]}",
            grace=grace or Grace(),
        )
        self._python = ".".join(platform.python_version_tuple()[:2]) if python is None else ""
        self._guard = Guard(reactor)
        self._crew = Crew(reactor, slots, self._options, self._guard, self)
        self._durations = Durations()
        self._waiting = Waiting(self._durations)
        self._reporting = Reporting(reactor)
        self._fetching = Fetching(self._fetched, self._not_fetched)
        self._events: WorkerEvents | None = None
        self._held: dict[tuple[JobId, Any], Held] = {}
        self._plans: dict[tuple[str, bytes], Plan] = {}
        self._armed: Any = None
        self._ticking: Any = None
        self._ticks = 0
        self._stopping = False

    # -- the worker as a whole --------------------------------------------------------------------

    @property
    def info(self) -> WorkerInfo:
        """What this worker says of itself; of another interpreter's version, once it has run."""
        return WorkerInfo(
            name=self._name,
            incarnation=self._incarnation,
            slots=self._slots,
            python=self._python,
            host=identity(),
            software=__version__,
            pid=os.getpid(),
        )

    def bind(self, events: WorkerEvents | None) -> None:
        """Tell this one from now on, and again what the one before did not acknowledge."""
        self._events = events
        self._fetching.bind(events)
        self._reporting.bind(events)
        self._arm()

    def start(self) -> Deferred[None]:
        """Start the children; fires when the first one is ready. Fails with ``CannotStart``."""
        folders = (self._options.folder, self._options.results())
        made = self._in_thread(lambda: [f.mkdir(parents=True, exist_ok=True) for f in folders])
        self._guard.start()
        return made.addCallback(lambda _: self._crew.start())

    def _in_thread(self, function: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function)

    def held(self) -> list[Holding]:
        """Every attempt that is here, those with an unacknowledged report included."""
        return [*holdings(list(self._held.values())), *self._reporting.holdings()]

    def drop(self, unwanted: Iterable[Holding]) -> None:
        """End these without a word, and forget their reports."""
        gone = set(unwanted)
        self._reporting.drop(gone.__contains__)
        self.end([Ended(job, attempt, "superseded") for job, attempt in gone])

    async def stop(self, grace: float = 0.0) -> None:
        """Give back what has not begun, let the rest run for ``grace`` seconds, then end it by
        signals and give it back, too. Fires when no child is left and the reports are sent."""
        self._stopping = True
        self._crew.close()
        for child in self._crew.children():
            self._waiting.put_back(child.take_back())
        self._give_back([held for held in self._held.values() if held.state in _UNBEGUN])
        busy = [child for child in self._crew.children() if child.busy]
        for child in self._crew.all() - set(busy):
            self._crew.dismiss(child)
        self._later = self._reactor.callLater(grace, self._end_all) if busy else None
        await self._crew.when_all_gone()
        if self._later is not None and self._later.active():
            self._later.cancel()
        if self._ticking is not None:
            self._ticking.cancel()
        if self._armed is not None:
            self._armed.cancel()
        self._reporting.flush()
        await self._guard.stop()
        await self._in_thread(functools.partial(shutil.rmtree, self._options.folder, True))

    def _end_all(self) -> None:
        for child in self._crew.children():
            running = child.running()
            if running is not None and running.why is None:
                running.why = "stopped"
            child.end_running()

    def load(self) -> dict[str, Any]:
        """``{slots, busy, waiting, memory}``, for who asks how this worker does."""
        children = list(self._crew.children())
        return {
            "slots": self._slots,
            "busy": sum(child.busy for child in children),
            "waiting": len(self._waiting),
            "memory": sum(child.peak_memory for child in children),
        }

    # -- what the coordinator asks ----------------------------------------------------------------

    def assign(self, assignments: Sequence[Assignment]) -> None:
        """Take attempts."""
        now = self._reactor.seconds()
        for job, attempt, spec, payload, client in assignments:
            plan = self._plans.get((client, spec))
            if plan is None:
                try:
                    plan = self._plan(client, spec)
                except Malformed as e:
                    self._log.error("a malformed job {job}: {error}", job=job, error=e)
                    continue
            held = self._held[job, attempt] = Held(job, attempt, plan, payload)
            if plan.ready and type(payload) is bytes:
                self._waiting.add(held, now)
            else:
                self._fetching.add(held)
        if self._crew.broken is not None:
            self._crew.wake()
        self._arm()

    def _plan(self, client: Any, spec: bytes) -> Plan:
        if len(self._plans) >= _KEPT_PLANS:
            self._plans.clear()
        plan = self._plans[client, spec] = Plan(client, spec, identity())
        return plan

    def _fetched(self, held: Held) -> None:
        if held.state is State.FETCHING:
            self._waiting.add(held, self._reactor.seconds())
            self._arm()

    def _not_fetched(self, held: Held, message: str | None) -> None:
        """It has failed; or, with no message, it is given back: the connection is to blame."""
        if held.state is not State.FETCHING:
            return
        if message is None:
            self._give_back([held])
        else:
            self._report(held, reports.refused(held, "NoSuchBlob", message))

    def retract(self, attempts: Sequence[Holding]) -> None:
        """Give back those of these that have not begun."""
        wanted = [self._held[key] for key in attempts if key in self._held]
        self._free_from_children(wanted)
        self._give_back([held for held in wanted if held.state in _UNBEGUN and held.why is None])

    def end(self, attempts: Sequence[Ended]) -> None:
        """End attempts; those that run, by signals."""
        asked = []
        for job, attempt, why in attempts:
            held = self._held.get((job, attempt))
            if held is not None and held.why is None:
                held.why = why
                asked.append(held)
        self._free_from_children(asked)
        unbegun = [held for held in asked if held.state in _UNBEGUN]
        self._waiting.remove(held for held in unbegun if held.state is State.WAITING)
        for held in unbegun:
            self._report_ended(held, None, None, 0.0)
        running = {child.running(): child for child in self._crew.children() if child.busy}
        for held in asked:
            child = running.get(held)
            if child is not None and held.state is State.GIVEN:
                child.end_running()

    def _free_from_children(self, wanted: Sequence[Held]) -> None:
        """Take back what has not begun from the children that have one of these."""
        if any(held.state is State.GIVEN for held in wanted):
            given = {held for held in wanted if held.state is State.GIVEN}
            for child in self._crew.children():
                if child.busy and child.has(given):
                    self._waiting.put_back(child.take_back())
            self._arm()

    def attach(self, job: JobId, follow: bool) -> Deferred[JobLog]:
        """What a job printed so far; with ``follow``, more is told as ``output``."""
        for held in self._held.values():
            if held.job == job:
                if follow and held.attached is None:
                    self._attach(held)
                return succeed(held.log())
        return fail(NoSuchJob(f"job {job} is not on worker {self._name}"))

    def _attach(self, held: Held) -> None:
        def send(stream: int, data: bytes) -> Deferred[bool]:
            events = self._events
            if events is None:
                return succeed(False)
            return maybeDeferred(events.output, held.job, stream, data)

        def pause(stream: int, paused: bool) -> None:
            for child in self._crew.children():
                if child.running() is held or not paused:
                    child.pause(stream, paused)

        held.attached = Attached(send, pause)

    def reload(self) -> None:
        """Replace the children: idle ones now, the others when their job ends."""
        for child in list(self._crew.children()):
            if child.busy:
                child.retire = "all children are replaced"
                self._waiting.put_back(child.take_back())
            else:
                self._crew.replace(child)

    # -- giving jobs to children ------------------------------------------------------------------

    def _arm(self) -> None:
        if self._armed is None and len(self._waiting) and not self._stopping:
            self._armed = self._reactor.callLater(0, self._dispatch)

    def _dispatch(self) -> None:
        self._armed = None
        free = [child for child in self._crew.children() if child.free]
        self._see_to_ticks()
        for context in self._waiting.contexts():
            fitting = [child for child in free if child.context == context]
            blank = [child for child in free if child.context is None]
            for child in (*fitting, *blank):
                left = sum(c.context == context or c.context is None for c in free)
                if not self._waiting.waiting_in(context):
                    break
                free.remove(child)
                self._give(child, self._waiting.take(context, left))
        self._switch(free)
        self._see_to_ticks()

    def _give(self, child: Child, batch: list[Held]) -> None:
        for held in batch:
            held.state = State.GIVEN
            if held.plan.spec.attach and held.attached is None:
                self._attach(held)
        child.give(batch)

    def _switch(self, free: list[Child]) -> None:
        """Replace idle children of other contexts, for the contexts that still wait."""
        for context in self._waiting.contexts():
            if not free:
                return
            need = self._waiting.waiting_in(context) - self._crew.coming()
            for child in free[: max(0, need)]:
                free.remove(child)
                self._crew.replace(child)

    # -- what the children tell -------------------------------------------------------------------

    def spawned(self, child: Child) -> None:
        """A child's process exists."""
        self._guard.add(child.pid)

    def child_ready(self, child: Child) -> None:
        """A child takes jobs."""
        self._python = child.python
        self._arm()

    def printed(self, child: Child, held: Held, stream: int, data: bytes) -> None:
        """A job has printed."""
        held.printed(stream, data)
        if held.attached is not None:
            for start in range(0, len(data), OUTPUT_CHUNK):
                held.attached.printed(stream, data[start : start + OUTPUT_CHUNK])

    def job_ended(self, child: Child, held: Held) -> None:
        """A job is over, as its child says."""
        done = held.done
        assert done is not None
        seconds = done.ended - done.began
        self._durations.note(held.plan.key, seconds)
        if not done.signal:
            files = [blob(ref) for ref in done.blobs] if done.blobs else ()
            self._report(held, reports.succeeded_or_failed(held), files)
            return
        for _, path in [blob(ref) for ref in done.blobs]:
            path.unlink(missing_ok=True)
        self._report_ended(held, evidence_of(self.info, child, done.signal), done.began, seconds)

    def batch_ended(self, child: Child, stop: str) -> None:
        """A child is idle again, or wants to be replaced."""
        self._waiting.put_back(child.take_back())
        if stop:
            child.retire = child.retire or stop
        if self._stopping:
            self._crew.dismiss(child)
        elif child.retire:
            self._crew.replace(child)
            if stop and stop != "stale":
                child.kill()
        self._arm()

    def child_ended(self, child: Child, running: Held | None, unbegun: list[Held]) -> None:
        """A child is gone."""
        self._waiting.put_back(unbegun)
        if running is not None:
            since = child.mark
            seconds = max(0.0, time.monotonic() - since)
            self._report_ended(running, evidence_of(self.info, child), since, seconds)
        self._crew.gone(child)
        folder = child.folder
        self._in_thread(functools.partial(shutil.rmtree, folder, ignore_errors=True))
        self._arm()

    def cannot_start(self, error: CannotStart) -> None:
        """No child can be started: what waits has failed."""
        self._log.error("{error}", error=error)
        waiting = list(self._waiting)
        self._waiting.remove(waiting)
        for held in waiting:
            self._report(held, reports.refused(held, "CannotStart", str(error)))

    # -- telling the coordinator ------------------------------------------------------------------

    def _report(self, held: Held, report: Any, files: Any = ()) -> None:
        attached = held.attached
        if attached is not None and not attached.over(lambda: self._report(held, report, files)):
            return
        self._forget(held)
        if held.why != "superseded":
            self._reporting.add(report, files)

    def _forget(self, held: Held) -> None:
        held.state = State.GONE
        self._held.pop((held.job, held.attempt), None)

    def _report_ended(
        self, held: Held, evidence: Evidence | None, since: float | None, seconds: float
    ) -> None:
        """It was ended, as somebody asked for; or else its child died under it."""
        began = None if since is None else reports.wall_clock(since)
        if held.why == "stopped":
            self._give_back([held])
        elif held.why is None and evidence is not None and began is not None:
            self._report(held, reports.lost(held, evidence, began, seconds))
        else:
            self._report(held, reports.ended(held, evidence, began, seconds))

    def _give_back(self, given_back: Sequence[Held]) -> None:
        self._waiting.remove(held for held in given_back if held.state is State.WAITING)
        for held in given_back:
            self._forget(held)
        if given_back and self._events is not None:
            self._events.returned(holdings(given_back))

    # -- the tick ---------------------------------------------------------------------------------

    def _see_to_ticks(self) -> None:
        if self._ticking is None and any(child.busy for child in self._crew.children()):
            self._ticking = self._reactor.callLater(TICK, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        self._ticks += 1
        now = time.monotonic()
        begun: list[Beginning] = []
        behind = 0
        for child in self._crew.children():
            running = child.running_since() if child.busy else None
            if running is None:
                continue
            elapsed = now - running[1]
            behind += elapsed > RETURNED_AFTER
            self._look_at(child, *running, elapsed, begun)
        if begun and self._events is not None:
            self._events.begun(begun)
        if behind == self._slots and len(self._waiting):
            self._return_late()
        self._see_to_ticks()

    def _look_at(
        self, child: Child, held: Held, mark: float, elapsed: float, begun: list[Beginning]
    ) -> None:
        """See to one running job: what waits behind it, its time-out, its beginning's telling."""
        if elapsed > ANNOUNCED_AFTER and not held.announced:
            held.announced = True
            begun.append(Beginning(held.job, held.attempt, reports.wall_clock(mark)))
        if elapsed > RELIEVED_AFTER and child.unbegun():
            self._waiting.put_back(child.take_back())
            self._arm()
        timeout = held.plan.spec.timeout
        if timeout is not None and elapsed > timeout and held.why is None:
            self.end([Ended(held.job, held.attempt, "timed out")])
        if self._ticks % _SAMPLED_EACH == 0:
            child.sample_memory()

    def _return_late(self) -> None:
        late = self._reactor.seconds() - RETURNED_AFTER
        if self._events is not None:
            waiting = list(self._waiting)
            self._give_back([held for held in waiting if held.since < late])


_UNBEGUN = frozenset({State.WAITING, State.FETCHING})


def _interpreter(python: str | None) -> str:
    if python is None:
        return sys.executable
    return shutil.which(python) or python
