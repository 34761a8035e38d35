"""stdin, stdout and stderr without ever blocking the reactor."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

READ_SIZE = 64 * 1024
LINES_SIZE = 64 * 1024
"""Bytes of lines that are gathered while earlier ones are being written."""


class Writer:
    """Writes to stdout (1) and stderr (2) in a thread of its own, in order.

    Who reads our output may be slow: a connection must not die of that. The thread is a daemon,
    so that a reader that never reads again does not keep the process.
    """

    def __init__(self, reactor: IReactorThreads) -> None:
        self._reactor = reactor
        self._queue: queue.SimpleQueue[tuple[int, bytes, Deferred[bool]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lines: list[bytes] = []
        self._size = 0
        self._busy = 0
        self._error: OSError | None = None
        self._waiting: list[Deferred[None]] = []

    def write(self, stream: int, data: bytes) -> Deferred[bool]:
        """Fires with True once the system has taken the bytes, or fails with the OSError."""
        self._send_lines()
        return self._send(stream, data)

    async def line(self, text: str) -> None:
        """A line of data, on stdout; what comes while one is written is written together.

        Waits while much is not taken yet; ``flush`` waits for the rest.

        Raises:
            OSError: it, or a line before it, cannot be written.
        """
        data = text.encode("utf-8", "backslashreplace") + b"\n"
        self._lines.append(data)
        self._size += len(data)
        if not self._busy:
            self._send_lines()
        elif self._size > LINES_SIZE:
            await self.flush()
        self._check()

    async def flush(self) -> None:
        """Wait until every line is taken; raises OSError as ``line``."""
        while self._busy and self._error is None:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _send_lines(self) -> None:
        if not self._lines:
            return
        lines, self._lines, self._size = self._lines, [], 0
        self._busy += 1
        self._send(1, b"".join(lines)).addCallbacks(self._sent, self._not_sent)

    def _sent(self, _: bool) -> None:
        self._busy -= 1
        self._send_lines()
        self._wake()

    def _not_sent(self, failure: Failure) -> None:
        self._busy -= 1
        assert isinstance(failure.value, OSError)
        self._error = failure.value
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def _send(self, stream: int, data: bytes) -> Deferred[bool]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="output", daemon=True)
            self._thread.start()
        done: Deferred[bool] = Deferred(lambda _: None)
        self._queue.put((stream, data, done))
        return done

    def _work(self) -> None:
        while True:
            stream, data, done = self._queue.get()
            try:
                _write_all(stream, data)
            except OSError as e:
                self._reactor.callFromThread(_settle, done, e)
            else:
                self._reactor.callFromThread(_settle, done, None)


def _settle(done: Deferred[bool], error: OSError | None) -> None:
    if done.called:
        return
    if error is None:
        done.callback(True)
    else:
        done.errback(error)


def _write_all(stream: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(stream, view) :]


class InputLines:
    """The lines of an open file or pipe, read only while somebody waits for them."""

    log = Logger()

    def __init__(self, reactor: Any, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd
        self._rest: list[bytes] = []
        self._lines: deque[bytes] = deque()
        self._waiting: Deferred[None] | None = None
        self.ended = False

    async def take(self, most: int) -> Sequence[bytes]:
        """At least one line without its end, at most ``most``; none at all at the end.

        Raises:
            OSError: it cannot be read.
        """
        while not self._lines and not self.ended:
            self._waiting = Deferred(self._forget)
            self._reactor.addReader(self)
            await self._waiting
        return [self._lines.popleft() for _ in range(min(most, len(self._lines)))]

    def _forget(self, _: object) -> None:
        self._reactor.removeReader(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "stdin"

    def doRead(self) -> None:
        """Something can be read, or it has ended."""
        self._reactor.removeReader(self)
        waiting, self._waiting = self._waiting, None
        assert waiting is not None
        try:
            self._take(os.read(self._fd, READ_SIZE))
        except OSError as e:
            waiting.errback(e)
        else:
            waiting.callback(None)

    def _take(self, data: bytes) -> None:
        if not data:
            self._end()
            return
        first, *others = data.split(b"\n")
        self._rest.append(first)
        for part in others:
            self._lines.append(b"".join(self._rest))
            self._rest = [part]

    def _end(self) -> None:
        """The last line counts, too, where nothing ends it."""
        self.ended = True
        last, self._rest = b"".join(self._rest), []
        if last:
            self._lines.append(last)

    def connectionLost(self, reason: object) -> None:
        """The reactor has found it closed."""
        self._end()
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)
