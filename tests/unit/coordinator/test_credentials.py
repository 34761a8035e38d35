"""Tokens are shown once, kept as hashes, exchanged by workers, and expire."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from ampacity.coordinator.credentials import JOIN_LIFETIME, Credentials
from ampacity.protocol.access import StateFolder
from ampacity.protocol.errors import InsecureFolder, TokenRefused
from ampacity.protocol.tokens import Token, parse_token
from twisted.internet.defer import Deferred, maybeDeferred

KING = '{"id": "a", "role": "king", "use": "own", "hash": "", "created": 0}'


@attrs.define
class Time:
    now: float = 1e9

    def __call__(self) -> float:
        return self.now


@attrs.define
class Threads:
    """Runs what goes to threads at once, or when the test says."""

    held: list[Callable[[], object]] | None = None

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        if self.held is None:
            return maybeDeferred(function, *arguments)
        done: Deferred[Any] = Deferred()
        self.held.append(lambda: maybeDeferred(function, *arguments).chainDeferred(done))
        return done


def result(work: Any) -> Any:
    fired: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(fired.append)
    assert fired, "no result yet"
    if hasattr(fired[0], "raiseException"):
        fired[0].raiseException()
    return fired[0]


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


@pytest.fixture
def time() -> Time:
    return Time()


def started(state: StateFolder, time: Time, threads: Threads | None = None) -> Credentials:
    credentials = Credentials(state, time)
    result(credentials.start(Threads()))
    credentials._defer_to_thread = threads or Threads()
    return credentials


def test_a_token_is_good_for_its_role_and_key(state: StateFolder, time: Time) -> None:
    credentials = started(state, time)
    token = result(credentials.issue("client"))
    assert token.key_hash == credentials.key.hash
    found = credentials.verify(token.id, token.secret)
    assert (found.id, found.role, found.use) == (token.id, "client", "own")


def test_a_restart_knows_them_still(state: StateFolder, time: Time) -> None:
    token = result(started(state, time).issue("worker", "join", JOIN_LIFETIME))
    again = started(state, time)
    assert again.verify(token.id, token.secret).use == "join"
    assert again.key.hash == token.key_hash


def test_refusals_are_all_alike(state: StateFolder, time: Time) -> None:
    credentials = started(state, time)
    token = result(credentials.issue("client", lifetime=10))
    words = set()
    for name, secret in ((token.id, b"x" * 32), ("unknown-id", token.secret), ("", b"")):
        with pytest.raises(TokenRefused) as caught:
            credentials.verify(name, secret)
        words.add(str(caught.value))
    time.now += 10
    with pytest.raises(TokenRefused) as caught:
        credentials.verify(token.id, token.secret)
    assert words == {str(caught.value)}


def test_a_join_token_gives_each_worker_a_credential_of_its_own(
    state: StateFolder, time: Time
) -> None:
    credentials = started(state, time)
    join = result(credentials.issue("worker", "join", JOIN_LIFETIME))
    found = credentials.verify(join.id, join.secret)
    first, second = result(credentials.exchange(found)), result(credentials.exchange(found))
    assert len({join.id, first.id, second.id}) == 3
    time.now += 10 * JOIN_LIFETIME
    again = started(state, time)
    assert again.verify(first.id, first.secret).origin == join.id
    with pytest.raises(TokenRefused):
        again.verify(join.id, join.secret)


def test_no_secret_is_on_disk(state: StateFolder, time: Time) -> None:
    token: Token = result(started(state, time).issue("client"))
    text = state.credentials.read_text()
    secret = token.reveal().split(".")[4]
    assert token.id in text
    assert secret not in text
    assert token.secret.hex() not in text
    assert secret not in repr(token)
    assert state.credentials.stat().st_mode & 0o777 == 0o600


def test_expired_ones_are_forgotten(state: StateFolder, time: Time) -> None:
    credentials = started(state, time)
    for _ in range(5):
        result(credentials.issue("worker", "join", 10))
        time.now += 20
    assert len(json.loads(state.credentials.read_text())["credentials"]) == 1


def test_what_comes_during_a_writing_shares_the_next(state: StateFolder, time: Time) -> None:
    threads = Threads(held=[])
    credentials = started(state, time, threads)
    tokens: list[Token] = []
    for _ in range(100):
        Deferred.fromCoroutine(credentials.issue("worker")).addCallback(tokens.append)
    assert threads.held is not None
    assert (len(threads.held), len(tokens)) == (1, 0)
    threads.held.pop()()
    assert (len(threads.held), len(tokens)) == (1, 1)
    threads.held.pop()()
    assert (len(threads.held), len(tokens)) == (0, 100)
    again = started(state, time)
    for token in tokens:
        again.verify(token.id, token.secret)


def test_what_cannot_be_written_is_not_issued(
    state: StateFolder, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = started(state, time)

    def full(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("ampacity.coordinator.credentials.write_secret", full)
    with pytest.raises(OSError, match="no space"):
        result(credentials.issue("client"))
    monkeypatch.undo()
    token = result(credentials.issue("client"))
    assert credentials.verify(token.id, token.secret)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", '{"version": 2}', '{"version": 1, "credentials": [{}]}', "\x00", "nul"),
        f'{{"version": 1, "credentials": [{KING}]}}',
    ],
)
def test_a_damaged_file_stops_the_start(state: StateFolder, time: Time, text: str) -> None:
    started(state, time)
    state.credentials.touch(mode=0o600)
    state.credentials.write_text(text)
    with pytest.raises(ValueError, match="is damaged"):
        started(state, time)


def test_a_file_that_others_can_read_stops_the_start(state: StateFolder, time: Time) -> None:
    result(started(state, time).issue("client"))
    state.credentials.chmod(0o644)
    with pytest.raises(InsecureFolder):
        started(state, time)


def test_ids_are_never_like_options(state: StateFolder, time: Time) -> None:
    from ampacity.coordinator.credentials import _new_id

    assert not any(_new_id().startswith("-") for _ in range(2000))


def test_a_token_survives_its_text(state: StateFolder, time: Time) -> None:
    token = result(started(state, time).issue("worker"))
    assert parse_token(token.reveal()) == token
