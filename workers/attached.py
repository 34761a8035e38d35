"""A job's output on its way to who listens: complete, in order, with back-pressure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred

from ..protocol.limits import OUTPUT_IN_FLIGHT

Send = Callable[[int, int, bytes], Deferred[bool]]
"""``(stream, offset, data)``; fires with False where nobody listens any more."""
Pause = Callable[[int, bool], None]
"""``(stream, paused)``."""


class Attached:
    """The listener of one attempt. At most ``OUTPUT_IN_FLIGHT`` pieces wait for their answer; what
    comes beyond is kept, and the stream that it comes from is paused."""

    __slots__ = ("_in_flight", "_pause", "_paused", "_pieces", "_send", "_when_over", "deaf")

    def __init__(self, send: Send, pause: Pause) -> None:
        self._send = send
        self._pause = pause
        self._pieces: deque[tuple[int, int, bytes]] = deque()
        self._in_flight = 0
        self._paused: set[int] = set()
        self.deaf = False
        """Whether nobody listens any more."""
        self._when_over: Callable[[], None] | None = None

    def printed(self, stream: int, offset: int, data: bytes) -> None:
        """Pass it on, now or when there is room."""
        if self.deaf:
            return
        self._pieces.append((stream, offset, data))
        self._pump()
        if self._pieces and stream not in self._paused:
            self._paused.add(stream)
            self._pause(stream, True)

    def _pump(self) -> None:
        while self._pieces and self._in_flight < OUTPUT_IN_FLIGHT and not self.deaf:
            self._in_flight += 1
            self._send(*self._pieces.popleft()).addCallbacks(
                self._taken, lambda _: self._taken(False)
            )

    def _taken(self, wanted: bool) -> None:
        self._in_flight -= 1
        if not wanted:
            self.deaf = True
            self._pieces.clear()
        self._pump()
        if not self._pieces:
            self._resume()

    def _resume(self) -> None:
        paused, self._paused = self._paused, set()
        for stream in paused:
            self._pause(stream, False)
        when_over, self._when_over = self._when_over, None
        if when_over is not None:
            when_over()

    def over(self, call: Callable[[], None]) -> bool:
        """Whether everything has been sent; if not, ``call`` is called when it has."""
        if self._pieces:
            self._when_over = call
            return False
        return True
