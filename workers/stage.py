"""What surrounds a job in its child, and puts it back after: folder, environment, streams, signals.

Everything here runs for every job, so each step first looks whether there is anything to do.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub; see restore_signals
import contextlib
import fcntl
import os
import select
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from .errands import FROM_CHILD
from .variables import Environment

HIGH = 100
"""Private copies of descriptors live above this, out of the way of jobs that count them."""


class Surroundings:
    """Working folder, environment and import path, as they shall be before each job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1
        self._scratch: Path | None = None
        self._scratch_count = 0
        self._scratch_mark = 0
        self._path: list[str] = list(sys.path)
        self._environment = Environment()

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
        self._descriptor = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH)
        os.close(descriptor)
        os.fchdir(self._descriptor)
        self._path = [place, *self._path[self._entered :]]
        self._entered = 1
        sys.path[:] = self._path

    _entered = 0

    def set(self, job: int, attempt: bytes, extra: tuple[tuple[str, str], ...]) -> None:
        """Say who runs, in the environment."""
        self._environment.say(b"%d" % job, attempt)
        for name, text in extra:
            os.environ[name] = text

    def restore(self) -> None:
        """Undo what a job did to folder, path and environment."""
        if self._scratch is not None:
            self._clear_scratch()
        os.fchdir(self._descriptor)
        if sys.path != self._path:
            sys.path[:] = self._path
        self._environment.restore()

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
    ``alarm`` ends what ``setitimer`` has set, and costs less.
    """
    for number, handler in handlers.items():
        if _signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    _signal.alarm(0)


def left_over() -> bool:
    """Whether processes that a job has started are still alive. Dead ones are collected."""
    while True:
        try:
            if not _LOOKS:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    return True
            elif (ended := os.waitid(os.P_ALL, 0, _ENDED)) is None:
                return True
            else:
                os.waitpid(ended.si_pid, 0)
        except ChildProcessError:
            return False


_LOOKS = hasattr(os, "waitid")
_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT if _LOOKS else 0
