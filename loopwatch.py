"""How late a reactor's loop is, as a number, and who is to blame, as a stack."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from .loopstacks import called_by, codes_of, place_of, text_of, to_blame

_FINEST = 1e-5
_STEPS = 8  # buckets for each doubling: a percentile is right to 9%
_BUCKETS = _STEPS * 24  # up to 168 s


class Lags:
    """A histogram of lags, whose buckets grow by the eighth root of 2."""

    __slots__ = ("_counts", "_max", "_ticks")

    def __init__(self) -> None:
        self._counts = [0] * (_BUCKETS + 1)
        self._ticks = 0
        self._max = 0.0

    def add(self, lag: float) -> None:
        self._ticks += 1
        if lag > self._max:
            self._max = lag
        self._counts[_bucket(lag)] += 1

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


class LagMeter:
    """Measures how late the loop is: a tick is due each ``interval`` seconds, and comes later.

    With ``rest``, a longer interval, ticks come less and less often while nothing happens, since
    each costs something. Who begins anything that may take long says so with ``stir``: the next
    tick is due an interval after that at the latest, as if there had been no rest.
    """

    def __init__(
        self, reactor: IReactorTime, interval: float = 0.005, rest: float | None = None
    ) -> None:
        self.interval = interval
        self._rest = rest or interval
        self._pause = interval
        self._stirred = False
        self._clock = reactor
        self._due = 0.0
        self._call: IDelayedCall | None = None
        self._lags = Lags()

    def reset(self) -> None:
        """Forget what was measured, the tick that is due included."""
        self._lags = Lags()
        self._pause = self.interval
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

    def stir(self) -> None:
        """Something begins."""
        self._stirred = True
        if self._pause > self.interval:
            self._pause = self.interval
            if self._call is not None and self._due > self._clock.seconds() + self.interval:
                self._call.cancel()
                self._again()

    def _again(self) -> None:
        self._due = self._clock.seconds() + self._pause
        self._call = self._clock.callLater(self._pause, self._tick)

    def _tick(self) -> None:
        lag = self._clock.seconds() - self._due
        self._lags.add(lag)
        calm = not self._stirred and lag < self.interval
        self._pause = min(2 * self._pause, self._rest) if calm else self.interval
        self._stirred = False
        self._again()

    def summary(self) -> dict[str, float]:
        """``{p50, p99, max}`` in seconds, and the number of ``ticks`` that were measured."""
        return self._lags.summary()

    def histogram(self) -> list[tuple[float, int]]:
        """Upper bounds in seconds with how many lags were at most that and above the last."""
        return self._lags.histogram()


@attrs.define
class Held:
    """One place in the code that held the loop for too long. As text, it is one line."""

    place: str
    """``file:line in function`` where the loop was seen the first time."""
    stack: str
    """The Python stack then, as text, from what the loop had called."""
    count: int = 0
    seconds: float = 0.0
    """All times together."""
    longest: float = 0.0

    def __str__(self) -> str:
        times = "once" if self.count == 1 else f"{self.count} times"
        return f"{self.place}: {times}, {self.seconds:.2f} s, the longest {self.longest:.2f} s"


Report = Callable[[Held], object]


@attrs.define
class _Hold:
    """One time that the loop does not come round."""

    beat: float
    held: Held
    earlier: float
    """Seconds of the same place before this time."""

    def lasts_until(self, now: float) -> None:
        self.held.seconds = self.earlier + now - self.beat
        self.held.longest = max(self.held.longest, now - self.beat)


class LoopWatch:
    """Measures how late a reactor's loop is, and names what holds it longer than ``bound`` seconds.

    A tick is due in the loop each ``interval`` seconds; ``summary`` and ``histogram`` tell how late
    the ticks came. A thread looks at the Python stack of a loop that has not ticked for ``bound``
    seconds. The first time that a place is found there, ``report`` is called in that thread, while
    the loop still hangs (without a ``report``, it is logged); later times are only counted, see
    ``held``. A place is a function: the innermost one on the stack that belongs to the program, not
    to Twisted or to what is installed.

    It costs less than 1% of a processor, with any reactor. Start and stop it on the reactor's
    thread.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        bound: float = 0.1,
        report: Report | None = None,
        interval: float = 0.025,
    ) -> None:
        self.bound = bound
        self._interval = min(interval, bound / 4)
        self._reactor = reactor
        self._report = report or self._log
        self._lags = Lags()
        self._held: dict[CodeType, Held] = {}
        self._lock = threading.Lock()
        """Around the three below, which the thread and the loop both look at."""
        self._beat: float | None = None
        self._hold: _Hold | None = None
        self._stopped: threading.Event | None = None
        self._base: list[CodeType] = []
        """The functions that call whatever the loop calls, the outermost first."""
        self._loop = 0  # the identity of the loop's thread
        self._call: IDelayedCall | None = None
        self._thread: threading.Thread | None = None
        self._trigger: Any = None

    @property
    def held(self) -> list[Held]:
        """The places found so far, the one with most seconds first."""
        return sorted(self._held.copy().values(), key=lambda held: -held.seconds)

    def summary(self) -> dict[str, float]:
        """The lags of the loop: ``{p50, p99, max}`` in seconds, and the number of ``ticks``."""
        return self._lags.summary()

    def histogram(self) -> list[tuple[float, int]]:
        """Upper bounds in seconds with how many lags were at most that and above the last."""
        return self._lags.histogram()

    def start(self) -> None:
        """Begin to watch, from the moment that the reactor runs until it stops."""
        if self._thread is None:
            stopped = self._stopped = threading.Event()
            self._thread = threading.Thread(
                target=self._watch, args=(stopped,), name="LoopWatch", daemon=True
            )
            self._thread.start()
            self._reactor.callWhenRunning(self._begin, stopped)
            self._trigger = self._reactor.addSystemEventTrigger("before", "shutdown", self._over)

    def stop(self) -> None:
        """End the watch, and its thread. What was found stays to be read."""
        thread, self._thread = self._thread, None
        if thread is None or self._stopped is None:
            return
        self._stopped.set()
        with self._lock:
            self._settle(time.monotonic())
            self._beat = None
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            self._reactor.removeSystemEventTrigger(trigger)
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        if thread is not threading.current_thread():  # a report may be what stops us
            thread.join()

    def _over(self) -> None:
        """The reactor stops; what it has fired cannot be taken out of it any more."""
        self._trigger = None
        self.stop()

    # -- in the loop ------------------------------------------------------------------------------

    def _begin(self, stopped: threading.Event) -> None:
        if not stopped.is_set():  # by now, it may have been started once more
            self._loop = threading.get_ident()
            self._base = codes_of(sys._getframe(1))
            self._again(self._first_tick)

    def _first_tick(self, due: float) -> None:
        self._base = codes_of(sys._getframe(1))  # it begins in the middle of something else
        self._tick(due)

    def _tick(self, due: float) -> None:
        self._lags.add(time.monotonic() - due)
        self._again(self._tick)

    def _again(self, tick: Callable[[float], None]) -> None:
        now = time.monotonic()
        with self._lock:
            self._settle(now)
            self._beat = now
        self._call = self._reactor.callLater(self._interval, tick, now + self._interval)

    def _settle(self, now: float) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.lasts_until(now)

    # -- in the thread ----------------------------------------------------------------------------

    def _watch(self, stopped: threading.Event) -> None:
        pause = self.bound
        while True:
            began, used = time.monotonic(), time.process_time()
            if stopped.wait(pause):
                return
            late = time.monotonic() - began - pause
            if late > self.bound and time.process_time() - used < late / 10:
                pause = self.bound / 4  # the process stood as a whole: nothing in it is to blame
            else:
                pause = self._look()

    def _look(self) -> float:
        """Find who holds the loop, if it is held. Returns the seconds until the next look."""
        beat = self._beat
        if beat is None:
            return self.bound
        left = beat + self.bound - time.monotonic()
        if left > 0:
            return max(left, self.bound / 16)
        hold = self._hold
        if hold is None:
            frames = called_by(self._base, sys._current_frames().get(self._loop))
            if not frames:
                return self.bound / 4
            self._found(beat, frames)
        else:
            self._goes_on(hold)
        return self.bound

    def _found(self, beat: float, frames: list[FrameType]) -> None:
        frame = to_blame(frames)
        with self._lock:
            if self._beat != beat:
                return  # it came round while we looked
            held = self._held.get(frame.f_code)
            new = held is None
            if held is None:
                held = self._held[frame.f_code] = Held(place_of(frame), text_of(frames))
            held.count += 1
            self._hold = _Hold(beat, held, held.seconds)
            self._hold.lasts_until(time.monotonic())
        if new:
            try:
                self._report(held)
            except Exception:  # noqa: BLE001  # the watch goes on, whatever a report does
                self.log.failure("a report of {place} failed", place=held.place)

    def _goes_on(self, hold: _Hold) -> None:
        with self._lock:
            if self._hold is hold:
                hold.lasts_until(time.monotonic())

    def _log(self, held: Held) -> None:
        self.log.warn(  # noqa: G010 -- Twisted's logger knows no "warning"
            "the loop has been held for {seconds:.3f} s by {place}\n{stack}",
            seconds=held.longest,
            place=held.place,
            stack=held.stack,
        )
