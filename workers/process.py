"""One child process, seen from the agent: starting, giving, taking back, ending, its end."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..protocol.errors import CannotStart
from .ending import Ladder
from .errands import NONCE_SIZE, STDERR, STDOUT, Done, RunJobs
from .held import Context, Held, State, packed
from .launch import ChildOptions, last_words, launch, prepare_details, unfit
from .machine import out_of_memory_kills, peak_memory
from .permits import Permits
from .streams import HeadTail, PipeReader, Splitter

if TYPE_CHECKING:
    from .ampoules import ChildConnector

HALF_DEAD = 0.2
"""Seconds after a process's end in which its pipes may still be held open by others."""


class ChildOwner(Protocol):
    """Who is told what a child does."""

    def spawned(self, child: Child) -> None:
        """Its process exists."""

    def job_ended(self, child: Child, held: Held) -> None:
        """A job's report and all of its output are here."""

    def printed(self, child: Child, held: Held, stream: int, data: bytes) -> None:
        """A job has printed."""

    def batch_ended(self, child: Child, stop: str) -> None:
        """It is idle again; ``stop`` says why it shall be replaced, if it shall."""

    def child_ended(self, child: Child, running: Held | None, unbegun: list[Held]) -> None:
        """It is gone; ``running`` was running then, ``unbegun`` will not begin."""


class Child:
    """One child: an ampoule pool of one process, its permits and its output streams.

    Jobs are numbered from 1 in the order in which they begin. ``begun()`` comes from the permits,
    the number of reports from the child, the number of ended outputs from the markers; a job is
    over when the last two have passed it.
    """

    def __init__(self, reactor: Any, options: ChildOptions, number: int, owner: ChildOwner) -> None:
        self._reactor = reactor
        self._options = options
        self._owner = owner
        self.folder = options.folder / f"child-{number}"
        self.context: Context | None = None
        self.pid = 0
        self.python = ""
        self.busy = False
        self.ready = False
        self.gone = False
        self.retire = ""
        """Why it takes no more jobs, if it does not."""
        self.mark = 0.0
        """``CLOCK_MONOTONIC`` when the running job began, nearly: a batch's begin, or the end of
        the job before."""
        self.peak_memory = 0
        self.killed_for_memory = False
        self.reason: Failure | None = None
        self._jobs: deque[Held] = deque()
        self._granted = 0
        self._reported = 0
        self._done = 0
        self._noise = HeadTail()
        self._ladder: Ladder | None = None
        self._permits = Permits()
        self._pool: Any = None
        self._connector: ChildConnector | None = None
        self._highest_before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        self._kills_before = out_of_memory_kills()
        self._readers: dict[int, PipeReader] = {}
        self._process_ended = False
        self._on_end: list[Deferred[None]] = []
        self._on_ready: Deferred[None] | None = None
        self._timer: Any = None
        nonce = secrets.token_bytes(NONCE_SIZE)
        self._nonce = nonce
        self._splitters = {
            stream: Splitter(nonce, self._taker(stream), self._advance)
            for stream in (STDOUT, STDERR)
        }

    # -- starting ---------------------------------------------------------------------------------

    def start(self) -> Deferred[None]:
        """Start the process; fires when it takes jobs.

        Fails with ``CannotStart``, or with the ``OSError`` of a process that could not be made.
        """
        ready: Deferred[None] = Deferred()
        details = prepare_details(self._options, self._nonce, self.folder)
        permits = self._permits.child_end
        try:
            launched = launch(self._reactor, self._options, self, permits, details)
        except OSError:
            self._permits.close()
            self.gone = True
            ready.errback()
            return ready
        self._on_ready = ready
        self._pool, self._connector, prepared, outputs = launched
        self.pid = launched.connector.transport.pid
        self._readers = {
            stream: PipeReader(
                self._reactor, descriptor, self._splitters[stream].feed, self._stream_ended
            )
            for stream, descriptor in outputs.items()
        }
        self._owner.spawned(self)
        prepared.addCallbacks(self._prepared, self._not_prepared)
        return ready

    def _prepared(self, answered: dict[str, Any]) -> None:
        error = unfit(self._options, answered["answer"])
        if error is not None:
            self._fail_start(error)
            self.kill()
            return
        self.python = answered["answer"]["python"]
        self.ready = True
        self.sample_memory()
        ready, self._on_ready = self._on_ready, None
        if ready is not None:
            ready.callback(None)

    def _not_prepared(self, failure: Failure) -> None:
        """Its end follows, with its last words."""
        self.kill()

    def _fail_start(self, error: CannotStart) -> None:
        ready, self._on_ready = self._on_ready, None
        if ready is not None:
            ready.errback(error)

    # -- jobs -------------------------------------------------------------------------------------

    @property
    def free(self) -> bool:
        """Whether it can be given a batch now."""
        return self.ready and not self.busy and not self.gone and not self.retire

    def give(self, batch: Sequence[Held]) -> None:
        """Let it run these, in order."""
        self.busy = True
        first = batch[0].plan
        if self.context is None:
            self.context = first.context
        self._jobs.extend(batch)
        self._granted += len(batch)
        self.mark = time.monotonic()
        self._permits.grant(len(batch))
        call = self._pool.doWork(RunJobs, batch=packed(batch))
        call.addCallbacks(self._batch_ended, self._batch_lost)

    def _batch_ended(self, answer: dict[str, Any]) -> None:
        self.busy = False
        if not self.gone:
            self._owner.batch_ended(self, answer["stop"])

    def _batch_lost(self, failure: Failure) -> None:
        """The process's end, which comes too, tells what was lost."""
        self.kill()

    def take_back(self) -> list[Held]:
        """Take back what it has not begun, in order."""
        taken = [self._jobs.pop() for _ in range(self._permits.take_back())]
        self._granted -= len(taken)
        taken.reverse()
        return taken

    def running(self) -> Held | None:
        """The job that runs now, or has just ended; exact once all is taken back."""
        begun = self._granted - self._permits.left()
        if begun <= self._done:
            return None
        place = begun - 1 - self._reported
        return self._jobs[place] if place < len(self._jobs) else None

    def running_since(self) -> tuple[Held, float] | None:
        """The running job and its begin, where every report before it is here."""
        if self._granted == self._done or self._granted - self._permits.left() != self._done + 1:
            return None
        return self._jobs[self._done - self._reported], self.mark

    def unbegun(self) -> int:
        """How many it has not begun."""
        return self._permits.left()

    def has(self, wanted: set[Held]) -> bool:
        """Whether it was given one of these, and its report is not through."""
        return not wanted.isdisjoint(self._jobs)

    def job_done(self, done: Done) -> None:
        """A job's report came."""
        held = self._jobs[self._done - self._reported]
        held.done = done
        self._done += 1
        self.mark = done.ended
        self._advance()

    def _taker(self, stream: int) -> Callable[[int, bytes], None]:
        def take(number: int, data: bytes) -> None:
            place = number - 1 - self._reported
            if 0 <= place < len(self._jobs):
                self._owner.printed(self, self._jobs[place], stream, data)
            else:
                self._noise.add(data)

        return take

    def _advance(self) -> None:
        """Hand on the jobs whose report and output are here."""
        limit = min(self._done, *(s.passed - 1 for s in self._splitters.values()))
        jobs = self._jobs
        while self._reported < limit:
            self._reported += 1
            self._owner.job_ended(self, jobs.popleft())

    def pause(self, stream: int, paused: bool) -> None:
        """Read nothing of an output stream for a while, so that the job waits in its write."""
        reader = self._readers[stream]
        if reader.connected:
            (reader.pause if paused else reader.resume)()

    # -- ending -----------------------------------------------------------------------------------

    def end_running(self) -> None:
        """End the running job by signals, each after its grace. The caller has taken back the
        jobs that have not begun, and seen that the job to be ended is the one that runs."""
        if self._ladder is None and not self._process_ended:
            self.retire = self.retire or "a job was ended"
            self._ladder = Ladder(self._reactor, self._options.grace, self.signal)
            self._ladder.climb()

    @property
    def last_signal(self) -> str | None:
        """The signal that was sent last to end its job."""
        return self._ladder.last.name if self._ladder is not None and self._ladder.last else None

    def signal(self, number: int) -> None:
        """Signal its process group; before it has one, the process."""
        if self._process_ended or not self.pid:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL everything of it."""
        self.retire = self.retire or "it was killed"
        self.signal(signal.SIGKILL)

    def stop(self, grace: float) -> None:
        """End it while it is idle: as ampoule does, and after the grace by SIGKILL."""
        self.retire = self.retire or "it was stopped"
        if self._process_ended or not self.ready:
            self.kill()
            return
        self.ready = False
        self._pool.stop().addErrback(lambda _: None)
        timer = self._reactor.callLater(grace, self.kill)
        self.when_gone().addCallback(lambda _: timer.active() and timer.cancel())

    def when_gone(self) -> Deferred[None]:
        """Fires when the process and its pipes are gone."""
        gone: Deferred[None] = Deferred()
        if self.gone:
            gone.callback(None)
        else:
            self._on_end.append(gone)
        return gone

    # -- its end ----------------------------------------------------------------------------------

    def pipe_closed(self) -> None:
        """It closed its connection: alive or not, it is of no use."""
        if not self._process_ended:
            self.kill()

    def exited(self, reason: Failure) -> None:
        """The process has ended; what else is in its group ends with it."""
        self.signal(signal.SIGKILL)
        self._process_ended = True
        self.reason = reason
        self._note_memory()
        if self._ladder is not None:
            self._ladder.stop()
        self._timer = self._reactor.callLater(HALF_DEAD, self._close_pipes)

    def _note_memory(self) -> None:
        """The highest memory of all children that were reaped, if this one has raised it."""
        highest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        if highest > self._highest_before:
            unit = 1 if sys.platform == "darwin" else 1024
            self.peak_memory = max(self.peak_memory, highest * unit)
        self.killed_for_memory = out_of_memory_kills() > self._kills_before

    def _close_pipes(self) -> None:
        self._timer = None
        for reader in list(self._readers.values()):
            reader.drain()
        if self._connector is not None:
            self._connector.loseConnection()

    def ended(self, reason: Failure) -> None:
        """The connection is closed and the process reaped."""
        self._connection_ended = True
        self._finish()

    _connection_ended = False

    def _stream_ended(self) -> None:
        for stream, reader in self._readers.items():
            if not reader.connected:
                self._splitters[stream].end()
        self._finish()

    def _finish(self) -> None:
        """Once, when the process, its connection and its output have all ended."""
        if self.gone or not self._connection_ended:
            return
        if any(reader.connected for reader in self._readers.values()):
            return
        self.gone = True
        self.ready = self.busy = False
        if self._timer is not None:
            self._timer.cancel()
        unbegun = self.take_back()
        self._permits.close()
        self._report_rest(unbegun)
        self._fail_start(last_words(self._options, self.reason, self._noise.last(4096)))
        waiting, self._on_end = self._on_end, []
        for deferred in waiting:
            deferred.callback(None)

    def _report_rest(self, unbegun: list[Held]) -> None:
        """What was reported is over, markers or not; the one after it was running."""
        while self._reported < self._done:
            self._reported += 1
            self._owner.job_ended(self, self._jobs.popleft())
        running = self._jobs.popleft() if self._jobs else None
        assert not self._jobs
        for held in unbegun:
            held.state = State.WAITING
        self._owner.child_ended(self, running, unbegun)

    def sample_memory(self) -> None:
        """Look how much memory it has used at most; a dead process does not tell."""
        self.peak_memory = max(self.peak_memory, peak_memory(self.pid))
