"""Jobs are run in this process, by the code that runs them in a child; or end as the test says."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from ..client.functions import travelling
from ..protocol.ids import JobId
from ..protocol.jobs import BlobRef, JobSpec, blob_ref
from ..protocol.outcomes import (
    Ending,
    JobLog,
    Outcome,
    StreamLog,
    pack_outcome,
    unpack_outcome,
)
from ..workers.calls import Calls, Place
from .doings import Crashes, Doing, Hangs, Raises, Returns, Runs, seconds_of
from .lending import Lending
from .runs import Course, End, Run

TAIL = 2000
"""Bytes of output that errors show."""

Answer = Callable[..., Doing]
"""What a job does, from its arguments."""


class Stage:
    """``testing.runs.Play`` of the kit. ``files`` makes a folder for large results."""

    def __init__(self, files: Callable[[], Path], lending: Lending | None = None) -> None:
        self.lending = lending
        self._files = files
        self._calls: Calls | None = None
        self._plans: dict[str, tuple[Doing, ...] | Answer] = {}
        self._executions: Counter[JobId] = Counter()

    def plan(self, function: Callable[..., Any], doings: tuple[Doing | Answer, ...]) -> None:
        """What the jobs of a function do: by execution, or asked with the arguments."""
        target = self._target(function)
        if len(doings) == 1 and not isinstance(doings[0], Doing):
            self._plans[target] = doings[0]
            return
        wrong = [doing for doing in doings if not isinstance(doing, Doing)]
        if wrong or not doings:
            raise TypeError(f"a plan is made of what executions do, like Runs(), not {wrong!r:.80}")
        self._plans[target] = doings  # type: ignore[assignment]  # none of them can be called

    def _target(self, function: Callable[..., Any]) -> str:
        lent = function if self.lending is None else self.lending.lend(function)
        return travelling(lent).target

    # -- testing.runs.Play ------------------------------------------------------------------------

    def held(self, run: Run, twice: bool) -> None:
        """Nothing is to be said of it yet."""

    def begins(self, run: Run) -> Course:
        run.data = doing = self._doing(run)
        return Course(seconds_of(doing), doing.resists)

    def _doing(self, run: Run) -> Doing:
        number = self._executions[run.job]
        self._executions[run.job] += 1
        plan = self._plans.get(run.spec.target, _RUNS)
        if isinstance(plan, tuple):
            return plan[min(number, len(plan) - 1)]
        args, kwargs = self.arguments(run)
        return plan(*args, **kwargs)

    def ends(self, run: Run) -> End:
        return self.end_of(run, run.data)

    def tail(self, run: Run) -> bytes:
        return b""

    def ended(self, run: Run, how: str) -> None:
        """Nothing is kept of it."""

    # -- how executions end -----------------------------------------------------------------------

    def end_of(self, run: Run, doing: Doing) -> End:
        """The end of an execution that does this."""
        if isinstance(doing, Crashes):
            host = run.worker.partition(".")[0]
            tail = doing.output.encode()[-TAIL:]
            outcome = Outcome(evidence=doing.evidence(host, host), tail=tail)
            return End(Ending.LOST, pack_outcome(outcome))
        assert not isinstance(doing, Hangs)
        return self._call(run, _stand_in(doing))

    def arguments(self, run: Run) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A job's arguments, as its function is given them."""
        payload, path = _payload(run)
        packed = Path(path).read_bytes() if path is not None else payload
        args, kwargs = pickle.loads(packed or b"")  # noqa: S301  # the test's own
        return args, kwargs

    def _ready(self) -> Calls:
        if self._calls is None:
            files = self._files()
            self._calls = Calls(Place("here", files, files))
        return self._calls

    def _call(self, run: Run, stand_in: Callable[..., Any] | None) -> End:
        calls, spec = self._ready(), run.assignment.spec
        payload, path = _payload(run)
        with _around(run.spec, run), _listening() as heard:
            try:
                function = stand_in or self._function(calls, run)
            except BaseException as e:  # noqa: BLE001  # a module may raise anything at its import
                ended = calls.not_run(e, spec)
            else:
                ended = calls.run(run.spec, self._lent_by(function, run.spec), payload, path)
        ending = Ending(ended.ending)
        files = [(blob_ref([digest, size]), Path(path)) for digest, size, path in ended.blobs]
        body = ended.body
        if ending is not Ending.SUCCEEDED and heard.last:
            body = pack_outcome(attrs.evolve(unpack_outcome(body), tail=heard.last))
        return End(ending, body, files, ended.again, heard.log)

    def _function(self, calls: Calls, run: Run) -> Callable[..., Any]:
        ref = run.spec.function
        path = None if ref is None else str(run.paths[ref.digest])
        return calls.prepare(run.assignment.spec, path)[1]

    def _lent_by(self, function: Callable[..., Any], spec: JobSpec) -> Callable[..., Any]:
        """The same function, whose result goes back as it is, where the pool lends objects."""
        lending = self.lending
        if lending is None or spec.results == "data":
            return function

        def lent(*args: Any, **kwargs: Any) -> Any:
            return lending.lend(function(*args, **kwargs))

        return lent


_RUNS = (Runs(),)


def _stand_in(doing: Doing) -> Callable[..., Any] | None:
    """What is called in the place of the function."""
    if isinstance(doing, Returns):
        return lambda *_args, **_kwargs: doing.value
    if isinstance(doing, Raises):

        def fail(*_args: Any, **_kwargs: Any) -> None:
            raise doing.error

        return fail
    return None


def _payload(run: Run) -> tuple[bytes | None, str | None]:
    payload = run.assignment.payload
    if isinstance(payload, BlobRef):
        return None, str(run.paths[payload.digest])
    return payload, None


# -- what a job finds around it -------------------------------------------------------------------


@contextlib.contextmanager
def _around(spec: JobSpec, run: Run) -> Iterator[None]:
    """Its folder and its variables, for as long as it runs."""
    before = dict(os.environ)
    number = {"AMPACITY_JOB_ID": str(run.job), "AMPACITY_ATTEMPT": "{}.{}".format(*run.attempt)}
    folder = contextlib.nullcontext() if spec.cwd is None else contextlib.chdir(spec.cwd)
    try:
        with folder:
            os.environ.update({**dict(spec.env), **number})
            yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


_NO_LOG = JobLog()


@attrs.define
class _Heard:
    """What a job has printed."""

    log: JobLog = _NO_LOG
    last: bytes = b""


@contextlib.contextmanager
def _listening() -> Iterator[_Heard]:
    """What is printed meanwhile is kept, and goes on to where it went before."""
    heard, both = _Heard(), io.BytesIO()
    out, err = _Tee(sys.stdout, both), _Tee(sys.stderr, both)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield heard
    streams = [StreamLog(head=tee.own.getvalue()) for tee in (out, err)]
    heard.log = JobLog(*streams)
    heard.last = both.getvalue()[-TAIL:]


class _Tee(io.TextIOBase):
    def __init__(self, on: Any, both: io.BytesIO) -> None:
        self.own = io.BytesIO()
        self._on = on
        self._both = both

    def write(self, text: str) -> int:
        data = text.encode(errors="backslashreplace")
        self.own.write(data)
        self._both.write(data)
        self._on.write(text)
        return len(text)

    def flush(self) -> None:
        self._on.flush()
