"""The output streams of a child: split by job at the markers, kept as head and tail a job."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure

from ..protocol.limits import LOG_HEAD, LOG_TAIL
from ..protocol.outcomes import StreamLog
from .errands import MARKER_SIZE, marker

READ_SIZE = 64 * 1024


class HeadTail:
    """The first and the last bytes of a stream; what lies between is counted."""

    __slots__ = ("_head", "_held", "_tail", "total")

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._held = 0
        self.total = 0

    def add(self, data: bytes) -> None:
        """Take what comes next."""
        self.total += len(data)
        room = LOG_HEAD - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail.append(data)
            self._held += len(data)
            while self._held - len(self._tail[0]) >= LOG_TAIL:
                self._held -= len(self._tail.popleft())

    def log(self) -> StreamLog:
        """What is kept."""
        tail = b"".join(self._tail)[-LOG_TAIL:]
        return StreamLog(bytes(self._head), self.total - len(self._head) - len(tail), tail)

    def last(self, size: int) -> bytes:
        """The last bytes."""
        tail = b"".join(self._tail)
        return tail[-size:] if len(tail) >= size else (bytes(self._head) + tail)[-size:]


class Splitter:
    """Cuts one stream at its markers. ``passed`` counts them: the preparation's first, then those
    of the jobs that have printed something.

    ``take(number, data)`` is called with what belongs to the preparation (0) or to the
    ``number``-th of these jobs, ``mark()`` once for each read in which a marker was passed.
    """

    __slots__ = ("_expected", "_mark", "_nonce", "_rest", "_take", "passed")

    def __init__(
        self, nonce: bytes, take: Callable[[int, bytes], None], mark: Callable[[], None]
    ) -> None:
        self._nonce = nonce
        self._take = take
        self._mark = mark
        self._rest = b""
        self._expected = marker(nonce, 0)
        self.passed = 0

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        start, before = 0, self.passed
        while (found := data.find(self._expected, start)) >= 0:
            if found > start:
                self._take(self.passed, data[start:found])
            start = found + MARKER_SIZE
            self.passed += 1
            self._expected = marker(self._nonce, self.passed)
        if start < len(data):
            self._keep(data[start:] if start else data)
        if self.passed != before:
            self._mark()

    def _keep(self, data: bytes) -> None:
        """Pass on what is left, but for an end that may be the beginning of a marker."""
        start = max(0, len(data) - MARKER_SIZE + 1)
        first = self._expected[:1]
        while (start := data.find(first, start)) >= 0:
            if self._expected.startswith(data[start:]):
                self._rest = data[start:]
                data = data[:start]
                break
            start += 1
        if data:
            self._take(self.passed, data)

    def end(self) -> None:
        """The stream has ended: what looked like a marker was none."""
        if self._rest:
            rest, self._rest = self._rest, b""
            self._take(self.passed, rest)


class _Ended(Protocol):
    def __call__(self) -> None: ...


class PipeReader(FileDescriptor):
    """The agent's end of a child's output pipe, in large reads, that can be paused and drained."""

    def __init__(
        self,
        reactor: IReactorFDSet,
        descriptor: int,
        read: Callable[[int, int], bytes],
        received: Callable[[bytes], None],
        ended: _Ended,
    ) -> None:
        """``read``: as ``os.read``; ``received`` is called with what it gives."""
        super().__init__(reactor)
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._read = read
        self._received = received
        self._ended = ended
        self.connected = 1
        self.resume()

    def fileno(self) -> int:
        return self._descriptor

    def pause(self) -> None:
        """Read nothing for a while: who writes waits."""
        self.stopReading()  # type: ignore[no-untyped-call]  # Twisted's own is untyped

    def resume(self) -> None:
        """Read again."""
        self.startReading()  # type: ignore[no-untyped-call]  # as above

    def doRead(self) -> Exception | None:
        """Read once; the reactor calls it when there is something."""
        try:
            data = self._read(self._descriptor, READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self._received(data)
        return None

    def drain(self) -> None:
        """Read all that is there, and close; for a pipe that others may keep open."""
        while self.connected:
            try:
                data = self._read(self._descriptor, READ_SIZE)
            except OSError:
                break
            if not data:
                break
            self._received(data)
        self.connectionLost(Failure(CONNECTION_DONE))

    def connectionLost(self, reason: Failure) -> None:
        """The pipe is closed, once."""
        if not self.connected:
            return
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # Twisted's own is untyped
        os.close(self._descriptor)
        self._ended()
