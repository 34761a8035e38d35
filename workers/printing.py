"""The output streams of a child, as the child sees them."""

from __future__ import annotations

import array
import ctypes
import fcntl
import io
import os
import sys
import termios
from collections.abc import Callable
from typing import Any

from .errands import MARKER_SIZE, STDERR, STDOUT, marker
from .journal import Journal
from .stage import HIGH, write_all

_TELLS = sys.platform == "linux"
"""Whether a pipe tells at the end that is written to how much lies in it."""
_ioctl, _FIONREAD = fcntl.ioctl, termios.FIONREAD


class Streams:
    """Standard output and error of a child: flushed and restored at each job's end, and marked
    there where the job has printed something."""

    def __init__(self, nonce: bytes, journal: Journal) -> None:
        self._nonce = nonce
        self._journal = journal
        self._marks = 0
        self._copies = tuple(
            fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, HIGH) for stream in (STDOUT, STDERR)
        )
        self._out, self._err = array.array("i", [0]), array.array("i", [0])
        self._seen: tuple[int, int, int] | None = None
        self._written: tuple[int, int] | None = None
        self._objects: tuple[Any, Any] = (_text(STDOUT), _text(STDERR))
        self._flush_c = _c_flush()
        self._install()

    def _install(self) -> None:
        sys.stdout, sys.stderr = self._objects
        sys.__stdout__, sys.__stderr__ = self._objects  # type: ignore[misc]

    def flush(self) -> None:
        """Write out what Python and C have buffered, as part of the job."""
        out, err = self._objects
        try:
            out.flush()
            err.flush()
        except (OSError, ValueError, AttributeError):
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

    def mark(self) -> None:
        """Write a marker to both: what comes next is another job's."""
        data = marker(self._nonce, self._marks)
        self._marks += 1
        for descriptor in self._copies:
            write_all(descriptor, data)
        self._seen = None
        if self._written is None:
            self._written = self._measure()
        else:
            self._written = self._written[0] + MARKER_SIZE, self._written[1] + MARKER_SIZE

    # -- whether a job has printed anything ---------------------------------------------------

    def quiet(self) -> bool:
        """Whether surely nothing has been written to either since this was asked last, or since
        the last marker, past Python, too. After ``flush``."""
        if not _TELLS:
            return False
        out, err = self._copies
        _ioctl(out, _FIONREAD, self._out)
        _ioctl(err, _FIONREAD, self._err)
        if (self._out[0], self._err[0], self._journal.reads()) == self._seen:
            return True
        before, self._written = self._written, self._measure()
        return before is not None and before == self._written

    def _measure(self) -> tuple[int, int] | None:
        """The bytes written to both: what was read and what lies in the pipes; None while the
        agent reads. It says so before it reads, and a pipe is locked while it is looked at."""
        self._seen = None
        if not _TELLS:
            return None
        journal = self._journal
        reads = journal.reads()
        done, out, err = journal.read()
        _ioctl(self._copies[0], _FIONREAD, self._out)
        _ioctl(self._copies[1], _FIONREAD, self._err)
        if not reads == done == journal.reads():
            return None
        unread = self._out[0], self._err[0]
        self._seen = *unread, reads
        return out + unread[0], err + unread[1]


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return  # closed, or replaced by something else: there is nothing to be saved


def _text(descriptor: int) -> io.TextIOWrapper:
    """Line by line, as at a terminal: somebody may follow the job, and what a process that is
    killed has in its buffers would be missing where it is needed most."""
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True
    )


def _c_flush() -> Callable[[None], object]:
    try:
        flush = ctypes.CDLL(None).fflush
    except (OSError, AttributeError):
        return lambda _: None
    flush.argtypes = [ctypes.c_void_p]
    return flush
