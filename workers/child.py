"""The process that runs jobs, a batch at a time.

Its reactor is blocked by the job, by design: everything that goes on meanwhile is the agent's. A
batch is a list of jobs; before each one the child takes a permit, one byte, from a pipe that the
agent reads, too, when it wants back what has not begun. So no job runs twice, whoever is busy.

What small jobs come to is told together, once in a millisecond, or in a few of them where the agent
has said so with the batch, and always when the batch is over. Until then it stands in a file that
is memory to this process, and that the agent can read, see ``journal``.

What a job starts ends with it: a child whose job has left processes behind is replaced, and its
process group killed. Threads that a job leaves running go on in the child, and what they print
then is taken for the output of the job that runs.
"""

from __future__ import annotations

import gc
import os
import platform
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from ampoule.child import AMPChild

from ..protocol.limits import FRAME_JOBS
from ..protocol.packing import pack, unpack_list
from .calls import Calls, Ended, Interrupted, InterruptedByHand, Place, find_function
from .errands import JOURNAL, PERMITS, RUN_JOBS, STALE, TELL_AFTER, BoxReader, Prepare, jobs_done
from .freshness import Freshness
from .journal import Journal
from .limits import Limits
from .printing import Streams
from .results import clean
from .shipped import ShippedModules
from .stage import Surroundings, left_over, restore_signals, send

_IDLE, _RUNNING, _CLOSING = range(3)


class JobChild(AMPChild):
    """The child's side of the connection to its agent."""

    def __init__(self, agent: str) -> None:
        super().__init__()
        self._batches: Batches | None = None
        self._boxes = BoxReader(RUN_JOBS)

    def dataReceived(self, data: bytes) -> None:
        """Run batches as they come; all else is stock AMP."""
        for is_batch, box in self._boxes.feed(data):
            if is_batch:
                assert self._batches is not None
                self._batches.run(box)
            else:
                super().dataReceived(box)

    @Prepare.responder
    def prepare(self, details: dict[str, Any]) -> dict[str, Any]:
        """Make ready for jobs; run the set-up function, if there is one."""
        self._batches = Batches(details)
        error = self._batches.set_up(details["setup"], details["folder"])
        version = ".".join(platform.python_version_tuple()[:2])
        from .. import __version__

        gc.collect()
        gc.freeze()
        answer = {"error": error, "python": version, "software": __version__, "pid": os.getpid()}
        return {"answer": answer}


class Batches:
    """Runs batches, one job after the other."""

    def __init__(self, details: dict[str, Any]) -> None:
        files = Path(details["files"])
        files.mkdir(mode=0o700, exist_ok=True)
        self._worker: str = details["worker"]
        self._calls = Calls(Place(self._worker, files, Path(details["results"])))
        self._journal = Journal(JOURNAL)
        os.close(JOURNAL)
        self._streams = Streams(details["nonce"], self._journal)
        self._files = files
        self._watch_processes = True
        self._shipped = ShippedModules()
        self._freshness: Freshness | None = None
        self._context: Any = None
        self._refused: Exception | None = None
        self._number = 0
        self._untold_since = 0.0
        self._patience = TELL_AFTER
        self._stop = ""
        self._pid = os.getpid()
        self._mode = _IDLE
        self._signal = 0
        self._raised: set[int] = set()
        self._handlers: dict[int, Any] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
            self._handlers[number] = signal.getsignal(number)

    def set_up(self, target: str | None, folder: str) -> str | None:
        """Run the set-up function, found from the agent's folder; its traceback if it failed."""
        error = None
        if target is not None:
            sys.path.insert(0, folder)
            try:
                find_function(target, self._worker)()
            except BaseException:  # noqa: BLE001  # told to the agent, which gives up on it
                error = clean(traceback.format_exc())
            if folder in sys.path:
                sys.path.remove(folder)
            self._watch_processes = not left_over()  # what it has started stays with the child
        self._surroundings = Surroundings(self._files)
        self._limits = Limits()
        self._streams.flush()
        self._streams.restore()
        self._streams.mark()
        return error

    def run(self, packed: bytes) -> None:
        """Run a batch, and tell that it has ended. One that has asked to be replaced runs none."""
        self._stop = self._stop or self._run(*unpack_list(packed))
        self._tell(self._stop)

    def _run(self, context: list[Any], specs: list[Any], jobs: list[Any], patience: float) -> str:
        """Run a batch; returns why this child shall be replaced, or nothing."""
        self._patience = patience
        if self._context is None:
            self._enter(context)
        elif self._freshness is not None and self._freshness.stale():
            return STALE
        left = len(jobs)
        for job, term, attempt, place, payload, path in jobs:
            if not _permitted():
                return ""
            left -= 1
            spec, function = specs[place]
            name = b"%d.%d" % (term, attempt)
            stop = self._run_one(job, name, spec, function, payload, path, not left)
            if stop:
                return stop
        return ""

    def _tell(self, stop: str | None) -> None:
        """Send what the jobs came to; with ``stop``, which may be empty, the batch has ended."""
        send(jobs_done(stop, *self._journal.unsent()))
        self._journal.sent()

    def _enter(self, context: list[Any]) -> None:
        """Take the context of the first batch: it is this child's for good."""
        self._context = context
        _client, folder, cwd, path, ships = context
        try:
            for shipped in ships:
                self._shipped.add(Path(shipped).read_bytes())
            place = cwd if cwd is not None else folder
            if cwd is None and folder is not None and not Path(folder).is_dir():
                place = None
            self._surroundings.import_from(path)
            self._surroundings.enter(place)
        except Exception as e:  # noqa: BLE001  # every job of this context is told
            self._refused = e
            self._surroundings.enter(None)
            return
        watched = path if place is None else [place, *path]
        if watched:
            self._freshness = Freshness(watched)

    def _run_one(
        self, job: int, attempt: bytes, spec: bytes, function: str | None, payload: Any, path: Any,
        last: bool,
    ) -> str:  # fmt: skip
        self._number += 1
        came = began = time.monotonic()
        self._journal.begin(self._number, began)
        try:
            try:
                began, ended = self._call(came, job, attempt, spec, function, payload, path)
            finally:
                self._mode = _CLOSING
        except BaseException as e:  # noqa: BLE001  # a report must be made, whatever it is
            self._mode = _CLOSING
            ended = self._calls.not_run(e, spec)
        if os.getpid() != self._pid:
            os._exit(0)  # a copy of this process that a job has made, and forgotten to end
        if self._freshness is not None:
            self._freshness.note(came)
        now = time.monotonic()
        self._report(began, now, ended, last)
        return self._clear_up(now, last)

    def _call(
        self, began: float, job: int, attempt: bytes, spec: bytes, function: str | None,
        payload: Any, path: Any,
    ) -> tuple[float, Ended]:  # fmt: skip
        self._mode = _RUNNING
        if self._signal:
            raise Interrupted
        try:
            if self._refused is not None:
                raise self._refused
            unpacked, found = self._calls.prepare(spec, function)
        except Interrupted:
            raise
        except BaseException as e:  # noqa: BLE001  # a module may raise anything at its import
            ended = self._calls.not_run(e, spec)
        else:
            self._surroundings.set(job, attempt, unpacked.env)
            began = time.monotonic()
            ended = self._calls.run(unpacked, found, payload, path)
        self._streams.flush()
        return began, ended

    def _report(self, began: float, now: float, ended: Ended, last: bool) -> None:
        """Keep the report, and tell it where it is time to: where many wait, or one would have
        waited for too long when the next job ends, if that takes as long as this one. Signals wait
        until all is cleared up, so that no report is cut."""
        journal = self._journal
        marked = not self._streams.quiet()
        report = pack((self._number, began, now, *ended, self._signal, marked))
        waiting = journal.add(report)
        if not waiting:
            self._tell(None)
            waiting = journal.add(report)
        if not waiting:  # too long by itself
            send(jobs_done(None, 1, report))
        if marked:
            self._streams.mark()
        if waiting == 1:
            self._untold_since = now
        late = 2 * now - self._untold_since - began >= self._patience or waiting >= FRAME_JOBS
        if late and waiting and not last:
            self._tell(None)

    def _clear_up(self, now: float, last: bool) -> str:
        self._streams.restore()
        if self._signal:
            self._tell(None)
            os._exit(128 + self._signal)
        self._surroundings.restore()
        restore_signals(self._handlers)
        self._mode = _IDLE
        if self._watch_processes and left_over():
            return "it left processes behind"
        if self._limits.changed(now, last):
            return "it changed its limits"
        return ""

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        """The agent ends the running job. A child that was signalled takes no other one."""
        self._signal = number
        if self._mode == _RUNNING and number not in self._raised:
            self._raised.add(number)
            raise InterruptedByHand if number == signal.SIGINT else Interrupted
        if self._mode == _IDLE:
            os._exit(128 + number)


def _permitted() -> bool:
    """Take a permit, if one is left."""
    try:
        return bool(os.read(PERMITS, 1))
    except BlockingIOError:
        return False
