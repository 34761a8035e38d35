"""The slots of one machine: hands the attempts that it is assigned to its children."""

from __future__ import annotations

import functools
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from .. import __version__
from ..protocol.errors import AmpacityError, CannotStart, Malformed, NoSuchJob
from ..protocol.ids import JobId
from ..protocol.jobs import Assignment
from ..protocol.limits import OUTPUT_CHUNK
from ..protocol.outcomes import JobLog, Report
from ..protocol.ports import Beginning, Ended, Holding, WorkerEvents, WorkerInfo
from . import reports
from .accounts import Accounts
from .attached import Attached
from .crew import Crew
from .dispatch import Dispatch
from .ending import Grace
from .errands import STALE, Done
from .evidence import evidence_of
from .fetching import Fetching, message
from .guard import Guard
from .held import UNBEGUN, Held, Plans, State
from .launch import ChildOptions, interpreter, make_folders
from .lookout import Lookout
from .machine import identity
from .patience import Patience
from .process import Child
from .reaping import Reaper
from .resultfiles import ELSEWHERE, results_of
from .rights import JobUser
from .waiting import Durations, Waiting

STORE_SECONDS = 10.0
"""How long the results that are being stored may take, when everything else has stopped."""


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
        user: JobUser | None = None,
    ) -> None:
        """``user``: whose rights the children have; ``folder`` is made passable for it."""
        self._reactor = reactor
        self._slots = slots
        self._name = name or platform.node() or "worker"
        self._incarnation = secrets.token_bytes(16)
        self._options = ChildOptions(
            python=interpreter(python),
            setup=setup,
            worker=self._name,
            software=__version__,
            folder=folder / f"slots-{os.getpid()}-{self._incarnation.hex()[:8]}",
            grace=grace or Grace(),
            user=user,
        )
        self._python = ".".join(platform.python_version_tuple()[:2]) if python is None else ""
        self._guard = Guard(reactor)
        self._reaper = Reaper(reactor)
        self._crew = Crew(reactor, slots, self._options, self._guard, self)
        self._durations = Durations()
        self._waiting = Waiting(self._durations)
        self._results = results_of(self._options, self._in_thread)
        self._accounts = Accounts(reactor, self._waiting, self._results)
        self._fetching = Fetching(self._fetched, self._not_fetched, user)
        self._events: WorkerEvents | None = None
        self._held = self._accounts.held
        self._plans = Plans(identity())
        self._dispatch = Dispatch(reactor, self._crew, self._waiting, self._given)
        self._lookout = Lookout(reactor, slots, self._crew, self._waiting, self)
        self._stopped: Deferred[None] | None = None
        self._patience: Patience | None = None
        self.on_given_up: Callable[[], None] = lambda: None
        self.on_drain: Callable[[], None] = lambda: None
        """Called by ``drain``: who made the slots knows how to leave."""

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
        self._accounts.bind(events)
        self._dispatch.arm()

    def start(self) -> Deferred[None]:
        """Start the children; fires when the first one is ready. Fails with ``CannotStart``."""
        made = self._in_thread(lambda: make_folders(self._options))
        self._guard.start()
        self._reaper.start()
        return made.addCallback(lambda _: self._crew.start())

    def _in_thread(self, function: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function)

    def held(self) -> list[Holding]:
        """Every attempt that is here, those with an unacknowledged report included."""
        return self._accounts.holdings()

    def drop(self, unwanted: Iterable[Holding]) -> None:
        """End these without a word, and forget their reports."""
        self.end([Ended(job, attempt, "superseded") for job, attempt in set(unwanted)])

    def stop(self, grace: float = 0.0) -> Deferred[None]:
        """Give back what has not begun, let the rest run for ``grace`` seconds, then end it by
        signals and give it back, too. Fires when no child is left and the reports are sent.

        Asked again with less patience, the rest of the grace is shortened.
        """
        if self._stopped is None:
            self._patience = Patience(self._reactor, grace, self._end_all)
            self._stopped = Deferred.fromCoroutine(self._stop(self._patience))
        elif self._patience is not None:
            self._patience.shorten(grace)
        return self._stopped

    async def _stop(self, patience: Patience) -> None:
        self._crew.close()
        self._dispatch.stop()
        for child in self._crew.children():
            self._waiting.put_back(child.take_back())
        self.give_back(self._accounts.unbegun())
        for child in self._crew.all() - {c for c in self._crew.children() if c.busy}:
            self._crew.dismiss(child)
        await self._crew.when_all_gone()
        patience.stop()
        self._lookout.stop()
        await self._accounts.close(STORE_SECONDS)  # before their folder goes
        await self._guard.stop()
        self._reaper.stop()
        await self._in_thread(lambda: shutil.rmtree(self._options.folder, ignore_errors=True))

    def _end_all(self) -> None:
        for child in self._crew.children():
            running = child.running()
            if running is not None and running.why is None:
                running.why = "stopped"
            child.end_running()

    # -- what the coordinator asks ----------------------------------------------------------------

    def assign(self, assignments: Sequence[Assignment]) -> None:
        """Take attempts."""
        plan, of, ready = None, ("", b""), []
        for job, attempt, spec, payload, client in assignments:
            if spec is not of[1] or client != of[0]:  # a frame shares its specs
                plan, of = self._plans.of(client, spec), (client, spec)
            if plan is None:
                self._log.error("the spec of job {job} is malformed", job=job)
                self._accounts.unreadable(job, attempt)
                continue
            held = self._held[job, attempt] = Held(job, attempt, plan, payload)
            if plan.ready and type(payload) is bytes:
                ready.append(held)
            else:
                self._fetching.add(held)
        self._waiting.add(ready, self._reactor.seconds())
        if self._stopped is not None:
            self.give_back(self._accounts.unbegun())
        self._arm()

    def _arm(self) -> None:
        """There are jobs: see to children, if there are none, and to giving."""
        self._crew.wake()
        self._dispatch.now()

    def _fetched(self, held: Held) -> None:
        if held.state is State.FETCHING:
            self._waiting.add([held], self._reactor.seconds())
            self._arm()

    def _not_fetched(self, held: Held, error: AmpacityError | None) -> None:
        """It has failed; or, with no error, it is given back: the connection is to blame."""
        if held.state is not State.FETCHING:
            return
        if error is None:
            self.give_back([held])
        else:
            self._accounts.report(held, reports.refused(held, type(error), message(error)))

    def retract(self, attempts: Sequence[Holding]) -> None:
        """Give back those of these that have not begun."""
        wanted = [self._held[key] for key in attempts if key in self._held]
        self._free_from_children(wanted)
        self.give_back([held for held in wanted if held.state in UNBEGUN and held.why is None])

    def end(self, attempts: Sequence[Ended]) -> None:
        """End attempts; those that run, by signals. What is superseded is killed, and not told."""
        asked = []
        for job, attempt, why in attempts:
            held = self._held.get((job, attempt))
            if held is not None and (held.why is None or why == "superseded" != held.why):
                held.why = why
                asked.append(held)
        self._accounts.unwanted({Holding(*of[:2]) for of in attempts if of.why == "superseded"})
        self._free_from_children(asked)
        unbegun = [held for held in asked if held.state in UNBEGUN]
        self._waiting.remove(held for held in unbegun if held.state is State.WAITING)
        for held in unbegun:
            self._accounts.ended(held, None, None, 0.0)
        running = {child.running(): child for child in self._crew.children() if child.busy}
        for held in asked:
            child = running.get(held)
            if child is not None and held.state is State.GIVEN:
                (child.kill if held.why == "superseded" else child.end_running)()

    def _free_from_children(self, wanted: Sequence[Held]) -> None:
        """Take back what has not begun from the children that have one of these."""
        if any(held.state is State.GIVEN for held in wanted):
            given = {held for held in wanted if held.state is State.GIVEN}
            for child in self._crew.children():
                if child.busy and child.has(given):
                    self.relieve(child)

    def relieve(self, child: Child) -> None:
        """Take back what a child has not begun; it waits again, before all else."""
        self._waiting.put_back(child.take_back())
        self._dispatch.arm()

    def attach(self, job: JobId, follow: bool) -> Deferred[JobLog]:
        """What a job printed so far; with ``follow``, more is told as ``output``."""
        for held in self._held.values():
            if held.job == job:
                if follow and (held.attached is None or held.attached.deaf):
                    self._attach(held)
                return succeed(held.log())
        return fail(NoSuchJob(f"job {job} is not on worker {self._name}"))

    def _attach(self, held: Held) -> None:
        def send(stream: int, offset: int, data: bytes) -> Deferred[bool]:
            events = self._events
            if events is None:
                return succeed(False)
            return maybeDeferred(events.output, held.job, stream, offset, data)

        held.attached = Attached(send, self._crew.pause_of(held))

    def reload(self) -> None:
        """Replace the children: idle ones now, the others when their job ends."""
        for child in list(self._crew.children()):
            if child.busy:
                child.retire = "all children are replaced"
                self.relieve(child)
            else:
                self._crew.replace(child)

    def drain(self) -> None:
        """Leave for good: its maker does what ``stop`` does, and says goodbye."""
        self.on_drain()

    def hold_back(self, held_back: bool) -> None:
        """Begin nothing for a while; what runs goes on."""
        self._dispatch.hold_back(held_back)
        if held_back:
            for child in self._crew.children():
                self.relieve(child)

    def given_up(self) -> None:
        """Forget everything; who made the slots may join again."""
        self.drop(self.held())
        self.bind(None)
        self.on_given_up()

    def _given(self, batch: list[Held]) -> None:
        for held in batch:
            if held.plan.spec.attach and held.attached is None:
                self._attach(held)
        self._lookout.see_to_it()

    # -- what the children tell -------------------------------------------------------------------

    def spawned(self, child: Child) -> None:
        """A child's process exists."""
        self._guard.add(child.pid)

    def child_ready(self, child: Child) -> None:
        """A child takes jobs."""
        self._python = child.python
        self._dispatch.arm()

    def printed(self, child: Child, held: Held, stream: int, data: bytes) -> None:
        """A job has printed."""
        offset = held.printed(stream, data)
        if held.attached is not None:
            for start in range(0, len(data), OUTPUT_CHUNK):
                piece = data[start : start + OUTPUT_CHUNK]
                held.attached.printed(stream, offset + start, piece)

    def jobs_ended(self, child: Child, ended: list[Held]) -> None:
        """Jobs are over, as their child says."""
        self._durations.note_all((held.plan.key, held.done) for held in ended)
        told: list[tuple[Held, Report]] = []
        since = reports.wall_clock(0.0)
        for held in ended:
            done = held.done
            assert done is not None
            if done.blobs or done.signal:
                self._job_ended(child, held, done)
            else:
                told.append((held, reports.succeeded_or_failed(held, done, since)))
        self._accounts.report_all(told, self._dispatch.pause(child.context))

    def _job_ended(self, child: Child, held: Held, done: Done) -> None:
        """One that was interrupted, or has left its result in a file."""
        files = self._results.of(child.folder, done.blobs)
        if files is None:
            self._accounts.report(held, reports.refused(held, Malformed, ELSEWHERE))
        elif not done.signal:
            report = reports.succeeded_or_failed(held, done, reports.wall_clock(0.0))
            self._accounts.report(held, report, files)
        else:
            self._results.discard(files)
            evidence = evidence_of(self.info, child, held.why, done.signal)
            self._accounts.ended(held, evidence, done.began, done.ended - done.began)

    def batch_ended(self, child: Child, stop: str) -> None:
        """A child has run a batch, or wants to be replaced."""
        child.retire = child.retire or stop
        if child.busy and not stop:
            self._dispatch.now()
            return
        self.relieve(child)
        self._dispatch.now()
        if self._stopped is not None:
            self._crew.dismiss(child)
        elif child.retire:
            self._crew.replace(child)
            if stop and stop != STALE:
                child.kill()

    def child_ended(self, child: Child, running: Held | None, unbegun: list[Held]) -> None:
        """A child is gone."""
        self._waiting.put_back(unbegun)
        if running is not None:
            since = child.mark
            seconds = max(0.0, time.monotonic() - since)
            evidence = evidence_of(self.info, child, running.why)
            self._accounts.ended(running, evidence, since, seconds)
        self._crew.gone(child)
        self._in_thread(functools.partial(shutil.rmtree, child.folder, ignore_errors=True))
        self._dispatch.arm()

    def cannot_start(self, error: CannotStart) -> None:
        """No child can be started: what waits has failed."""
        self._log.error("{error}", error=error)
        waiting = list(self._waiting)
        self._waiting.remove(waiting)
        for held in waiting:
            self._accounts.report(held, reports.refused(held, CannotStart, str(error)))

    # -- telling the coordinator ------------------------------------------------------------------

    def begun(self, beginnings: Sequence[Beginning]) -> None:
        """These have been running for a while."""
        self._accounts.begun(beginnings)

    def time_out(self, held: Held) -> None:
        """This one has run for longer than it may."""
        self.end([Ended(held.job, held.attempt, "timed out")])

    def give_back(self, given_back: Sequence[Held]) -> None:
        """These will not run here."""
        self._accounts.give_back(given_back)
