"""A reactor whose timers do not follow the wall clock."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from ampacity.protocol.steady import make_steady, monotonic_of
from twisted.internet.task import Clock

PROGRAM = """
import sys, time

real, jump = time.time, [0.0]
time.time = lambda: real() + jump[0]  # before Twisted keeps it
from twisted.python import runtime
runtime.seconds = time.time
from twisted.internet.base import ReactorBase
ReactorBase.seconds = staticmethod(time.time)
if sys.argv[1] != "default":
    from twisted.application.reactors import installReactor
    installReactor(sys.argv[1])
from twisted.internet import reactor
from ampacity.protocol.steady import make_steady

began = time.monotonic()

def said(what):
    print(what, round(time.monotonic() - began, 1))

def later():
    jump[0] = float(sys.argv[3])
    reactor.callLater(0.2, said, "new")

given_up = [reactor.callLater(3600, said, "never") for _ in range(3)]
reactor.callLater(0.2, said, "old")
given_up[0].cancel()
if sys.argv[2] == "steady":
    make_steady(reactor)
given_up[1].cancel()
reactor.callLater(0.1, later)
reactor.callFromThread(lambda: None)
import threading
threading.Timer(0.6, lambda: reactor.callFromThread(reactor.stop)).start()
reactor.run()
"""


def run(kind: str, steady: str, jump: float) -> str:
    words = [sys.executable, "-c", textwrap.dedent(PROGRAM), kind, steady, str(jump)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["default", "select", "poll", "asyncio"])
@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_jumps_of_the_wall_clock_move_no_timer(kind: str, jump: float) -> None:
    assert run(kind, "steady", jump) == "old 0.2\nnew 0.3\n"


@pytest.mark.alone
def test_without_it_they_do() -> None:
    """That the test above is able to see it."""
    assert run("default", "wall", -7200.0) == "new 0.3\n"
    assert "never 0.1" in run("default", "wall", 7200.0)


def test_a_clock_of_a_test_keeps_its_time() -> None:
    clock = Clock()
    make_steady(clock)
    clock.advance(5)
    assert monotonic_of(clock)() == clock.seconds() == 5.0
