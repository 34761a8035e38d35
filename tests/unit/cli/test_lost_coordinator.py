"""How long a coordinator that went away is waited for."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.cli.connection import Link, ToldSession
from ampacity.protocol.errors import NoCoordinator
from ampacity.protocol.ids import JobId
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock


def in_this_thread(function: Any, *arguments: Any) -> Deferred[Any]:
    return succeed(function(*arguments))


class Silent:
    """A coordinator that never answers."""

    def watch(self, jobs: Any) -> Deferred[list[int]]:
        return Deferred()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(clock: Clock) -> ToldSession:
    session = ToldSession(clock, in_this_thread, 600.0)
    session.connected(Silent(), 0)  # type: ignore[arg-type]  # all that is asked of it
    return session


def waiting_for(session: ToldSession, job: int) -> Deferred[Any]:
    return Deferred.fromCoroutine(Link(session).expect(JobId(job)).ended())


def test_it_is_given_up_in_the_end(
    session: ToldSession, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = waiting_for(session, 7)
    session.disconnected()
    assert "trying again for 10 m 0 s" in capsys.readouterr().err
    clock.advance(599)
    assert not ended.called
    clock.advance(2)
    failures: list[Any] = []
    ended.addErrback(failures.append)
    assert failures[0].check(NoCoordinator)
    assert clock.getDelayedCalls() == []


def test_one_that_comes_back_is_told_and_waited_for_no_more(
    session: ToldSession, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = waiting_for(session, 7)
    session.disconnected()
    session.disconnected()  # a try that was cut off
    session.connected(Silent(), 0)  # type: ignore[arg-type]  # as above
    clock.advance(1000)
    assert not ended.called
    assert capsys.readouterr().err.endswith("ampacity: connected again\n")
    assert not session.lost


def test_who_leaves_waits_for_nothing(session: ToldSession, clock: Clock) -> None:
    session.leaving = True
    session.disconnected()
    assert clock.getDelayedCalls() == []
