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
from ampacity.protocol.errors import InsecureFolder, NoSuchToken, TokenRefused
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
        *("", "{}", "[]", '{"version": 3}', '{"version": 1, "credentials": [{}]}', "\x00", "nul"),
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


# -- listing, naming, revoking, expiring ----------------------------------------------------------


def refused(credentials: Credentials, token: Token) -> bool:
    try:
        credentials.verify(token.id, token.secret)
    except TokenRefused:
        return True
    return False


def test_the_list_has_all_that_are_good_in_their_order(state: StateFolder, time: Time) -> None:
    credentials = started(state, time)
    first = result(credentials.issue("client", "own", None, "for the tests"))
    time.now += 1
    short = result(credentials.issue("viewer", "own", 10))
    time.now += 1
    join = result(credentials.issue("worker", "join"))
    listed = credentials.list()
    assert [(one.id, one.role, one.name) for one in listed] == [
        (first.id, "client", "for the tests"),
        (short.id, "viewer", None),
        (join.id, "worker", None),
    ]
    time.now += 10
    assert [one.id for one in credentials.list()] == [first.id, join.id]
    again = started(state, time)
    assert [one.id for one in again.list()] == [first.id, join.id]
    assert again.list()[0].name == "for the tests"


def test_a_worker_gives_its_credential_a_name_once(state: StateFolder, time: Time) -> None:
    credentials = started(state, time)
    join = result(credentials.issue("worker", "join"))
    own = result(credentials.exchange(credentials.verify(join.id, join.secret)))
    credentials.name(own.id, "box-1")
    credentials.name(own.id, "box-2")
    credentials.name("nobody's", "box-3")
    assert credentials.find(own.id).name == "box-1"
    result(credentials.issue("client"))  # written with the next change
    assert started(state, time).find(own.id).name == "box-1"


def test_what_is_revoked_is_good_no_more_at_once_and_after_a_restart(
    state: StateFolder, time: Time
) -> None:
    credentials = started(state, time)
    told: list[Any] = []
    credentials.on_revoked(told.append)
    token, other = result(credentials.issue("client")), result(credentials.issue("client"))
    assert result(credentials.revoke(token.id)) == [token.id]
    assert told == [[token.id]]
    assert refused(credentials, token)
    assert not refused(credentials, other)
    assert refused(started(state, time), token)


def test_revoked_is_told_before_it_is_written(state: StateFolder, time: Time) -> None:
    threads = Threads()
    credentials = started(state, time, threads)
    token = result(credentials.issue("client"))
    told: list[Any] = []
    credentials.on_revoked(told.append)
    threads.held = []
    done: list[Any] = []
    Deferred.fromCoroutine(credentials.revoke(token.id)).addCallback(done.append)
    assert told == [[token.id]]
    assert refused(credentials, token)
    assert done == []
    threads.held.pop()()
    assert done == [[token.id]]


def test_a_join_token_goes_alone_or_with_those_who_joined(state: StateFolder, time: Time) -> None:
    credentials = started(state, time)
    join = result(credentials.issue("worker", "join"))
    found = credentials.verify(join.id, join.secret)
    workers = [result(credentials.exchange(found)) for _ in range(3)]
    result(credentials.revoke(workers[0].id))
    assert [refused(credentials, one) for one in workers] == [True, False, False]
    result(credentials.revoke(join.id))
    assert refused(credentials, join)
    assert [refused(credentials, one) for one in workers] == [True, False, False]
    join = result(credentials.issue("worker", "join"))
    found = credentials.verify(join.id, join.secret)
    workers = [result(credentials.exchange(found)) for _ in range(2)]
    assert sorted(result(credentials.revoke(join.id, joined=True))) == sorted(
        [join.id, *(one.id for one in workers)]
    )
    assert all(refused(credentials, one) for one in [join, *workers])


@pytest.mark.parametrize("joined", [False, True])
def test_nobody_joins_with_a_token_that_is_revoked_meanwhile(
    state: StateFolder, time: Time, joined: bool
) -> None:
    threads = Threads()
    credentials = started(state, time, threads)
    join = result(credentials.issue("worker", "join"))
    found = credentials.verify(join.id, join.secret)
    threads.held = []
    ends: list[Any] = []
    Deferred.fromCoroutine(credentials.exchange(found)).addBoth(ends.append)
    Deferred.fromCoroutine(credentials.revoke(join.id, joined))
    while threads.held:
        threads.held.pop(0)()
    assert ends[0].check(TokenRefused)
    assert credentials.list() == []


def test_the_beginning_of_an_id_is_enough(state: StateFolder, time: Time) -> None:
    credentials = started(state, time)
    tokens = [result(credentials.issue("client")) for _ in range(100)]
    for one in tokens[:10]:
        assert credentials.find(one.id).id == credentials.find(one.id[:8]).id == one.id
    for wrong in ("", "no such token", tokens[0].id + "x"):
        with pytest.raises(NoSuchToken, match="there is no token"):
            credentials.find(wrong)
    letters = [one.id[0] for one in tokens]
    common = next(letter for letter in letters if letters.count(letter) > 1)
    with pytest.raises(NoSuchToken, match="tokens begin with"):
        credentials.find(common)


def test_a_revoking_that_cannot_be_written_is_told_and_stands(
    state: StateFolder, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = started(state, time)
    token = result(credentials.issue("client"))

    def full(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("ampacity.coordinator.credentials.write_secret", full)
    with pytest.raises(OSError, match="no space"):
        result(credentials.revoke(token.id))
    assert refused(credentials, token)
    monkeypatch.undo()
    result(credentials.issue("client"))
    assert refused(started(state, time), token)


def test_what_expires_is_told_once(state: StateFolder, time: Time) -> None:
    credentials = started(state, time)
    told: list[Any] = []
    credentials.on_revoked(told.append)
    token = result(credentials.issue("operator", "own", 10))
    credentials.expire()
    time.now += 10
    credentials.expire()
    credentials.expire()
    assert told == [[token.id]]
    assert json.loads(state.credentials.read_text())["credentials"] == []


def test_the_file_of_the_release_before_is_read(state: StateFolder, time: Time) -> None:
    credentials = started(state, time)
    token = result(credentials.issue("client"))
    kept = json.loads(state.credentials.read_text())
    kept["version"] = 1
    for one in kept["credentials"]:
        assert one.pop("name") is None
    state.credentials.write_text(json.dumps(kept))
    assert started(state, time).verify(token.id, token.secret).id == token.id


def test_a_renewed_certificate_keeps_the_tokens_good(state: StateFolder, time: Time) -> None:
    credentials = started(state, time)
    token = result(credentials.issue("client"))
    assert not result(credentials.renew_certificate())
    before = credentials.key.certificate
    time.now = before.not_valid_after_utc.timestamp() - 29 * 86400
    assert result(credentials.renew_certificate())
    assert credentials.key.certificate != before
    assert credentials.key.hash == token.key_hash
    again = started(state, time)
    assert again.key.certificate == credentials.key.certificate
    assert again.verify(token.id, token.secret)
