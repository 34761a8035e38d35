"""One child process, seen from the agent: starting, giving, taking back, ending, its end."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..protocol.errors import CannotStart
from .ending import Ladder
from .errands import JOURNAL, NONCE_SIZE, PERMITS, RUN_JOBS, JobsDone
from .given import Given
from .held import Context, Held, State, packed
from .launch import ChildOptions, last_words, launch, prepare_details, unfit
from .machine import out_of_memory_kills, peak_memory
from .streams import PipeReader

if TYPE_CHECKING:
    from .ampoules import ChildConnector

HALF_DEAD = 0.2
"""Seconds after a process's end in which its pipes may still be held open by others."""


class ChildOwner(Protocol):
    """Who is told what a child does."""

    def spawned(self, child: Child) -> None:
        """Its process exists."""

    def jobs_ended(self, child: Child, ended: list[Held]) -> None:
        """The reports and all of the output of these jobs are here."""

    def printed(self, child: Child, held: Held, stream: int, data: bytes) -> None:
        """A job has printed."""

    def batch_ended(self, child: Child, stop: str) -> None:
        """It is idle again; ``stop`` says why it shall be replaced, if it shall."""

    def child_ended(self, child: Child, running: Held | None, unbegun: list[Held]) -> None:
        """It is gone; ``running`` was running then, ``unbegun`` will not begin."""


class Child:
    """One child: an ampoule pool of one process, what it was given, and its output streams."""

    def __init__(self, reactor: Any, options: ChildOptions, number: int, owner: ChildOwner) -> None:
        self._reactor = reactor
        self._options = options
        self._owner = owner
        self.folder = options.folder / f"child-{number}"
        self.context: Context | None = None
        self.pid = 0
        self.python = ""
        self.calls = 0
        """Batches that it was given, and that have not ended."""
        self.expected = 0.0
        """Seconds that the batch which it was given last takes, by estimate."""
        self.ready = False
        self.gone = False
        self.retire = ""
        """Why it takes no more jobs, if it does not."""
        self.peak_memory = 0
        self.killed_for_memory = False
        self.reason: Failure | None = None
        self._ladder: Ladder | None = None
        self._stops: list[str] = []
        self._taken_back = False
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
        self._given = Given(nonce, partial(owner.printed, self))

    # -- starting ---------------------------------------------------------------------------------

    def start(self) -> Deferred[None]:
        """Start the process; fires when it takes jobs.

        Fails with ``CannotStart``, with the ``OSError`` of a process that could not be made, or
        with what a half installed release raises.
        """
        ready: Deferred[None] = Deferred()
        details = prepare_details(self._options, self._nonce, self.folder)
        given = self._given
        shared = {PERMITS: given.permits.child_end, JOURNAL: given.shared.descriptor}
        try:
            launched = launch(self._reactor, self._options, self, shared, details)
        except Exception:  # noqa: BLE001  # whatever it is, somebody waits for this child
            given.close()
            self.gone = True
            ready.errback()
            return ready
        self._on_ready = ready
        self._pool, self._connector, prepared, outputs = launched
        self.pid = launched.connector.transport.pid
        self._readers = {
            stream: PipeReader(
                self._reactor,
                descriptor,
                partial(given.shared.read_output, stream),
                partial(self._output, stream),
                self._stream_ended,
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
    def busy(self) -> bool:
        """Whether it has a batch."""
        return self.calls > 0

    @property
    def free(self) -> bool:
        """Whether it can be given a batch now, and begins at once."""
        return self.ready and not self.calls and not self.retire

    @property
    def has_room(self) -> bool:
        """Whether it can be given a batch for when the one that it has is over.

        Not when something was taken back from that one: a permit for the new batch would do for
        the rest of the old one, too.
        """
        return self.ready and self.calls == 1 and not (self._taken_back or self.retire)

    @property
    def mark(self) -> float:
        """``CLOCK_MONOTONIC`` when the running job began, as far as it is known."""
        return self._given.mark

    def give(self, batch: Sequence[Held], patience: float) -> None:
        """Let it run these, in order; their reports may wait for each other so long."""
        self.calls += 1
        if self.context is None:
            self.context = batch[0].plan.context
        self._given.add(batch)
        assert self._connector is not None
        self._connector.send(RUN_JOBS.pack(packed(batch, patience)))

    def take_back(self) -> list[Held]:
        """Take back what it has not begun, in order."""
        taken = self._given.take_back()
        self._taken_back = self._taken_back or bool(taken)
        return taken

    def running(self) -> Held | None:
        """The job that runs now, or has just ended; exact once all is taken back."""
        self.look()
        return self._given.running()

    def running_since(self) -> tuple[Held, float] | None:
        """The running job and its begin, where every report before it is here."""
        return self._given.running_since()

    def unbegun(self) -> int:
        """How many it has not begun."""
        return self._given.unbegun()

    @property
    def laden(self) -> bool:
        """Whether it may have jobs that it has not begun."""
        return self.calls > 0 and self._given.laden

    def behind(self) -> tuple[int, Held]:
        """How many it has not begun, and the last one that it was given. Only of one that is
        ``laden``."""
        return self._given.unbegun(), self._given.last

    def has(self, wanted: set[Held]) -> bool:
        """Whether it was given one of these, and its report is not through."""
        return self._given.has(wanted)

    # -- what it tells ----------------------------------------------------------------------------

    def told(self, told: JobsDone) -> None:
        """Reports came."""
        self._given.note(told.done)
        if told.stop is not None:
            self._stops.append(told.stop)

    def told_all(self) -> None:
        """Hand on the jobs that are over, and batches."""
        ended = self._given.take_over()
        if ended:
            self._owner.jobs_ended(self, ended)
        stops, self._stops = self._stops, []
        for stop in stops:
            self._batch_ended(stop)

    def _batch_ended(self, stop: str) -> None:
        self.calls = max(0, self.calls - 1)
        self._taken_back = self._taken_back and self.busy
        if not self.gone:
            self._owner.batch_ended(self, stop)

    def look(self) -> None:
        """Know what it has done up to now, told or not."""
        if self._connector is not None and not self.gone:
            self._given.bring_up_to_date(self._connector.read_at_once)
            self.told_all()

    def _output(self, stream: int, data: bytes) -> None:
        assert self._connector is not None
        self._given.bring_up_to_date(self._connector.read_at_once)
        self._given.feed(stream, data)
        self.told_all()

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
        self.ready = False
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
                self._given.end(stream)
        self._finish()

    def _finish(self) -> None:
        """Once, when the process, its connection and its output have all ended."""
        if self.gone or not self._connection_ended:
            return
        if any(reader.connected for reader in self._readers.values()):
            return
        self.look()
        self.gone = True
        self.calls = 0
        if self._timer is not None:
            self._timer.cancel()
        self._report_rest(self.take_back())
        self._given.close()
        noise = self._given.noise.last(4096)
        self._fail_start(last_words(self._options, self.reason, noise))
        waiting, self._on_end = self._on_end, []
        for deferred in waiting:
            deferred.callback(None)

    def _report_rest(self, unbegun: list[Held]) -> None:
        """What was reported is over, markers or not; the one after it was running."""
        reported, running = self._given.take_rest()
        if reported:
            self._owner.jobs_ended(self, reported)
        for held in unbegun:
            held.state = State.WAITING
        self._owner.child_ended(self, running, unbegun)

    def sample_memory(self) -> None:
        """Look how much memory it has used at most; a dead process does not tell."""
        self.peak_memory = max(self.peak_memory, peak_memory(self.pid))
