"""Who is let in, by which words, within which time."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from ampacity.coordinator.credentials import Credentials
from ampacity.coordinator.greeting import Greeting
from ampacity.protocol import commands, limits
from ampacity.protocol.access import StateFolder
from ampacity.protocol.errors import (
    AmpacityError,
    Malformed,
    NotAllowed,
    TokenRefused,
    VersionMismatch,
)
from ampacity.protocol.tokens import ROLES, Token, parse_token
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.protocols import amp


class Session(amp.CommandLocator):
    """What answers once the greeting is done."""

    @commands.Shutdown.responder
    def shutdown(self) -> dict[str, Any]:
        return {}


class Door:
    """The far side of a pair, waiting for a greeting."""

    def __init__(self, pair: Any, clock: Any, core: Any, credentials: Credentials | None) -> None:
        self.pair = pair
        self.admitted: list[tuple[str, str]] = []
        self.connection = pair.there.connection
        self.connection.admitted = False
        Greeting(self.connection, clock, core, self._admit, credentials)

    def _admit(self, connection: Any, role: str, client: str) -> Session:
        self.admitted.append((role, client))
        return Session()

    def call(self, command: Any, **arguments: Any) -> Any:
        return self.pair.result(self.pair.here.connection.call(command, **arguments))

    def hello(self, role: str = "client", versions: tuple[int, ...] = (1,)) -> Any:
        return self.call(commands.Hello, versions=list(versions), role=role, software="0.0.1")

    def show(self, token: Token) -> Any:
        return self.call(commands.Authenticate, token=token.id, secret=token.secret)


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    credentials = Credentials(StateFolder(tmp_path / "state"), lambda: 1e9)
    at_once: Any = maybeDeferred
    work = Deferred.fromCoroutine(credentials.start(at_once))
    assert work.called
    return credentials


def issue(credentials: Credentials, *arguments: Any) -> Token:
    issued: list[Token] = []
    Deferred.fromCoroutine(credentials.issue(*arguments)).addCallback(issued.append)
    return issued[0]


@pytest.fixture
def door(pair_of: Any, clock: Any, core: Any, credentials: Credentials) -> Door:
    return Door(pair_of(), clock, core, credentials)


@pytest.fixture
def open_door(pair_of: Any, clock: Any, core: Any) -> Door:
    return Door(pair_of(), clock, core, None)


def test_the_unix_socket_is_open(open_door: Door) -> None:
    answer = open_door.hello("worker", (1, 99))
    assert (answer["version"], answer["open"]) == (1, True)
    assert (answer["store"], answer["term"]) == (b"store of 16 byte", 3)
    assert open_door.admitted == [("worker", "local")]
    assert open_door.call(commands.Shutdown) == {}


@pytest.mark.parametrize(
    ("told", "taken"), [(None, 64), (-5, 64), (1, 64), (100, 100), (256, 256), (2**40, 256)]
)
def test_how_many_jobs_a_frame_has(open_door: Door, told: int | None, taken: int) -> None:
    """Who does not say it gets what the first releases took."""
    asked = {} if told is None else {"frame_jobs": told}
    answer = open_door.call(commands.Hello, versions=[1], role="client", software="0.0.1", **asked)
    assert answer["frame_jobs"] == limits.LARGE_FRAME_JOBS
    assert open_door.connection.frame_jobs == taken


def test_a_client_shows_its_token(door: Door, credentials: Credentials) -> None:
    token = issue(credentials, "client")
    assert door.hello()["open"] is False
    assert door.admitted == []
    assert door.show(token) == {"client": token.id, "credential": None}
    assert door.admitted == [("client", token.id)]
    assert door.call(commands.Shutdown) == {}


def test_a_worker_exchanges_its_join_token(door: Door, credentials: Credentials) -> None:
    token = issue(credentials, "worker", "join")
    door.hello("worker")
    answer = door.show(token)
    own = parse_token(answer["credential"])
    assert own.id == answer["client"] != token.id
    assert credentials.verify(own.id, own.secret).origin == token.id
    assert own.key_hash == credentials.key.hash


@pytest.mark.parametrize("role", ["client", "operator", "viewer"])
def test_every_role_comes_in_as_what_its_token_says(
    door: Door, credentials: Credentials, role: str
) -> None:
    token = issue(credentials, role)
    door.hello(role)
    door.show(token)
    assert door.admitted == [(role, token.id)]


@pytest.mark.parametrize(("token", "said"), list(itertools.permutations(ROLES, 2)))
def test_a_token_is_good_for_its_own_role_only(
    door: Door, credentials: Credentials, token: str, said: str
) -> None:
    shown = issue(credentials, token)
    door.hello(said)
    with pytest.raises(TokenRefused):
        door.show(shown)
    assert door.admitted == []


@pytest.mark.parametrize(
    ("said", "role"), [("client", "operator"), ("viewer", "viewer"), ("worker", "worker")]
)
def test_over_the_unix_socket_a_client_is_an_operator(
    open_door: Door, said: str, role: str
) -> None:
    open_door.hello(said)
    assert open_door.admitted == [(role, "local")]


@pytest.mark.parametrize("role", ["worker", "client"])
def test_a_token_of_the_other_role_is_refused(
    door: Door, credentials: Credentials, role: str
) -> None:
    token = issue(credentials, "client" if role == "worker" else "worker")
    door.hello(role)
    with pytest.raises(TokenRefused):
        door.show(token)
    assert door.admitted == []


def test_a_refused_token_ends_the_connection_after_the_answer(
    door: Door, credentials: Credentials
) -> None:
    token = issue(credentials, "client")
    door.hello()
    with pytest.raises(TokenRefused) as caught:
        door.call(commands.Authenticate, token=token.id, secret=b"wrong")
    assert "wrong" not in str(caught.value)
    door.pair.pump()
    assert not door.pair.there.transport.connected


def test_nothing_else_is_understood_before(door: Door, credentials: Credentials) -> None:
    for command, arguments in (
        (commands.Shutdown, {}),
        (commands.Query, {"question": "status", "details": {}}),
        (commands.Ping, {}),
        (commands.OpenSession, {"session": b"s" * 16}),
    ):
        with pytest.raises(NotAllowed, match="the greeting comes before"):
            door.call(command, **arguments)


def test_the_words_come_in_order_and_once(door: Door, credentials: Credentials) -> None:
    token = issue(credentials, "client")
    with pytest.raises(NotAllowed):
        door.show(token)
    door.hello()
    with pytest.raises(NotAllowed):
        door.hello()
    door.show(token)
    with pytest.raises(NotAllowed):
        door.show(token)
    with pytest.raises(NotAllowed):
        door.hello("worker")
    assert len(door.admitted) == 1


def test_no_version_in_common_names_both(door: Door) -> None:
    with pytest.raises(VersionMismatch, match=r"0\.0\.1 and speaks version 98, 99") as caught:
        door.hello(versions=(98, 99))
    assert "version 1, 2 " in str(caught.value)


def test_no_versions_at_all(door: Door) -> None:
    with pytest.raises(VersionMismatch):
        door.hello(versions=())


@pytest.mark.parametrize("role", ["owner", "", "Client", "client\n"])
def test_an_unknown_role(door: Door, role: str) -> None:
    with pytest.raises(Malformed):
        door.hello(role)


@pytest.mark.parametrize("until", ["nothing", "hello"])
def test_a_peer_that_takes_too_long_is_cut_off(door: Door, clock: Any, until: str) -> None:
    if until == "hello":
        door.hello()
    clock.advance(limits.GREETING_SECONDS - 0.1)
    assert not door.pair.there.aborted
    clock.advance(0.1)
    assert door.pair.there.aborted


def test_whoever_is_in_has_time(open_door: Door, clock: Any) -> None:
    open_door.hello()
    for _ in range(10):
        clock.advance(limits.GREETING_SECONDS)
        open_door.pair.pump()
    assert not open_door.pair.there.aborted


def test_a_peer_that_leaves_leaves_no_clock_behind(door: Door, clock: Any) -> None:
    door.pair.there.transport.loseConnection()
    door.pair.here.transport.loseConnection()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("goes", [True, False])
def test_while_a_credential_is_written(
    door: Door, credentials: Credentials, clock: Any, goes: bool
) -> None:
    """Time that we take is our own; who has gone meanwhile is not let in, and leaves nothing."""
    token = issue(credentials, "worker", "join")
    written: Deferred[None] = Deferred()
    credentials._defer_to_thread = lambda *_: written
    door.hello("worker")
    with pytest.raises(AssertionError, match="no result yet"):
        door.show(token)
    clock.advance(limits.GREETING_SECONDS)
    assert not door.pair.there.aborted
    if goes:
        door.pair.there.transport.loseConnection()
    written.callback(None)
    assert len(door.admitted) == (0 if goes else 1)
    assert len(credentials.list()) == (1 if goes else 2)


def test_one_token_a_connection_also_while_it_is_looked_at(
    door: Door, credentials: Credentials
) -> None:
    token = issue(credentials, "worker", "join")
    written: Deferred[None] = Deferred()
    credentials._defer_to_thread = lambda *_: written
    door.hello("worker")
    with pytest.raises(AssertionError, match="no result yet"):
        door.show(token)
    with pytest.raises(NotAllowed):
        door.show(token)
    written.callback(None)
    assert len(door.admitted) == 1


def test_a_credential_that_cannot_be_written_lets_nobody_in(
    door: Door, credentials: Credentials, clock: Any, logged_errors: Any
) -> None:
    token = issue(credentials, "worker", "join")
    full: Any = OSError("no space")
    credentials._defer_to_thread = lambda *_: fail(full)
    door.hello("worker")
    with pytest.raises(AmpacityError, match="Authenticate failed"):
        door.show(token)
    door.pair.pump()
    assert door.admitted == []
    assert not door.pair.there.transport.connected
    assert clock.getDelayedCalls() == []
    logged_errors(OSError)
