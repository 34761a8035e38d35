"""Questions to a coordinator that comes and goes."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.client.requests import Requests
from ampacity.protocol.errors import Disconnected, PoolClosed
from ampacity.protocol.ids import JobId
from twisted.internet.defer import CancelledError, Deferred, fail, succeed


class Gone:
    """A coordinator in this process that has stopped: it answers at once."""

    def __init__(self) -> None:
        self.asked = 0

    def query(self, question: str, details: dict[str, Any]) -> Deferred[Any]:
        self.asked += 1
        return fail(Disconnected("the coordinator has stopped"))


class There:
    def query(self, question: str, details: dict[str, Any]) -> Deferred[Any]:
        return succeed(question)


class Session:
    """What ``Requests`` needs of a session."""

    def __init__(self) -> None:
        self.not_known: list[int] = []

    def wake(self) -> None: ...

    def unknown(self, job: JobId, error: Exception) -> None:
        self.not_known.append(job)


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def requests(session: Session) -> Requests:
    return Requests(session)  # type: ignore[arg-type]  # as much of one as is used


def ask(requests: Requests) -> Deferred[Any]:
    return requests.call(lambda coordinator: coordinator.query("status", {}))


def connect(requests: Requests, coordinator: object) -> None:
    requests.connected(coordinator)  # type: ignore[arg-type]  # as much of one as is used


def failure(deferred: Deferred[Any]) -> Exception:
    got: list[Any] = []
    deferred.addErrback(got.append)
    error: Exception = got[0].value
    return error


def test_one_that_has_stopped_is_asked_once(requests: Requests) -> None:
    gone = Gone()
    connect(requests, gone)
    answer = ask(requests)
    assert gone.asked == 1
    assert not answer.called
    connect(requests, There())
    assert answer.result == "status"


def test_not_again_where_that_is_not_wanted(requests: Requests) -> None:
    connect(requests, Gone())
    answer = requests.call(lambda coordinator: coordinator.query("status", {}), again=False)
    assert isinstance(failure(answer), Disconnected)


def test_who_waits_is_told_when_nobody_will_come(requests: Requests) -> None:
    waiting = ask(requests)
    requests.give_up(PoolClosed())
    assert isinstance(failure(waiting), PoolClosed)
    assert isinstance(failure(ask(requests)), PoolClosed)
    connect(requests, There())
    assert ask(requests).result == "status"


def test_jobs_are_not_waited_for_when_nobody_will_come(
    requests: Requests, session: Session
) -> None:
    requests.give_up(PoolClosed())
    requests.watch(JobId(3))
    refused: list[Any] = []
    requests.cancel(JobId(4)).addErrback(refused.append)
    requests.flush()
    assert session.not_known == [3]
    assert isinstance(refused[0].value, PoolClosed)


def test_who_does_not_wait_any_more_is_not_asked_for(requests: Requests) -> None:
    waiting = ask(requests)
    waiting.cancel()
    assert isinstance(failure(waiting), CancelledError)
    there = There()
    there.query = lambda *_: pytest.fail("asked")  # type: ignore[method-assign]
    connect(requests, there)
