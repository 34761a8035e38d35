"""What every test gets: an environment of its own, and a look at what it leaves behind.

A test fails that leaves delayed calls, readers or writers in the reactor, processes, threads
outside the reactor's pool, or failures in the log. Errors that are meant to be logged are taken
out with the ``logged_errors`` fixture. What belongs to a wider fixture was there before the test
and is no fault of it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
import pytest_twisted
from hypothesis import HealthCheck, settings
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

SETTLING_SECONDS = 1.0
"""How long connections that are closing and processes that are ending may take, after a test."""

TEST_SECONDS = 100.0
"""How long an asynchronous test may take."""

_MARK = "TESTS_OF_AMPACITY"
os.environ[_MARK] = uuid.uuid4().hex
"""Inherited by every process that this run starts, so that its orphans are found too."""

LoggedErrors = Callable[..., list[Failure]]

settings.register_profile(
    "fuzz", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
"""Of ``make fuzz``: twenty times as much as otherwise, see ``properties/amounts.py``."""


def _reactor() -> Any:
    """The reactor that pytest-twisted installed (see its option ``--reactor``)."""
    from twisted.internet import reactor

    return reactor


# -- an environment of its own --------------------------------------------------------------------


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings, sockets or credentials of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("AMPACITY_")]:
        monkeypatch.delenv(name)
    for name in ("RUNTIME_DIR", "STATE_HOME", "CONFIG_HOME", "CACHE_HOME", "DATA_HOME"):
        monkeypatch.setenv(f"XDG_{name}", str(tmp_path / "xdg" / name.lower()))
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def access_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty access folder (0700), which this process and its children use by default."""
    folder = tmp_path / "access"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("AMPACITY_ACCESS", str(folder))
    return folder


@pytest.fixture
def ampacity_command() -> list[str]:
    """The words that start the command line with this interpreter."""
    return [str(Path(sys.executable).with_name("ampacity"))]


@pytest.fixture
def sized_tmpfs(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts small file systems, by their size in bytes: disks that can be filled."""
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        folder = tmp_path / f"tmpfs-{len(mounted)}"
        folder.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(words, check=False).returncode:
            pytest.skip("needs the right to mount a tmpfs")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


# -- failures in the log --------------------------------------------------------------------------


@implementer(ILogObserver)
@attrs.define(eq=False)
class FailuresLogged:
    """Keeps every failure that is logged."""

    failures: list[Failure] = attrs.field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        if (failure := event.get("log_failure")) is not None:
            self.failures.append(failure)


@pytest.fixture(autouse=True)
def _logged_failures() -> Iterator[list[Failure]]:
    observer = FailuresLogged()
    globalLogPublisher.addObserver(observer)
    yield observer.failures
    globalLogPublisher.removeObserver(observer)


@pytest.fixture
def logged_errors(_logged_failures: list[Failure]) -> LoggedErrors:
    """Take errors out of the log, as trial's ``flushLoggedErrors``.

    ``logged_errors(ValueError)`` gives the failures logged so far that are of these types (of any
    type, without one), so that they do not fail the test.
    """

    def take(*types: type[BaseException]) -> list[Failure]:
        gc.collect()
        taken = [f for f in _logged_failures if not types or f.check(*types)]
        _logged_failures[:] = [f for f in _logged_failures if f not in taken]
        return taken

    return take


# -- what is left behind --------------------------------------------------------------------------


@attrs.frozen
class Things:
    """What a test might leave, each by something that tells it from another of its kind."""

    calls: frozenset[Any]
    selectables: frozenset[Any]
    threads: frozenset[threading.Thread]
    processes: frozenset[int]

    @classmethod
    def now(cls) -> Things:
        reactor = _reactor()
        return cls(
            frozenset(reactor.getDelayedCalls()),
            frozenset([*reactor.getReaders(), *reactor.getWriters()]),
            frozenset(t for t in threading.enumerate() if not t.name.startswith("PoolThread-")),
            frozenset(_processes()),
        )

    def beyond(self, before: Things) -> Things:
        return Things(
            self.calls - before.calls,
            self.selectables - before.selectables,
            self.threads - before.threads,
            self.processes - before.processes,
        )

    def lines(self) -> list[str]:
        """One a thing, for people."""
        return [
            *(f"delayed call: {call}" for call in self.calls),
            *(f"in the reactor: {selectable!r}" for selectable in self.selectables),
            *(f"thread: {thread!r}" for thread in self.threads),
            *(f"process: {pid} {_words_of(pid)}" for pid in self.processes),
        ]

    def clear(self) -> None:
        """So that the next test is not blamed for these."""
        for call in self.calls:
            if call.active():
                call.cancel()
        for selectable in self.selectables:
            _reactor().removeReader(selectable)
            _reactor().removeWriter(selectable)
        for pid in self.processes:
            _kill(pid)


@pytest.fixture(autouse=True, scope="session")
def _started_reactor() -> None:
    """With what the reactor adds to itself at its start."""
    _turn(0)


@pytest.fixture(autouse=True)
def leaves_nothing(
    own_environment: None, _started_reactor: None, _logged_failures: list[Failure]
) -> Iterator[None]:
    """Fails a test that leaves something behind."""
    before = Things.now()
    yield
    gc.collect()  # the error of a Deferred that nobody has looked at is logged when it goes
    left = Things.now().beyond(before)
    if left.lines():
        left = _settled(before)
    lines = left.lines()
    left.clear()
    lines += [f"logged: {failure.getTraceback()}" for failure in _logged_failures]
    if lines:
        pytest.fail("left behind:\n" + "\n".join(lines), pytrace=False)


def _settled(before: Things) -> Things:
    """What is still left when nothing changes any more, or the time for it is over."""
    reactor = _reactor()
    deadline = reactor.seconds() + SETTLING_SECONDS
    while True:
        _turn(0 if reactor.seconds() < deadline - SETTLING_SECONDS / 2 else 0.02)
        left = Things.now().beyond(before)
        if not left.lines() or reactor.seconds() > deadline:
            return left


def _turn(seconds: float) -> None:
    """Let the reactor go on for a moment."""
    pause: Deferred[None] = task.deferLater(_reactor(), seconds, lambda: None)
    pytest_twisted.blockon(pause)


def _processes() -> list[int]:
    """The living processes that this run has started, and those that they have started."""
    mark = f"{_MARK}={os.environ[_MARK]}".encode()
    if not Path("/proc/self/environ").exists():
        return [child.pid for child in psutil.Process().children(recursive=True)]
    return [pid for pid in psutil.pids() if pid != os.getpid() and mark in _environment(pid)]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _words_of(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return "(gone)"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# -- time ------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """An asynchronous test that waits for ever fails, and the next one gets its turn.

    What blocks the reactor is left to pytest's own ``faulthandler_timeout``, which ends the run.
    """
    test = pyfuncitem.obj
    if inspect.iscoroutinefunction(test):
        pyfuncitem.obj = _within(TEST_SECONDS, test)
    try:
        return (yield)
    finally:
        pyfuncitem.obj = test


def _within(seconds: float, test: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(test)
    async def timed(*args: Any, **kwargs: Any) -> None:
        done = Deferred.fromCoroutine(test(*args, **kwargs))
        await done.addTimeout(seconds, _reactor())

    return timed


# -- the whole run --------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Short paths: the name of a UNIX socket has about a hundred bytes.

    And no log that waits for a first observer: its events hold on to all that ever ran, which
    every look for garbage would go through.
    """
    if config.option.basetemp is None:
        config.option.basetemp = tempfile.mkdtemp(prefix="amp")
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)


def pytest_collection_finish() -> None:
    """The modules are here to stay; what a test makes is then quick to collect."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that outlives the run was started by a fixture wider than a test."""
    left = _processes()
    if session.exitstatus == 0 and not hasattr(session.config, "workerinput"):
        shutil.rmtree(session.config.option.basetemp, ignore_errors=True)
    for pid in left:
        print(f"\nleft behind by the run: process {pid} {_words_of(pid)}")
        _kill(pid)
    if left and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
