"""Tokens that are cut, wrong, expired, revoked or for something else."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

from . import peers
from .ground import AMPACITY, Ground, environment, wait_until
from .peers import Peer, Refusal


def answer_to(ground: Ground, name: str, secret: bytes, role: str = "client") -> tuple[str, str]:
    """What the door says, code and text; the connection is closed then."""
    with Peer(peers.tls(ground)) as stranger:
        stranger.ask("Hello", versions=[1, 2], role=role, software="x")
        refused = stranger.refusal("Authenticate", token=name, secret=secret)
        assert stranger.is_dropped()
        return refused.code, refused.text


def test_wrong_expired_and_revoked_ones_are_answered_alike(ground: Ground) -> None:
    good, of_worker = peers.token(ground, "client"), peers.token(ground, "worker")
    expired, revoked = peers.token(ground, "client", lifetime=0.2), peers.token(ground, "client")
    peers.revoke(ground, revoked)
    time.sleep(0.3)
    name, secret = peers.secret_of(good)
    cases = {
        "a wrong secret": (name, secret[:-1] + bytes([secret[-1] ^ 1])),
        "a short secret": (name, secret[:16]),
        "no secret": (name, b""),
        "another's secret": (name, peers.secret_of(of_worker)[1]),
        "unknown": ("A" * len(name), secret),
        "expired": peers.secret_of(expired),
        "revoked": peers.secret_of(revoked),
        "of another role": peers.secret_of(of_worker),
    }
    answers: set[tuple[str, str]] = set()

    def attack() -> None:
        answers.update(answer_to(ground, *case) for case in cases.values())

    ground.endures(attack, 0.3, names="refused")
    assert len(answers) == 1
    assert {code for code, _ in answers} == {"TOKEN_REFUSED"}
    peers.client(ground, good).close()


@pytest.mark.parametrize("role", ["client", "viewer", "operator", "worker"])
def test_a_token_is_of_its_role(ground: Ground, role: str) -> None:
    """Whoever says hello in another role than his token's is refused as with a wrong one."""
    name, secret = peers.secret_of(peers.token(ground, role))
    for other in {"client", "viewer", "operator", "worker"} - {role}:
        assert answer_to(ground, name, secret, other)[0] == "TOKEN_REFUSED"


def test_one_try_a_connection(ground: Ground) -> None:
    with Peer(peers.tls(ground)) as stranger:
        stranger.ask("Hello", versions=[2], role="client", software="x")
        first = stranger.say("Authenticate", token="x" * 11, secret=b"x" * 32)
        name, secret = peers.secret_of(ground.handed_out("client"))
        second = stranger.say("Authenticate", token=name, secret=secret)
        with pytest.raises(Refusal, match="TOKEN_REFUSED"):
            stranger.answer(first)
        with pytest.raises((Refusal, peers.Gone)):
            stranger.answer(second)


def cut(token: str) -> str:
    """As a line that was not copied whole: it has the form of one."""
    head, _, checksum = token.rpartition(".")
    return f"{head[:-2]}{'AA' if head[-2:] != 'AA' else 'BB'}.{checksum}"


CUTS: dict[str, Callable[[str], str]] = {
    "other letters": cut,
    "shorter": lambda token: token[:-5],
    "without an end": lambda token: token.rpartition(".")[0],
    "one letter only": lambda token: token[:30] + chr(ord(token[30]) ^ 1) + token[31:],
}


@pytest.mark.parametrize("damage", CUTS.values(), ids=CUTS)
def test_a_cut_token_is_named_where_it_is_used(
    ground: Ground, damage: Callable[[str], str]
) -> None:
    """By its checksum, before anything is sent; and it is not repeated."""
    damaged = damage(ground.handed_out("client"))
    before = ground.coordinator.logged()
    done = subprocess.run(
        [AMPACITY, "jobs"],
        env=environment(
            ground.folder / "x",
            **ground.more,
            AMPACITY_COORDINATOR=ground.facts["address"],
            AMPACITY_TOKEN=damaged,
        ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 4
    assert "checksum" in done.stderr or "not a whole token" in done.stderr
    secret = damaged.split(".")[4] if damaged.count(".") > 3 else damaged
    assert secret not in done.stdout + done.stderr
    said = ground.coordinator.log(before).splitlines()
    said = [line for line in said if " expired: " not in line]  # of a test before this one
    assert [line for line in said if " submitted " not in line] == []


def test_revoking_ends_the_connection_at_once(ground: Ground) -> None:
    for role in ("client", "viewer", "operator"):
        token = peers.token(ground, role)
        with peers.client(ground, token) as peer:
            peers.revoke(ground, token)
            began = time.monotonic()
            assert peer.is_dropped()
            assert time.monotonic() - began < 2


def test_revoking_a_join_token_ends_what_came_with_it(ground: Ground) -> None:
    token = peers.token(ground, "worker")
    with peers.greet(peers.tls(ground), token) as worker:
        worker.ask("Join", info=peers.information(name="to go", slots=0), held=[])
        peers.revoke(ground, token)
        assert worker.is_dropped()
    with peers.local(ground) as user:

        def gone() -> bool:
            workers = user.data("Query", "answer", question="workers", details={})
            return "to go" not in [one["name"] for one in workers]

        wait_until(gone, 10)


def test_what_expires_ends(ground: Ground) -> None:
    with peers.client(ground, peers.token(ground, "client", lifetime=1.0)) as peer:
        assert peer.is_dropped(15.0)
