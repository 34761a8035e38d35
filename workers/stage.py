"""What surrounds a job in its child, and puts it back after: folder, environment, streams, signals.

Everything here runs for every job, so each step first looks whether there is anything to do.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub; see restore_signals
import contextlib
import ctypes
import fcntl
import io
import os
import resource
import select
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errands import FROM_CHILD, STDERR, STDOUT, marker

_HIGH = 100
"""Private copies of descriptors live above this, out of the way of jobs that count them."""


_JOB_ID = os.fsencode("AMPACITY_JOB_ID")
_ATTEMPT = os.fsencode("AMPACITY_ATTEMPT")


def _environment() -> Any:
    """The raw environment: comparing it costs a microsecond, decoding it fifty."""
    return getattr(os.environ, "_data", os.environ)


class Surroundings:
    """Working folder, environment and import path, as they shall be before each job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1
        self._scratch: Path | None = None
        self._scratch_count = 0
        self._scratch_mark = 0
        self._path: list[str] = list(sys.path)
        self._environment = dict(_environment())

    def import_from(self, folders: list[str]) -> None:
        """Have these first on ``sys.path``, behind the folder that is entered."""
        self._path = [*folders, *self._path]

    def enter(self, folder: str | None) -> None:
        """Work in this folder from now on, first on ``sys.path``; none: a scratch folder a job.

        Raises:
            OSError: the folder cannot be entered.
        """
        self._scratch = None if folder is not None else self._fresh_scratch()
        place = folder if folder is not None else str(self._scratch)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        os.close(descriptor)
        os.fchdir(self._descriptor)
        self._path = [place, *self._path[self._entered :]]
        self._entered = 1
        sys.path[:] = self._path

    _entered = 0

    def set(self, job: int, attempt: str, extra: tuple[tuple[str, str], ...]) -> None:
        """Say who runs, in the environment."""
        self._say(_JOB_ID, b"%d" % job)
        self._say(_ATTEMPT, attempt.encode())
        for name, text in extra:
            os.environ[name] = text

    def _say(self, name: bytes, value: bytes) -> None:
        """Set a variable that every job gets, past the encoding that ``os.environ`` does."""
        os.putenv(name, value)
        _environment()[name] = self._environment[name] = value

    def restore(self) -> None:
        """Undo what a job did to folder, path and environment."""
        if self._scratch is not None:
            self._clear_scratch()
        os.fchdir(self._descriptor)
        if sys.path != self._path:
            sys.path[:] = self._path
        if _environment() != self._environment:
            self._restore_environment()

    def _restore_environment(self) -> None:
        now = os.environ
        encode, decode = now.encodekey, now.decodevalue
        before = {os.fsdecode(key): decode(value) for key, value in self._environment.items()}
        for name in [name for name in now if encode(name) not in self._environment]:
            del now[name]
        for name, value in before.items():
            if now.get(name) != value:
                now[name] = value

    def _fresh_scratch(self) -> Path:
        self._scratch_count += 1
        scratch = self._folder / f"scratch-{self._scratch_count}"
        scratch.mkdir(parents=True)
        self._scratch_mark = scratch.stat().st_mtime_ns
        return scratch

    def _clear_scratch(self) -> None:
        """A scratch folder that a job has used goes; an untouched one serves the next job, too."""
        scratch = self._scratch
        with contextlib.suppress(OSError):
            if scratch is not None and scratch.stat().st_mtime_ns == self._scratch_mark:
                return
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        self.enter(None)


class Streams:
    """Standard output and error of a child: flushed, restored and marked at each job's end."""

    def __init__(self, nonce: bytes) -> None:
        self._nonce = nonce
        self._copies = tuple(
            fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, _HIGH) for stream in (STDOUT, STDERR)
        )
        self._objects: tuple[Any, Any] = (_text(STDOUT), _text(STDERR))
        self._flush_c = _c_flush()
        self._install()

    def _install(self) -> None:
        sys.stdout, sys.stderr = self._objects
        sys.__stdout__, sys.__stderr__ = self._objects  # type: ignore[misc]

    def flush(self) -> None:
        """Write out what Python and C have buffered, as part of the job."""
        out, err = self._objects
        _flush(out)
        _flush(err)
        if sys.stdout is not out:
            _flush(sys.stdout)
        if sys.stderr is not err:
            _flush(sys.stderr)
        self._flush_c(None)

    def restore(self) -> None:
        """Put descriptors and objects back, whatever the job did to them."""
        out, err = self._copies
        os.dup2(out, STDOUT)
        os.dup2(err, STDERR)
        if sys.stdout is not self._objects[0] or sys.stderr is not self._objects[1]:
            self._install()
        if self._objects[0].closed or self._objects[1].closed:
            self._objects = (_text(STDOUT), _text(STDERR))
            self._install()

    def mark(self, number: int) -> None:
        """Write the marker of a job's end to both."""
        data = marker(self._nonce, number)
        for descriptor in self._copies:
            write_all(descriptor, data)


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return  # closed, or replaced by something else: there is nothing to be saved


def _text(descriptor: int) -> io.TextIOWrapper:
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=descriptor == STDERR
    )


def _c_flush() -> Callable[[None], object]:
    try:
        flush = ctypes.CDLL(None).fflush
    except (OSError, AttributeError):
        return lambda _: None
    flush.argtypes = [ctypes.c_void_p]
    return flush


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, waiting where the pipe is full, whether it blocks or not."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def send(data: bytes) -> None:
    """Write a box past the blocked reactor."""
    write_all(FROM_CHILD, data)


def restore_signals(handlers: dict[int, Any]) -> None:
    """Put signal handlers back, and end a timer that a job has left running.

    ``_signal`` is asked directly: ``signal`` turns numbers into enumerations, at 9 µs a job.
    """
    for number, handler in handlers.items():
        if _signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    signal.setitimer(signal.ITIMER_REAL, 0)


def limits() -> list[tuple[int, int]]:
    """The limits that a job may have lowered, for all that comes after it in this process."""
    return [resource.getrlimit(which) for which in _LIMITS]


_LIMITS = (
    resource.RLIMIT_AS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NOFILE,
)


def left_over() -> bool:
    """Whether processes that a job has started are still alive. Dead ones are collected."""
    while True:
        try:
            if hasattr(os, "waitid"):
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None:
                    return True
                os.waitpid(ended.si_pid, 0)
            elif os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
        except ChildProcessError:
            return False
