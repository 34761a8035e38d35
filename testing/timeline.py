"""Virtual time: one order of events for many processes, each with a reactor of its own.

A process can be paused, as by SIGSTOP, and killed. Time goes on while it is paused: what fell due
meanwhile happens when it goes on, timers first, then what came by its connections, as with a
reactor that was stopped in its ``select``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

START = 1_000_000.0
"""Virtual seconds at which every timeline begins."""


@implementer(IDelayedCall)
class Call:
    """One delayed call; that of a process, or of the world, which is never paused."""

    __slots__ = ("_called", "_live", "args", "function", "kw", "number", "process", "time")

    def __init__(
        self, process: Process | None, time: float, function: Callable[..., Any], args: Any, kw: Any
    ) -> None:
        self.process = process
        self.time = time
        self.function = function
        self.args = args
        self.kw = kw
        self.number = 0
        self._live = True
        self._called = False

    def active(self) -> bool:
        return self._live

    def getTime(self) -> float:
        return self.time

    def cancel(self) -> None:
        self._check()
        self._live = False

    def reset(self, secondsFromNow: float) -> None:
        self._check()
        assert self.process is not None
        self.time = self.process.timeline.now + secondsFromNow
        self.process.timeline.push(self)

    def delay(self, secondsLater: float) -> None:
        self.reset(self.time - self._now() + secondsLater)

    def _now(self) -> float:
        assert self.process is not None
        return self.process.timeline.now

    def _check(self) -> None:
        if self._called:
            raise AlreadyCalled
        if not self._live:
            raise AlreadyCancelled

    def run(self) -> None:
        self._live, self._called = False, True
        self.function(*self.args, **self.kw)


class Timeline:
    """The order of everything that happens."""

    def __init__(self) -> None:
        self.now = START
        self.steps = 0
        self.running = False
        """Whether something happens just now."""
        self._heap: list[tuple[float, int, Call]] = []
        self._number = 0

    def push(self, call: Call) -> None:
        """Have it run at its time, after what was asked for before."""
        self._number += 1
        call.number = self._number
        heappush(self._heap, (call.time, call.number, call))

    def after(self, seconds: float, function: Callable[..., Any], *args: Any) -> Call:
        """Something that the world does, not a process."""
        call = Call(None, self.now + seconds, function, args, {})
        self.push(call)
        return call

    def settle(self) -> None:
        """Let happen what is due now, with all that follows from it at once. What is said from
        within something that happens is done after that."""
        if not self.running:
            self.run_until(self.now)

    def next_due(self) -> float | None:
        """When something happens next."""
        heap = self._heap
        while heap and not (heap[0][2].active() and heap[0][2].number == heap[0][1]):
            heappop(heap)
        return heap[0][0] if heap else None

    def run_until(self, time: float) -> None:
        """Let everything happen up to a time. What a call raises comes out here.

        Raises:
            RuntimeError: something happens already, and this was called from within it.
        """
        if self.running:
            raise RuntimeError("virtual time goes on already: this is called from within it")
        self.running = True
        try:
            self._run_until(time)
        finally:
            self.running = False

    def _run_until(self, time: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= time:
            due, number, call = heappop(heap)
            if not call.active() or call.number != number:
                continue
            if due > self.now:
                self.now = due
            process = call.process
            if process is None:
                call.run()
            elif not process.alive:
                continue
            elif process.paused:
                process.late.append(call)
                continue
            else:
                call.run()
            self.steps += 1
        self.now = max(self.now, time)


class Machine:
    """Where processes run; it has a wall clock, which can be set."""

    def __init__(self, timeline: Timeline, name: str) -> None:
        self.timeline = timeline
        self.name = name
        self.ahead = 0.0
        """Seconds by which its wall clock is ahead of virtual time."""
        self.off = False
        """Without power: nothing is answered, not even a refusal."""

    def wall(self) -> float:
        return self.timeline.now + self.ahead


@implementer(IReactorTime)
class Process:
    """One process, and the reactor in it. Its ``seconds`` are monotonic."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.timeline = machine.timeline
        self.name = name
        self.alive = True
        self.paused = False
        self.late: list[Call] = []
        """Calls that fell due while it was paused."""
        self._unread: list[Callable[[], None]] = []
        self.at_death: list[Callable[[], None]] = []
        """Called when it is killed: what its kernel does with what it had."""
        self.connect: Callable[..., Any] | None = None
        """The network's part of ``connectUNIX``."""

    # -- the reactor ------------------------------------------------------------------------------

    def seconds(self) -> float:
        return self.timeline.now

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002 -- as in IReactorTime
        *args: object,
        **kw: object,
    ) -> IDelayedCall:
        assert delay >= 0, delay
        call = Call(self, self.timeline.now + delay, callable, args, kw)
        if self.alive:
            self.timeline.push(call)
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        heap = self.timeline._heap
        return [c for _, n, c in heap if c.process is self and c.active() and c.number == n]

    def connectUNIX(self, path: str, factory: Any, timeout: float = 30, checkPID: int = 0) -> Any:
        assert self.connect is not None
        return self.connect(self, path, factory)

    # -- what is done to it -----------------------------------------------------------------------

    def come(self, event: Callable[[], None]) -> None:
        """Something comes by a connection: now, or when the process goes on."""
        if not self.alive:
            return
        if self.paused:
            self._unread.append(event)
        else:
            event()

    def pause(self) -> None:
        self.paused = True

    def go_on(self) -> None:
        if not self.paused:
            return
        self.paused = False
        late, self.late = sorted(self.late, key=lambda call: call.time), []
        for call in late:
            if call.active():
                call.time = self.timeline.now
                self.timeline.push(call)
        unread, self._unread = self._unread, []
        for event in unread:
            self.timeline.push(Call(self, self.timeline.now, event, (), {}))

    def kill(self) -> None:
        """It is gone, without a word of its own."""
        if not self.alive:
            return
        self.alive = False
        self.late.clear()
        self._unread.clear()
        deaths, self.at_death = self.at_death, []
        for death in deaths:
            death()
