"""The loop's lag is measured, and who holds the loop is named."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import pytest_twisted
from ampacity.loopwatch import Held, LagMeter, LoopWatch
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock


class LateClock(Clock):
    """A loop that comes late to every call, by as much as the test says."""

    late = 0.0

    def run(self, late: float, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.advance(self.getDelayedCalls()[0].getTime() - self.seconds() + late + 1e-9)


def test_a_loop_on_time_has_no_lag() -> None:
    clock = LateClock()
    meter = LagMeter(clock)
    meter.start()
    clock.run(0.0, 100)
    summary = meter.summary()
    assert summary["ticks"] == 100
    assert summary["p99"] <= summary["max"] < 1e-5


def test_percentiles_come_within_a_tenth() -> None:
    clock = LateClock()
    meter = LagMeter(clock)
    meter.start()
    clock.run(0.001, 980)
    clock.run(0.020, 19)
    clock.run(3.0)
    summary = meter.summary()
    assert summary["p50"] == pytest.approx(0.001, rel=0.1)
    assert summary["p99"] == pytest.approx(0.020, rel=0.1)
    assert summary["max"] == pytest.approx(3.0)
    assert sum(count for _bound, count in meter.histogram()) == summary["ticks"] == 1000


def test_a_meter_rests_while_nothing_happens_and_ticks_soon_after_something_begins() -> None:
    clock = Clock()
    meter = LagMeter(clock, interval=0.005, rest=0.04)
    meter.start()
    for _ in range(1000):
        clock.advance(0.001)
    assert meter.summary()["ticks"] < 35
    for place in range(0, 40, 5):
        meter.reset()
        for _ in range(200 + place):
            clock.advance(0.001)
        meter.stir()
        clock.advance(0.030)  # held from then on
        assert meter.summary()["max"] >= 0.025 - 1e-9
    meter.reset()
    for _ in range(1000):
        meter.stir()
        clock.advance(0.001)
    assert meter.summary()["ticks"] >= 150
    meter.stop()
    meter.stir()
    assert not clock.getDelayedCalls()


def test_nothing_measured_yet() -> None:
    assert LagMeter(Clock()).summary() == {"p50": 0.0, "p99": 0.0, "max": 0.0, "ticks": 0}


def test_a_lag_beyond_every_bucket() -> None:
    clock = LateClock()
    meter = LagMeter(clock)
    meter.start()
    clock.run(1e6)
    assert meter.summary()["max"] == pytest.approx(1e6)
    assert len(meter.histogram()) == 1


def test_starting_and_stopping_twice_and_forgetting() -> None:
    clock = LateClock()
    meter = LagMeter(clock)
    meter.start()
    meter.start()
    assert len(clock.getDelayedCalls()) == 1
    clock.run(0.1)
    meter.reset()
    assert meter.summary()["ticks"] == 0
    meter.stop()
    meter.stop()
    assert clock.getDelayedCalls() == []


# -- the watch: it looks at real threads by the real clock -----------------------------------------


def hold(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(100))


def hold_elsewhere(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(100))


@pytest.fixture
def loop() -> Any:
    from twisted.internet import reactor

    return reactor


async def round_of(loop: Any, *work: Any) -> None:
    """Let the loop come round, then do the work in it."""
    for call, *arguments in work:
        await task.deferLater(loop, 0.05, lambda: None)
        await task.deferLater(loop, 0, call, *arguments)
    await task.deferLater(loop, 0.05, lambda: None)


@pytest.mark.alone
@pytest_twisted.ensureDeferred
async def test_the_holder_of_the_loop_is_reported_once_and_counted(loop: Any) -> None:
    reported: list[Held] = []
    watch = LoopWatch(loop, 0.05, reported.append)
    watch.start()
    await round_of(loop, (hold, 0.2), (hold, 0.2), (hold_elsewhere, 0.2))
    watch.stop()
    places = [held.place.split()[-1] for held in reported]
    assert places == ["hold", "hold_elsewhere"]
    first = reported[0]
    assert first.count == 2
    assert "test_loopwatch.py" in first.place
    assert "in hold\n" in first.stack
    assert 0.2 < first.seconds < 2
    assert first.longest < first.seconds
    assert watch.held[0] is first


@pytest_twisted.ensureDeferred
async def test_it_is_reported_while_the_loop_still_hangs(loop: Any) -> None:
    seen = threading.Event()
    watch = LoopWatch(loop, 0.02, lambda _: seen.set())
    watch.start()
    await round_of(loop, (seen.wait, 10))
    watch.stop()
    assert seen.is_set()


@pytest.mark.alone
@pytest_twisted.ensureDeferred
async def test_an_idle_loop_holds_nothing_and_no_thread_stays(loop: Any) -> None:
    watch = LoopWatch(loop, 0.2)
    watch.start()
    watch.start()
    await task.deferLater(loop, 0.5, lambda: None)
    watch.stop()
    watch.stop()
    assert watch.held == []
    assert not [t for t in threading.enumerate() if t.name == "LoopWatch"]


@pytest_twisted.ensureDeferred
async def test_without_a_report_it_is_logged(loop: Any) -> None:
    from twisted.logger import globalLogPublisher

    lines: list[Any] = []
    keep: Any = lines.append
    globalLogPublisher.addObserver(keep)
    watch = LoopWatch(loop, 0.02)
    try:
        watch.start()
        await round_of(loop, (hold, 0.2))
    finally:
        watch.stop()
        globalLogPublisher.removeObserver(keep)
    told = [line for line in lines if line.get("log_namespace", "").endswith("LoopWatch")]
    assert [line["place"].split()[-1] for line in told] == ["hold"]


def test_it_waits_for_a_reactor_that_does_not_run_yet() -> None:
    class Waiting(Clock):
        def callWhenRunning(self, call: Any, *arguments: Any) -> None:
            pass

        def addSystemEventTrigger(self, *_: object) -> Deferred[None]:
            return Deferred()

        def removeSystemEventTrigger(self, _: object) -> None:
            pass

    watch = LoopWatch(Waiting(), 0.01)
    watch.start()
    time.sleep(0.05)
    watch.stop()
    assert watch.held == []


@pytest_twisted.ensureDeferred
async def test_a_report_that_fails_is_logged_and_the_next_place_is_reported(
    loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[str] = []

    class Log:
        def failure(self, _: str, place: str) -> None:
            places.append(place.split()[-1])

    monkeypatch.setattr(LoopWatch, "log", Log())

    def fail(_: Held) -> None:
        raise RuntimeError

    watch = LoopWatch(loop, 0.02, fail)
    watch.start()
    await round_of(loop, (hold, 0.2), (hold_elsewhere, 0.2))
    watch.stop()
    assert {"hold", "hold_elsewhere"} <= {*places}


@pytest_twisted.ensureDeferred
async def test_a_report_may_stop_the_watch(loop: Any) -> None:
    stopped = threading.Event()

    def end_it(_: Held) -> None:
        watch.stop()
        stopped.set()

    watch = LoopWatch(loop, 0.02, end_it)
    watch.start()
    await round_of(loop, (stopped.wait, 10), (hold, 0.1))
    assert stopped.is_set()
    assert len(watch.held) == 1
    watch.start()
    await round_of(loop, (hold_elsewhere, 0.2))
    watch.stop()
    assert "hold_elsewhere" in [held.place.split()[-1] for held in watch.held]


@pytest_twisted.ensureDeferred
async def test_its_histogram_has_every_tick(loop: Any) -> None:
    watch = LoopWatch(loop, 0.1, lambda _: None)
    watch.start()
    await round_of(loop, (hold, 0.3))
    watch.stop()
    summary = watch.summary()
    assert 0.25 < summary["max"] < 5
    assert sum(count for _, count in watch.histogram()) == summary["ticks"] >= 2


@pytest_twisted.ensureDeferred
async def test_time_is_counted_until_the_loop_comes_round(loop: Any) -> None:
    watch = LoopWatch(loop, 0.1, lambda _: None)
    watch.start()
    await round_of(loop, (hold, 0.35), (hold, 0.45))
    watch.stop()
    (held,) = [held for held in watch.held if held.place.endswith("in hold")]
    assert held.count == 2
    assert 0.8 <= held.seconds < 5
    assert 0.45 <= held.longest < held.seconds
    assert str(held).startswith(f"{held.place}: 2 times, ")


# -- in programs of their own ----------------------------------------------------------------------


def run(program: str, *words: str) -> str:
    """What it prints; it must end well, and complain about nothing."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_it_ends_with_the_reactor_without_a_word() -> None:
    program = """
from twisted.internet import reactor
from ampacity import LoopWatch
LoopWatch(reactor, 0.01).start()
reactor.callLater(0.05, reactor.stop)
reactor.run()
"""
    assert run(program) == ""


FINDS = """
import importlib, json, sys, time
importlib.import_module("twisted.internet." + sys.argv[1]).install()
from twisted.internet import reactor, task
from ampacity import LoopWatch

def decode(text):  # the library's own functions are not to blame
    return json.JSONDecoder().scan_once(text, 0) and time.sleep(0.2)

class Decoder(json.JSONDecoder):
    def decode(self, text):
        return decode(text)

def handle_message():
    json.loads("[1]", cls=Decoder)

def sort_for_long():  # keeps the interpreter's lock: no thread can look meanwhile
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        sorted(numbers)

numbers = [(n * 7919) % 1_000_003 for n in range(1_500_000)]
found = []
watch = LoopWatch(reactor, 0.1, found.append)
watch.start()
reactor.callLater(0.1, handle_message)
reactor.callLater(0.4, sort_for_long)
reactor.callLater(0.5, lambda: reactor.callLater(0.1, reactor.stop))
reactor.run()
for held in found:
    print(held.place.split()[-1], held.stack.count("File"), "mainLoop" in held.stack)
"""


@pytest.mark.alone
@pytest.mark.parametrize(
    "reactor", ["selectreactor", "pollreactor", "epollreactor", "asyncioreactor"]
)
def test_any_reactor_is_watched(reactor: str) -> None:
    printed = run(FINDS, reactor).splitlines()
    names = [line.split()[0] for line in printed]
    assert names[0] == "decode"
    assert "sort_for_long" in names
    assert all(line.endswith("False") for line in printed)


FIRST = """
import sys, time
from twisted.internet import reactor
from ampacity import LoopWatch

def first():
    time.sleep(0.3)
    reactor.stop()

watch = LoopWatch(reactor, 0.05, lambda held: print(held.place.split()[-1]))
watch.start()
reactor.callLater(0, first)
reactor.run()
"""


def test_what_holds_the_loop_before_its_first_tick_is_found() -> None:
    assert run(FIRST) == "first\n"


COST = """
import sys, time
from twisted.internet import reactor
from ampacity import LoopWatch

def cpu():
    return time.process_time() - began

if sys.argv[1] == "watched":
    LoopWatch(reactor).start()
reactor.callLater(0.5, lambda: globals().update(began=time.process_time()))
reactor.callLater(2.5, lambda: (print(cpu() / 2), reactor.stop()))
reactor.run()
"""


@pytest.mark.alone
def test_it_costs_less_than_a_hundredth_of_a_processor() -> None:
    """An idle loop is the worst case: it is woken for nothing else."""
    cost = min(float(run(COST, "watched")) - float(run(COST, "alone")) for _ in range(3))
    assert cost < 0.01
