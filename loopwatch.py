"""How late a reactor's loop is, as a number, and who is to blame, as a stack."""

from __future__ import annotations

import gc
import math
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

_FINEST = 1e-5
_STEPS = 8  # buckets for each doubling: a percentile is right to 9%
_BUCKETS = _STEPS * 24  # up to 168 s
_STACK_DEPTH = 40


def calm_collector() -> None:
    """Have the garbage collector not hold the loop, in a process of our own that has started.

    What is there now is left alone for good, and the rest is seldom looked at as a whole: that
    took 60 ms with 100,000 jobs. Young cycles go as ever; what jobs are made of has none.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000, 5, 10_000)


class LagMeter:
    """Measures how late the loop is: a tick is due each ``interval`` seconds, and comes later.

    The lags are counted in a histogram whose buckets grow by the eighth root of 2.
    """

    def __init__(self, reactor: IReactorTime, interval: float = 0.005) -> None:
        self.interval = interval
        self._clock = reactor
        self._due = 0.0
        self._call: IDelayedCall | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what was measured, the tick that is due included."""
        self._counts = [0] * (_BUCKETS + 1)
        self._ticks = 0
        self._max = 0.0
        if self._call is not None:
            self.stop()
            self.start()

    def start(self) -> None:
        if self._call is None:
            self._again()

    def stop(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def _again(self) -> None:
        self._due = self._clock.seconds() + self.interval
        self._call = self._clock.callLater(self.interval, self._tick)

    def _tick(self) -> None:
        lag = self._clock.seconds() - self._due
        self._ticks += 1
        if lag > self._max:
            self._max = lag
        self._counts[_bucket(lag)] += 1
        self._again()

    def summary(self) -> dict[str, float]:
        """``{p50, p99, max}`` in seconds, and the number of ``ticks`` that were measured."""
        return {
            "p50": self._percentile(0.5),
            "p99": self._percentile(0.99),
            "max": self._max,
            "ticks": self._ticks,
        }

    def histogram(self) -> list[tuple[float, int]]:
        """Upper bounds in seconds with how many lags were at most that and above the last."""
        return [(_bound(place), count) for place, count in enumerate(self._counts) if count]

    def _percentile(self, part: float) -> float:
        """The bound of the bucket in which that part of all lags is reached."""
        left = math.ceil(part * self._ticks)
        for place, count in enumerate(self._counts):
            left -= count
            if left <= 0:
                return min(_bound(place), self._max)
        return self._max


def _bucket(lag: float) -> int:
    if lag <= _FINEST:
        return 0
    return min(math.ceil(math.log2(lag / _FINEST) * _STEPS), _BUCKETS)


def _bound(bucket: int) -> float:
    return _FINEST * math.exp2(bucket / _STEPS)


@attrs.define
class Held:
    """One place in the code that held the loop for too long."""

    place: str
    """``file:line in function`` where the loop was seen the first time."""
    stack: str
    """The Python stack then, as text."""
    count: int = 0
    seconds: float = 0.0
    """All times together."""
    longest: float = 0.0
    reported: bool = False


Report = Callable[[Held], None]


class LoopWatch:
    """Names what holds a reactor's loop for longer than ``bound`` seconds.

    A thread looks at the loop a few times within the bound. The first time that a function is
    found in the way, ``report`` is called in that thread, while the loop still hangs (without a
    ``report``, it is logged); later ones are only counted, see ``held``.
    """

    log = Logger()

    def __init__(self, reactor: Any, bound: float = 0.1, report: Report | None = None) -> None:
        self.bound = bound
        self._reactor = reactor
        self._report = report or self._log
        self._held: dict[CodeType, Held] = {}
        self._beat: float | None = None
        self._loop = 0  # the identity of the loop's thread
        self._call: IDelayedCall | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._trigger: Any = None
        self._current: tuple[float, Held, float] | None = None
        """The beat that was the last one, who holds the loop since, his seconds before that."""

    @property
    def held(self) -> list[Held]:
        """The places found so far, the one with most seconds first."""
        return sorted(self._held.copy().values(), key=lambda held: -held.seconds)

    def start(self) -> None:
        """Begin to watch, from the moment that the reactor runs until it stops."""
        if self._thread is None:
            self._stopped.clear()
            self._thread = threading.Thread(target=self._watch, name="LoopWatch", daemon=True)
            self._thread.start()
            self._reactor.callWhenRunning(self._pulse)
            self._trigger = self._reactor.addSystemEventTrigger("before", "shutdown", self._over)

    def stop(self) -> None:
        """End the watch, and its thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._beat = None
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            self._reactor.removeSystemEventTrigger(trigger)
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._stopped.set()
        thread.join()

    def _over(self) -> None:
        """The reactor stops; what it has fired cannot be taken out of it any more."""
        self._trigger = None
        self.stop()

    # -- in the loop ------------------------------------------------------------------------------

    def _pulse(self) -> None:
        if self._thread is not None:
            self._loop = threading.get_ident()
            self._beat = time.monotonic()
            self._call = self._reactor.callLater(self.bound / 4, self._pulse)

    # -- in the thread ----------------------------------------------------------------------------

    def _watch(self) -> None:
        looked = time.monotonic()
        while not self._stopped.wait(self.bound / 4):
            now, before = time.monotonic(), looked
            looked = now
            if now - before > self.bound:
                continue  # this thread was kept waiting itself: the loop may not be to blame
            beat = self._beat
            if beat is not None and now - beat > self.bound:
                self._look(beat, now - beat)

    def _look(self, beat: float, seconds: float) -> None:
        """The loop has not come round since ``beat``: find who holds it, or that he still does."""
        if self._current is None or self._current[0] != beat:
            held = self._find()
            self._current = None if held is None else (beat, held, held.seconds)
        if self._current is not None:
            _, held, earlier = self._current
            held.seconds = earlier + seconds
            held.longest = max(held.longest, seconds)
            if not held.reported:
                held.reported = True
                self._report(held)

    def _find(self) -> Held | None:
        frame = sys._current_frames().get(self._loop)
        if frame is None:
            return None
        held = self._held.get(frame.f_code)
        if held is None:
            held = self._held[frame.f_code] = Held(_place(frame), _stack(frame))
        held.count += 1
        return held

    def _log(self, held: Held) -> None:
        self.log.warn(  # noqa: G010 -- Twisted's logger knows no "warning"
            "the loop has been held for {seconds:.3f} s by {place}\n{stack}",
            seconds=held.longest,
            place=held.place,
            stack=held.stack,
        )


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"


def _stack(frame: FrameType) -> str:
    return "".join(traceback.format_stack(frame, _STACK_DEPTH))
