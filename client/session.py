"""A client's half of a session: it hands jobs in, and matches what comes back to them.

Whatever lies between, the coordinator in this process or a connection that comes and goes, is a
``ports.Coordinator`` that ``connected`` brings and ``disconnected`` takes away. Jobs are taken
meanwhile; what was not answered is sent again, and known again by its sequence number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.departures import Departures
from ..protocol.errors import CoordinatorLost, Disconnected, QueueFull
from ..protocol.ids import JobId, SessionId
from ..protocol.jobs import BlobRef
from ..protocol.outcomes import Delivery
from ..protocol.pace import Pace
from ..protocol.ports import Accepted, Coordinator
from ..protocol.transfers import DeferToThread
from .awaiting import error_in
from .buffers import Pieces
from .early import Early
from .entries import Entries, accepted_ids, each, enter, enter_all
from .followed import Followed
from .frames import Entry, Frame, Frames
from .pressure import Pressure
from .quiet import Quiet
from .requests import Requests
from .spool import Spool
from .tallies import GroupTally
from .values import Values
from .withdrawn import Withdrawn


class Session:
    """One pool's jobs, from their submission to the end. Implements ``ports.ClientPort``."""

    _log = Logger()

    def __init__(self, reactor: IReactorTime, defer_to_thread: DeferToThread) -> None:
        self.id = SessionId(os.urandom(16))
        self.spool = Spool(defer_to_thread)
        self.requests = Requests(self)
        self.values = Values(self.requests, self.spool, defer_to_thread)
        self.following = Followed()
        """Who is called with the output of a job (its stream, the bytes)."""
        self.last_warning: str | None = None
        self.reactor = reactor
        self.defer_to_thread = defer_to_thread
        self._coordinator: Coordinator | None = None
        self._store: bytes | None = None
        self._stored: set[bytes] = set()
        self._storing = self._sending = self._armed = self._numbered = False
        self._frames = Frames()
        self._pressure = Pressure(reactor, self.wake)
        self._pace = Pace(reactor)
        self._departures = Departures.of(reactor)
        self._spooling = self._groups = 0
        self._jobs: Entries = {}
        self._early = Early()
        self._withdrawn = Withdrawn(self.requests)
        self._quiet = Quiet(self._is_quiet)

    # -- the link ---------------------------------------------------------------------------------

    def meet(self, store: bytes) -> None:
        """A coordinator answers. With another store, it knows nothing of what was submitted."""
        if self._store not in (None, store):
            self._fail_jobs(CoordinatorLost(), CoordinatorLost())
            self.requests.another_store(CoordinatorLost())
            self.id = SessionId(os.urandom(16))
            self._numbered = False
        self._store = store

    def connected(self, coordinator: Coordinator, next_sequence: int) -> None:
        """The session is open; ``next_sequence`` is the first number not seen there."""
        if not self._numbered:
            self._numbered = True
            self._frames.number_from(next_sequence)
        elif next_sequence < (self._frames.oldest or 0):
            # it was away for so long that the session was given up there: not the jobs
            self.requests.keep_watching(self._jobs)
        self._coordinator = coordinator
        self._frames.fit(coordinator)
        self._stored.clear()
        self._storing = False
        self.requests.connected(coordinator)
        self._flush()

    def disconnected(self) -> None:
        """What was in flight is sent again when the next connection is there."""
        self._coordinator = None
        self._pressure.stop()
        self._frames.land()
        self._early.disconnected()
        self.requests.disconnected()

    # -- submitting -------------------------------------------------------------------------------

    def submit(
        self,
        entry: Entry,
        spec: bytes,
        payload: bytes,
        blobs: Sequence[tuple[BlobRef, bytes]] = (),
        key: str | None = None,
        tally: GroupTally | None = None,
        place: int | None = None,
    ) -> None:
        """Hand in a job. ``blobs``: what its spec refers to, in case it is not there yet."""
        frame = self._frames.add(entry, spec, payload, key, tally, place)
        if blobs:
            self._keep(frame, blobs)
        if not self._armed:
            self.wake()
        elif self._frames.due:
            self._departures.at_once(self._send)

    def submit_large(
        self,
        entry: Entry,
        spec: bytes,
        payload: bytes | Pieces,
        blobs: Sequence[tuple[BlobRef, bytes]] = (),
        key: str | None = None,
        tally: GroupTally | None = None,
        place: int | None = None,
    ) -> Deferred[None]:
        """The same for a payload that travels as a blob; fires when it is on its way."""

        def spooled(ref: BlobRef) -> None:
            if self._withdrawn.was_spooled(entry):
                self.spool.release(ref)
                return
            frame = self._frames.add(entry, spec, ref, key, tally, place)
            self._keep(frame, blobs)
            if ref in frame.blobs:
                self.spool.release(ref)
            frame.blobs.add(ref)
            self.wake()

        def ended(result: Any) -> None:
            self._spooling -= 1
            if isinstance(result, Failure):
                entry.has_failed(error_in(result))
            self._quiet.look()

        self._spooling += 1
        return self.spool.add(payload).addCallback(spooled).addBoth(ended)

    def _keep(self, frame: Frame, blobs: Sequence[tuple[BlobRef, bytes]]) -> None:
        for ref, data in blobs:
            if ref not in frame.blobs:
                frame.blobs.add(ref)
                self.spool.keep(ref, data)

    def wake(self) -> None:
        """All that one turn of the reactor brings goes out together, and then all of a moment."""
        if not self._armed:
            self._armed = True
            self._departures.later(self._pace.wait(self._frames.flying), self._flush)

    def _flush(self) -> None:
        self._armed = False
        self._pace.left()
        self._frames.close()
        self.requests.flush()
        self._send()

    def _send(self) -> None:
        if not self._sending:  # an answer may come at once, and send the next one
            self._sending = True
            try:
                self._send_all()
            finally:
                self._sending = False

    def _send_all(self) -> None:
        while self._coordinator is not None and not self._storing:
            frame = self._frames.first(self._pressure.full)
            if frame is None and self._pressure.may_ask():
                frame = self._frames.first_held()
            if frame is None:
                return
            self._withdrawn.leave_out(frame)
            if not frame.entries and frame.sequence is None:
                self._accept(Accepted(), frame)
                continue
            missing = [ref for ref in frame.blobs if ref.digest not in self._stored]
            if frame.tally is not None:
                self._pressure.asked()
            if missing:
                self._store_blobs(self._coordinator, missing, frame)
            else:
                self._send_frame(self._coordinator, frame)

    def _send_frame(self, coordinator: Coordinator, frame: Frame) -> None:
        group = None if frame.tally is None else frame.tally.number
        sequence = self._frames.sent(frame)
        coordinator.submit(sequence, frame.as_sent(), group).addCallbacks(
            self._answered,
            self._not_answered,
            callbackArgs=(coordinator, frame),
            errbackArgs=(coordinator, frame),
        )

    def _store_blobs(self, coordinator: Coordinator, refs: list[BlobRef], frame: Frame) -> None:
        """What the frame refers to comes before it."""
        self._storing = True

        def stored(_: Any) -> None:
            if coordinator is self._coordinator:
                self._stored.update(ref.digest for ref in refs)
                self._pressure.not_asked()

        def ended(_: Any) -> None:
            if coordinator is self._coordinator:
                self._storing = False
                self._send()

        storing = self.spool.hand_over(refs, coordinator.put_blob)
        storing.addCallbacks(stored, self._not_answered, errbackArgs=(coordinator, frame))
        storing.addBoth(ended)

    def _answered(self, accepted: Accepted, coordinator: Coordinator, frame: Frame) -> None:
        if accepted.warning and accepted.warning != self.last_warning:
            self.last_warning = accepted.warning
            self._log.warn("{warning}", warning=accepted.warning)
        if frame.done:
            return
        if accepted.missing:
            self._stored.difference_update(accepted.missing)
            self._frames.again(frame)
            self._pressure.not_asked()
        else:
            self._accept(accepted, frame)
            if self._pressure.over():
                self._frames.let_go()
        self._send()

    def _accept(self, accepted: Accepted, frame: Frame) -> None:
        self._frames.answered(frame)
        ids = accepted_ids(accepted)
        if not frame.submissions:  # all have been given up since, and had arrived before
            self._withdrawn.cancel_unknown(ids)
            frame.entries, ids = [], []
        if frame.tally is not None:
            frame.tally.accepted(accepted.group, len(ids), self.requests)
        enter_all(self._jobs, ids, frame.entries)
        if frame.keyed:
            self.requests.named_by_key(frame, ids)
        for entry, job in zip(frame.entries, ids, strict=True):
            entry.was_accepted(job)
        if self._early:  # once all are entered: two of one frame may have one key
            self._early.tell(ids, self.following, self.delivered)
        self._withdrawn.cancel_accepted(frame)
        self._let_go(frame)

    def _let_go(self, frame: Frame) -> None:
        for ref in frame.blobs:
            self.spool.release(ref)
        self._settled()

    def _settled(self) -> None:
        """A frame is not on its way any more."""
        if self._early:
            self._early.answered(self._frames.oldest or 0)
        self._quiet.look()

    def _not_answered(self, failure: Failure, coordinator: Coordinator, frame: Frame) -> None:
        if coordinator is not self._coordinator or failure.check(Disconnected, CancelledError):
            return  # it is sent again, over the next connection
        if frame.done:
            return
        if failure.check(QueueFull) and frame.tally is not None:
            self._pressure.refused()
            self._frames.hold(frame)
        else:
            self._refuse(frame, error_in(failure))
        self._send()

    def _refuse(self, frame: Frame, error: Exception) -> None:
        """Its jobs fail. An empty frame takes its number, so that no gap is left."""
        blobs, frame.blobs = frame.blobs, set()
        for ref in blobs:
            self.spool.release(ref)
        waiting = self._withdrawn.give_up(frame)
        if not frame.entries or frame.sequence is None:
            self._frames.answered(frame)
            if frame.tally is not None:
                frame.tally.accepted(None, 0, self.requests)
        else:
            self._frames.again(frame)
        frame.entries, frame.submissions = [], []
        if self._pressure.over():
            self._frames.let_go()
        for entry in waiting:
            entry.has_failed(error)
        self._settled()

    # -- deliveries: ports.ClientPort -------------------------------------------------------------

    def delivered(self, outcomes: Sequence[Delivery]) -> Deferred[None]:
        """A job's end is told once; what is not ours (any more) is taken, and dropped."""
        jobs, watched = self._jobs, self.requests.watched
        waiting: list[Callable[[], None]] = []
        for delivery in outcomes:
            job, ending, body = delivery
            entry = jobs.pop(job, None)
            if (entry is None or job in watched) and self._frames:
                # an answer with the job's id may be on its way: the first, or one more by its key
                self._early.outcome(delivery, self._frames.last)
            if entry is None:
                continue
            if watched:
                watched.discard(job)
            for one in entry if isinstance(entry, list) else (entry,):
                tell = one.has_ended(ending, body)
                if tell is not None:
                    waiting.append(tell)
        for tell in waiting:  # who awaits one after the other finds all of these ended
            tell()
        self._quiet.look()
        return succeed(None)

    def output(self, job: JobId, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        """Fires when who follows the job has it; with False where nobody does."""
        if job not in self.following and job not in self._jobs and self._frames:
            return self._early.output(job, stream, offset, data, self._frames.last)
        return self.following.output(job, stream, offset, data)

    # -- cancelling -------------------------------------------------------------------------------

    def cancel(self, entry: Entry) -> Deferred[str]:
        """End a job; fires with the state that it had."""
        return self._withdrawn.cancel(entry) if entry.id is None else self.requests.cancel(entry.id)

    def withdraw(self, entry: Entry) -> None:
        """Do not submit it, if that has not been done yet."""
        if entry.frame is not None and (entry.frame.sequence is None or entry.frame.refused):
            self.cancel(entry)

    def new_group_number(self) -> int:
        """The session's own number of a new group, from 1."""
        self._groups += 1
        return self._groups

    def expect(self, job: JobId, entry: Entry) -> None:
        """The outcome of a job that was submitted elsewhere is wanted here."""
        enter(self._jobs, job, entry)
        self.requests.watch(job)

    def unknown(self, job: JobId, error: Exception) -> None:
        """No outcome of this job will come."""
        for one in each(self._jobs.pop(job, None)):
            one.has_failed(error)
        self._quiet.look()

    def when_quiet(self, results: bool) -> Deferred[None]:
        """Fires when all jobs are accepted; with ``results``, when all have ended."""
        return self._quiet.wait(results)

    def _is_quiet(self, results: bool) -> bool:
        return not (self._frames or self._spooling or (results and self._jobs))

    def fail_all(self, error: Exception) -> None:
        """No outcome will come of anything that was submitted, and no answer to any question."""
        self.end_all(error, error)

    def end_all(self, error: Exception, not_accepted: Exception) -> None:
        """The same, with an error of their own for jobs that nobody has accepted, as is known."""
        self._fail_jobs(error, not_accepted)
        self.requests.give_up(error)

    def _fail_jobs(self, error: Exception, not_accepted: Exception) -> None:
        self._pressure.stop()
        failed: list[tuple[Entry, Exception]] = []
        for frame in self._frames.take_all():
            failed.extend((entry, not_accepted) for entry in self._withdrawn.give_up(frame))
        for entry in self._jobs.values():
            failed.extend((one, error) for one in each(entry))
        self._jobs.clear()
        self._early.clear()
        for one, why in failed:
            one.has_failed(why)
        self.requests.fail_all(error)
        self._quiet.look()

    def close(self) -> Deferred[None]:
        """Forget the link, and remove what was spooled."""
        self._coordinator = None
        self._pressure.stop()
        return self.spool.close()
