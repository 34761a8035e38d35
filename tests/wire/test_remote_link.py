"""A session's link: connections that are lost and made again, over in-memory transports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ampacity.client import remote
from ampacity.client.coordinator import RemoteCoordinator
from ampacity.client.remote import RemoteLink, Target
from ampacity.client.session import Session
from ampacity.coordinator.client_session import ClientSession
from ampacity.protocol import commands
from ampacity.protocol.addresses import Address
from ampacity.protocol.dialing import Greeted, _check_version
from ampacity.protocol.errors import (
    CoordinatorLost,
    NoCoordinator,
    NoSuchWorker,
    NotAllowed,
    StorageFull,
    StoreRefused,
    VersionMismatch,
)
from ampacity.protocol.ids import ClientId, JobId
from ampacity.protocol.outcomes import Delivery, Ending
from ampacity.protocol.ports import Accepted
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.protocols import amp
from twisted.python.failure import Failure

STORE = b"store of 16 byte"


class Entry:
    def __init__(self) -> None:
        self.id: Any = None
        self.frame: Any = None
        self.told: list[Any] = []

    def was_accepted(self, job: JobId) -> None:
        self.id = job

    def has_ended(self, ending: Ending, body: bytes) -> None:
        self.told.append(ending)

    def has_failed(self, error: Exception) -> None:
        self.told.append(error)


class Doors:
    """Stands for ``dial``: refuses as ``outcomes`` say, and lets in where they end."""

    def __init__(self, pair_of: Any, core: Any, blobs: Any, clock: Any) -> None:
        self.outcomes: list[Exception] = []
        self.shut: Exception | None = None
        self.times: list[float] = []
        self.pairs: list[Any] = []
        self.store = STORE
        self._pair_of, self._core, self._blobs, self._clock = pair_of, core, blobs, clock

    async def __call__(
        self, reactor: Any, address: Any, role: Any, token: Any, locator: Any, *waits: float
    ) -> Greeted:
        self.times.append(self._clock.seconds())
        if self.outcomes:
            raise self.outcomes.pop(0)
        if self.shut is not None:
            raise self.shut
        pair = self._pair_of(locator)
        there = pair.there.connection
        there.admit(ClientSession(self._core, self._blobs, there, ClientId("me")))
        self.pairs.append(pair)
        return Greeted(
            connection=pair.here.connection, store=self.store, term=1, client="me", software="0"
        )

    def pump(self) -> None:
        for _ in range(3):
            for pair in self.pairs:
                pair.pump()

    def cut(self) -> None:
        self.pairs[-1].there.transport.loseConnection()
        self.pump()


@pytest.fixture
def doors(
    pair_of: Any, core: Any, blobs: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> Doors:
    doors = Doors(pair_of, core, blobs, clock)
    monkeypatch.setattr(remote, "dial", doors)
    return doors


@pytest.fixture
def session(clock: Any) -> Any:
    session = Session(clock, maybeDeferred)
    yield session
    session.close()


def make(clock: Any, patience: float | None = None) -> RemoteLink:
    return RemoteLink(clock, Target(Address(host="there", port=1)), 5.0, patience)


def failed(deferred: Deferred[Any]) -> list[Any]:
    got: list[Any] = []
    deferred.addErrback(lambda failure: got.append(failure.value))
    return got


@pytest.fixture
def link(clock: Any, session: Session, doors: Doors) -> Any:
    link = make(clock)
    link.open(session)
    doors.pump()
    yield link
    closed = link.close()
    doors.pump()
    clock.advance(10)
    assert closed.called


def seconds(clock: Any, doors: Doors, count: float) -> None:
    for _ in range(int(count * 20)):
        clock.advance(0.05)
        doors.pump()


def test_frames_without_an_answer_go_again_under_their_numbers(
    session: Session, link: RemoteLink, doors: Doors, core: Any, clock: Any
) -> None:
    core.answers["submit"] = Deferred()  # taken, and never answered
    entries = [Entry() for _ in range(256)]
    for entry in entries:
        session.submit(entry, b"spec", b"payload")
    clock.advance(0)
    doors.pump()
    sent = [event for event in core.events if event[0] == "submit"]
    assert [event[1] for event in sent] == [7, 8, 9, 10]
    core.events.clear()
    core.answers["submit"] = Accepted(ids=((1, 64),))
    doors.cut()
    assert core.events == [("leave_session", session.id, False)]
    seconds(clock, doors, 1)
    again = [event for event in core.events if event[0] == "submit"]
    assert again == sent
    assert [entry.id for entry in entries[:64]] == list(range(1, 65))


def test_what_was_asked_is_asked_again(
    session: Session, link: RemoteLink, doors: Doors, core: Any, clock: Any
) -> None:
    core.answers.update(query=Deferred(), cancel=Deferred(), close_group=Deferred())
    answer = session.requests.call(lambda c: c.query("status", {}))
    state = session.requests.cancel(JobId(4))
    session.requests.close_group(1, 200)
    seconds(clock, doors, 0.1)
    core.answers.update(query={"queued": 3}, cancel={4: "running"})
    doors.cut()
    assert not answer.called
    seconds(clock, doors, 1)
    assert (answer.result, state.result) == ({"queued": 3}, "running")
    assert core.events.count(("close_group", 1, 200)) == 2


def test_a_job_of_another_session_is_watched_over_each_connection(
    session: Session, link: RemoteLink, doors: Doors, core: Any, clock: Any
) -> None:
    core.answers["watch"] = []
    entry = Entry()
    session.expect(JobId(5), entry)
    for _ in range(3):
        seconds(clock, doors, 1)
        assert core.events.pop() == ("watch", [5])
        doors.cut()
    seconds(clock, doors, 1)
    done = core.ports[-1].delivered([Delivery(JobId(5), Ending.SUCCEEDED, b"")] * 2)
    doors.pump()
    assert entry.told == [Ending.SUCCEEDED]
    seconds(clock, doors, 0.05)  # the answer can wait for a moment
    assert done.called
    core.events.clear()
    doors.cut()
    seconds(clock, doors, 1)
    assert [event[0] for event in core.events] == ["leave_session", "open_session"]


def test_it_is_tried_for_as_long_as_it_takes_with_random_pauses(
    session: Session, link: RemoteLink, doors: Doors, core: Any, clock: Any
) -> None:
    core.answers["submit"] = Accepted(ids=((1, 1),))
    entry = Entry()
    session.submit(entry, b"spec", b"payload")
    clock.advance(0)
    doors.shut = NoCoordinator("nobody answers")
    doors.times.clear()
    doors.cut()
    seconds(clock, doors, 600)
    pauses = [after - before for before, after in zip(doors.times, doors.times[1:], strict=False)]
    assert max(pauses) <= 5.06
    assert len({round(pause, 2) for pause in pauses}) > 30  # full jitter
    assert 150 < len(pauses) < 450
    assert entry.told == []
    doors.shut = None
    seconds(clock, doors, 6)
    assert link._coordinator is not None


@pytest.mark.parametrize("given_up", [True, False])
def test_patience_ends(
    session: Session, doors: Doors, core: Any, clock: Any, given_up: bool
) -> None:
    link = make(clock, patience=60)
    told: list[Failure] = []
    if given_up:
        link.on_given_up = told.append
    link.open(session)
    core.answers["submit"] = Accepted(ids=((1, 1),))
    entry = Entry()
    session.submit(entry, b"spec", b"payload")
    seconds(clock, doors, 0.1)
    doors.shut = NoCoordinator("connection refused")
    doors.cut()
    seconds(clock, doors, 59)
    asked = failed(session.requests.call(lambda c: c.query("status", {})))
    assert (entry.told, told, asked) == ([], [], [])
    seconds(clock, doors, 7)
    errors = [failure.value for failure in told] if given_up else entry.told
    assert len(errors) == 1
    assert isinstance(errors[0], NoCoordinator)
    assert str(errors[0]) == (
        "the coordinator at there:1 went away, and did not come back within 60 s; what it had "
        "accepted goes on when it runs again. The last try: connection refused"
    )
    if not given_up:
        assert asked == errors
    tries = len(doors.times)
    seconds(clock, doors, 60)
    assert len(doors.times) == tries
    session.fail_all(NoCoordinator())
    link.close()


def test_a_refusal_is_final_unless_it_is_for_want_of_room(
    session: Session, link: RemoteLink, doors: Doors, core: Any, clock: Any
) -> None:
    core.answers["query"] = Deferred()
    doors.outcomes = [StorageFull("no room for sessions"), NoCoordinator(), NotAllowed("go away")]
    asked = failed(session.requests.call(lambda c: c.query("status", {})))
    doors.cut()
    seconds(clock, doors, 20)
    assert doors.outcomes == []
    assert isinstance(asked[0], NotAllowed)
    tries = len(doors.times)
    seconds(clock, doors, 20)
    assert len(doors.times) == tries


def test_another_store_has_none_of_it(
    session: Session, link: RemoteLink, doors: Doors, core: Any, clock: Any
) -> None:
    core.answers["submit"] = Accepted(ids=((1, 1),))
    entry = Entry()
    session.submit(entry, b"spec", b"payload")
    seconds(clock, doors, 0.1)
    before = session.id
    doors.store = b"another 16 bytes"
    doors.cut()
    seconds(clock, doors, 1)
    assert isinstance(entry.told[0], CoordinatorLost)
    assert session.id != before
    assert core.events[-1] == ("open_session", "me", session.id)


# -- what a coordinator is asked, over the wire ---------------------------------------------------


class Answers(amp.CommandLocator):
    """A coordinator that knows version 2 of the protocol."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.error: Exception | None = None

    def _answer(self, *asked: Any, **answer: Any) -> dict[str, Any]:
        self.asked.append(asked)
        if self.error is not None:
            raise self.error
        return answer

    @commands.Forget.responder
    def forget(self, jobs: Any) -> dict[str, Any]:
        return self._answer("forget", jobs, states={1: "forgotten", 2: "running"})

    @commands.DrainWorker.responder
    def drain(self, worker: str) -> dict[str, Any]:
        return self._answer("drain", worker)

    @commands.Backup.responder
    def backup(self, folder: str) -> dict[str, Any]:
        report = {"jobs": 3, "values": 1, "bytes": 99, "seconds": 0.5}
        return self._answer("backup", folder, report=report)


Ask = Callable[[RemoteCoordinator], Deferred[Any]]

ASKS: list[tuple[Ask, Any, Any]] = [
    (
        lambda c: c.forget([JobId(1), JobId(2)]),
        ("forget", [1, 2]),
        {1: "forgotten", 2: "running"},
    ),
    (lambda c: c.drain_worker("w1"), ("drain", "w1"), None),
    (
        lambda c: c.backup(Path("/srv/copy")),
        ("backup", "/srv/copy"),
        {"jobs": 3, "values": 1, "bytes": 99, "seconds": 0.5},
    ),
]


@pytest.mark.parametrize(("ask", "asked", "answer"), ASKS)
def test_what_version_2_asks(
    pair_of: Any, session: Session, ask: Ask, asked: Any, answer: Any
) -> None:
    there = Answers()
    pair = pair_of(None, there)
    assert pair.result(ask(RemoteCoordinator(pair.here.connection, session))) == answer
    assert there.asked == [asked]


@pytest.mark.parametrize(
    ("place", "error"), [(1, NoSuchWorker), (2, StoreRefused), (2, StorageFull)]
)
def test_its_errors(pair_of: Any, session: Session, place: int, error: type[Exception]) -> None:
    there = Answers()
    there.error = error("this is why")
    pair = pair_of(None, there)
    with pytest.raises(error, match="this is why"):
        pair.result(ASKS[place][0](RemoteCoordinator(pair.here.connection, session)))


@pytest.mark.parametrize("ask", [ask for ask, _, _ in ASKS])
def test_a_coordinator_of_the_version_before_is_not_asked(
    pair_of: Any, session: Session, ask: Ask
) -> None:
    there = Answers()
    pair = pair_of(None, there)
    with pytest.raises(VersionMismatch, match="upgrade ampacity on its machine"):
        pair.result(ask(RemoteCoordinator(pair.here.connection, session, version=1)))
    assert there.asked == []


def test_the_answered_version_is_one_of_ours() -> None:
    for version in commands.PROTOCOL_VERSIONS:
        _check_version({"version": version, "software": "9"})
    with pytest.raises(VersionMismatch, match=r"runs ampacity 9\.9 and answered with version 77"):
        _check_version({"version": 77, "software": "9.9"})
