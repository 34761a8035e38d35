"""A client's half of a session: it hands jobs in, and matches what comes back to them.

Whatever lies between, the coordinator in this process or a connection that comes and goes, is a
``ports.Coordinator`` that ``connected`` brings and ``disconnected`` takes away. Jobs are taken
meanwhile; what was not answered is sent again, under the sequence number that it had, so that the
coordinator knows it again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.errors import CoordinatorLost, Disconnected
from ..protocol.ids import JobId, SessionId
from ..protocol.jobs import BlobRef
from ..protocol.outcomes import Delivery, Ending
from ..protocol.ports import Accepted, Coordinator
from ..protocol.transfers import DeferToThread
from .awaiting import error_in
from .followed import Follow, Followed
from .frames import Entry, Frame, Frames
from .quiet import Quiet
from .requests import Requests, same
from .spool import Spool
from .tallies import GroupTally
from .values import Values


class Session:
    """One pool's jobs, from their submission to the end. Implements ``ports.ClientPort``."""

    _log = Logger()

    def __init__(self, reactor: IReactorTime, defer_to_thread: DeferToThread) -> None:
        self.id = SessionId(os.urandom(16))
        self.spool = Spool(defer_to_thread)
        self.requests = Requests(self)
        self.values = Values(self.requests, self.spool, defer_to_thread)
        self.following: dict[JobId, Follow] = {}
        """Who is called with the output of a job (its stream, the bytes)."""
        self.last_warning: str | None = None
        self._followed = Followed()
        self._reactor = reactor
        self.defer_to_thread = defer_to_thread
        self._coordinator: Coordinator | None = None
        self._store: bytes | None = None
        self._stored: set[bytes] = set()
        self._storing = False
        self._frames = Frames()
        self._next_sequence: int | None = None
        self._armed = False
        self._spooling = 0
        self._groups = 0
        self._jobs: dict[int, Entry | list[Entry]] = {}
        self._early: dict[int, Delivery] = {}
        self._unwanted: dict[Entry, Deferred[str] | None] = {}
        self._quiet = Quiet(self._is_quiet)

    # -- the link ---------------------------------------------------------------------------------

    def meet(self, store: bytes) -> None:
        """A coordinator answers. With another store, it knows nothing of what was submitted."""
        if self._store not in (None, store):
            self._fail_jobs(CoordinatorLost())
            self.id = SessionId(os.urandom(16))
            self._next_sequence = None
        self._store = store

    def connected(self, coordinator: Coordinator, next_sequence: int) -> None:
        """The session is open; ``next_sequence`` is the first number not seen there."""
        if self._next_sequence is None:
            self._next_sequence = next_sequence
        self._coordinator = coordinator
        self._stored.clear()
        self._storing = False
        self.requests.connected(coordinator)
        self._flush()

    def disconnected(self) -> None:
        """What was in flight is sent again when the next connection is there."""
        self._coordinator = None
        self._frames.land()
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

    def submit_large(
        self,
        entry: Entry,
        spec: bytes,
        payload: bytes,
        blobs: Sequence[tuple[BlobRef, bytes]] = (),
        key: str | None = None,
        tally: GroupTally | None = None,
        place: int | None = None,
    ) -> Deferred[None]:
        """The same for a payload that travels as a blob; fires when it is on its way."""

        def spooled(ref: BlobRef) -> None:
            if entry in self._unwanted:
                self._tell_cancelled(entry)
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
        """All that this turn of the reactor brings goes out together at its end."""
        if not self._armed:
            self._armed = True
            self._reactor.callLater(0, self._flush)

    def _flush(self) -> None:
        self._armed = False
        self._frames.close()
        self.requests.flush()
        self._send()

    def _send(self) -> None:
        while self._coordinator is not None and not self._storing:
            frame = self._frames.next_to_send()
            if frame is None:
                return
            self._leave_out_unwanted(frame)
            if frame not in self._frames:
                continue
            missing = [ref for ref in frame.blobs if ref.digest not in self._stored]
            if missing:
                self._store_blobs(self._coordinator, missing, frame)
            else:
                self._send_frame(self._coordinator, frame)

    def _send_frame(self, coordinator: Coordinator, frame: Frame) -> None:
        if frame.sequence is None:
            assert self._next_sequence is not None
            frame.sequence = self._next_sequence
            self._next_sequence += 1
        frame.in_flight = True
        group = None if frame.tally is None else frame.tally.number
        coordinator.submit(frame.sequence, frame.submissions, group).addCallbacks(
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

        def ended(_: Any) -> None:
            if coordinator is self._coordinator:
                self._storing = False
                self._send()

        storing = self.spool.hand_over(refs, coordinator.put_blob)
        storing.addCallbacks(stored, self._not_answered, errbackArgs=(coordinator, frame))
        storing.addBoth(ended)

    # -- answers ----------------------------------------------------------------------------------

    def _answered(self, accepted: Accepted, coordinator: Coordinator, frame: Frame) -> None:
        if accepted.warning and accepted.warning != self.last_warning:
            self.last_warning = accepted.warning
            self._log.warn("{warning}", warning=accepted.warning)
        if accepted.missing:
            frame.in_flight = False
            self._stored.difference_update(accepted.missing)
        elif frame in self._frames:
            self._accept(accepted, frame)
        self._send()

    def _accept(self, accepted: Accepted, frame: Frame) -> None:
        self._frames.answered(frame)
        if frame.tally is not None:
            frame.tally.accepted(accepted.group, len(frame.entries), self.requests)
        early = self._early
        for entry, job in zip(frame.entries, _each(accepted.ids), strict=True):
            entry.frame = None
            self._enter(job, entry)
            entry.was_accepted(job)
            if early and job in early:
                self.delivered([early.pop(job)])
        self._cancel_unwanted(frame)
        self._let_go(frame)

    def _enter(self, job: JobId, entry: Entry) -> None:
        """Who is told of a job's end; two, where two submissions with one key are one job."""
        known = self._jobs.get(job)
        if known is None:
            self._jobs[job] = entry
        elif isinstance(known, list):
            known.append(entry)
        else:
            self._jobs[job] = [known, entry]

    def _let_go(self, frame: Frame) -> None:
        for ref in frame.blobs:
            self.spool.release(ref)
        if not self._frames:
            self._early.clear()
        self._quiet.look()

    def _not_answered(self, failure: Failure, coordinator: Coordinator, frame: Frame) -> None:
        if coordinator is not self._coordinator or failure.check(Disconnected, CancelledError):
            return  # it is sent again, over the next connection
        frame.in_flight = False
        if frame in self._frames:
            self._refuse(frame, error_in(failure))
        self._send()

    def _refuse(self, frame: Frame, error: Exception) -> None:
        """Its jobs fail. An empty frame takes its number, so that no gap is left."""
        blobs, frame.blobs = frame.blobs, set()
        for ref in blobs:
            self.spool.release(ref)
        if not frame.entries or frame.sequence is None:
            self._frames.answered(frame)
        for entry in self._still_waiting(frame):
            entry.has_failed(error)
        frame.entries, frame.submissions = [], []
        self._quiet.look()

    def _still_waiting(self, frame: Frame) -> list[Entry]:
        """Who is to be told that nothing comes of a frame; not who cancelled before it was sent."""
        waiting = []
        for entry in frame.entries:
            entry.frame = None
            told = entry in self._unwanted and frame.sequence is None
            state = self._unwanted.pop(entry, None)
            if state is not None:
                state.callback("unknown")
            if not told:
                waiting.append(entry)
        return waiting

    # -- deliveries: ports.ClientPort -------------------------------------------------------------

    def delivered(self, outcomes: Sequence[Delivery]) -> Deferred[None]:
        jobs = self._jobs
        for delivery in outcomes:
            job, ending, body = delivery
            entry = jobs.pop(job, None)
            if entry is None:
                if self._frames:  # the answer with the job's id may be on its way
                    self._early[job] = delivery
            elif isinstance(entry, list):
                for one in entry:
                    one.has_ended(ending, body)
            else:
                entry.has_ended(ending, body)
        self._quiet.look()
        return succeed(None)

    def output(self, job: JobId, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        return self._followed.output(self.following.get(job), job, stream, offset, data)

    # -- cancelling -------------------------------------------------------------------------------

    def cancel(self, entry: Entry) -> Deferred[str]:
        """End a job; fires with the state that it had."""
        if entry.id is not None:
            return self.requests.cancel(entry.id)
        if entry.frame is not None and entry.frame.sequence is None:
            self._unwanted[entry] = None
            self._tell_cancelled(entry, forget=False)
            return succeed("queued")
        state = self._unwanted.get(entry)
        if state is None:
            state = self._unwanted[entry] = Deferred()
        return same(state)

    def _tell_cancelled(self, entry: Entry, forget: bool = True) -> None:
        state = self._unwanted.pop(entry, None) if forget else None
        entry.has_ended(Ending.CANCELLED, b"")
        if state is not None:
            state.callback("queued")

    def _leave_out_unwanted(self, frame: Frame) -> None:
        if self._unwanted and frame.sequence is None:
            for entry in frame.drop(self._unwanted):
                del self._unwanted[entry]
            if not frame.entries:
                self._accept(Accepted(), frame)

    def _cancel_unwanted(self, frame: Frame) -> None:
        if not self._unwanted:
            return
        for entry in frame.entries:
            state = self._unwanted.pop(entry, None)
            if state is not None and entry.id is not None:
                self.requests.cancel(entry.id).chainDeferred(state)

    def withdraw(self, entry: Entry) -> None:
        """Do not submit it, if that has not been done yet."""
        if entry.frame is not None and entry.frame.sequence is None:
            self.cancel(entry)

    # -- the rest ---------------------------------------------------------------------------------

    def new_group_number(self) -> int:
        """The session's own number of a new group, from 1."""
        self._groups += 1
        return self._groups

    def expect(self, job: JobId, entry: Entry) -> None:
        """The outcome of a job that was submitted elsewhere is wanted here."""
        self._enter(job, entry)
        self.requests.watch(job)

    def unknown(self, job: JobId, error: Exception) -> None:
        """No outcome of this job will come."""
        entry = self._jobs.pop(job, None)
        for one in entry if isinstance(entry, list) else [entry]:
            if one is not None:
                one.has_failed(error)
        self._quiet.look()

    def when_quiet(self, results: bool) -> Deferred[None]:
        """Fires when all jobs are accepted; with ``results``, when all have ended."""
        return self._quiet.wait(results)

    def _is_quiet(self, results: bool) -> bool:
        return not (self._frames or self._spooling or (results and self._jobs))

    def fail_all(self, error: Exception) -> None:
        """No outcome will come of anything that was submitted, and no answer to any question."""
        self._fail_jobs(error)
        self.requests.give_up(error)

    def _fail_jobs(self, error: Exception) -> None:
        entries: list[Entry] = []
        for frame in self._frames.take_all():
            entries.extend(self._still_waiting(frame))
        jobs, self._jobs = self._jobs, {}
        for entry in jobs.values():
            entries.extend(entry if isinstance(entry, list) else [entry])
        self._early.clear()
        for one in entries:
            one.has_failed(error)
        self.requests.fail_all(error)
        self._quiet.look()

    def close(self) -> Deferred[None]:
        """Forget the link, and remove what was spooled."""
        self._coordinator = None
        return self.spool.close()


def _each(runs: Sequence[tuple[int, int]]) -> Iterator[JobId]:
    for first, count in runs:
        yield from map(JobId, range(first, first + count))
