"""Tokens at the real port of a real coordinator: taken back, run out, exchanged, refused."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.protocol import commands
from ampacity.protocol.addresses import parse_address
from ampacity.protocol.dialing import Greeted, dial
from ampacity.protocol.errors import Disconnected, NoSuchToken, TokenRefused
from ampacity.protocol.tls import ClientTLS
from ampacity.protocol.tokens import Token, parse_token
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.protocols import amp

reactor: Any = _reactor

AT_ONCE = 2.0
"""Seconds, on a machine that has other things to do."""


class Office:
    """A coordinator as its operator, and others, reach it."""

    def __init__(self, cluster: Any) -> None:
        self.lines = cluster.lines
        self.dialed: list[Greeted] = []

    async def call(self, command: Any, **arguments: Any) -> Any:
        operator = await self.dial(self.lines["unix"], "client")
        answer = await operator.connection.call(command, **arguments)
        operator.connection.abort()
        return answer

    async def dial(self, line: str, side: Any) -> Greeted:
        address = parse_address(line)
        greeted = await dial(reactor, address, side, address.token, amp.CommandLocator(), 20.0)
        self.dialed.append(greeted)
        return greeted

    async def create(self, role: str, lifetime: float | None = None) -> str:
        made = await self.call(commands.CreateToken, role=role, lifetime=lifetime, name="a test's")
        return str(made["line"])

    async def tokens(self) -> list[dict[str, Any]]:
        return list((await self.call(commands.ListTokens))["tokens"])

    async def revoke(self, token: str, joined: bool = False) -> list[str]:
        answer = await self.call(commands.RevokeToken, token=token, joined=joined)
        return list(answer["revoked"])


@pytest_twisted.async_yield_fixture
async def office(cluster: Any) -> AsyncIterator[Office]:
    await cluster.start(lease=60.0)
    office = Office(cluster)
    yield office
    for greeted in office.dialed:
        greeted.connection.abort()


def token_in(line: str) -> Token:
    return parse_token(line.partition("#")[2])


async def lost(greeted: Greeted) -> float:
    """Seconds until a connection is gone."""
    began = time.monotonic()
    gone: Deferred[None] = Deferred()
    greeted.connection.on_lost(lambda _: gone.callback(None))
    await gone.addTimeout(10.0, reactor)
    return time.monotonic() - began


def long_at_first(folder: str) -> int:
    """Runs for minutes where it runs for the first time; which process runs it."""
    path = Path(folder) / "runs"
    first = not path.exists()
    with path.open("a") as file:
        file.write(f"{os.getppid()}\n")
    if first:
        time.sleep(300)
    return os.getppid()


@pytest_twisted.ensureDeferred
async def test_a_revoked_worker_is_out_and_its_job_runs_elsewhere_at_once(
    cluster: Any, office: Office, tmp_path: Path, until: Callable[..., Any]
) -> None:
    line = await office.create("worker")
    first = await cluster.worker("one", line=line)
    job = cluster.pool().submit(long_at_first, str(tmp_path))
    await until((tmp_path / "runs").exists)
    second = await cluster.worker("two", line=line)
    own = {one["name"]: one for one in await office.tokens() if one["origin"]}
    assert set(own) == {"one", "two"}
    assert {one["origin"] for one in own.values()} == {token_in(line).id}
    assert [one["connections"] for one in own.values()] == [1, 1]
    began = time.monotonic()
    assert await office.revoke(own["one"]["id"]) == [own["one"]["id"]]
    assert await job == second.pid
    took = time.monotonic() - began
    print(f"elsewhere after {took:.2f} s")
    assert took < 10.0  # a lease is a minute
    assert (await job.info()).losses == 1
    # the machine is shut out, though the token that it had joined with is still good
    assert await first.says() == {"pid": first.pid, "error": "TokenRefused"}
    assert [one["name"] for one in await office.tokens() if one["origin"]] == ["two"]
    await cluster.worker("three", line=line)
    assert await office.revoke(token_in(line).id) == [token_in(line).id]
    with pytest.raises(TokenRefused):
        await office.dial(line, "worker")
    workers = {one["name"]: one["connections"] for one in await office.tokens() if one["origin"]}
    assert workers == {"two": 1, "three": 1}


@pytest_twisted.ensureDeferred
async def test_a_join_token_is_revoked_with_all_who_joined(cluster: Any, office: Office) -> None:
    line = await office.create("worker")
    workers = [await cluster.worker(name, line=line) for name in ("one", "two")]
    revoked = await office.revoke(token_in(line).id[:8], joined=True)
    assert len(revoked) == 3
    for worker in workers:
        assert (await worker.says())["error"] == "TokenRefused"
    with pytest.raises(NoSuchToken):
        await office.revoke(token_in(line).id)


@pytest_twisted.ensureDeferred
async def test_a_revoked_client_is_out_at_once(office: Office) -> None:
    line = await office.create("client")
    clients = [await office.dial(line, "client") for _ in range(3)]
    other = await office.dial(office.lines["client"], "client")
    await clients[0].connection.call(commands.OpenSession, session=b"s" * 16)
    ends = [Deferred.fromCoroutine(lost(client)) for client in clients]
    await office.revoke(token_in(line).id)
    for end in ends:
        assert await end < AT_ONCE
    with pytest.raises(Disconnected):
        await clients[0].connection.call(commands.Ping)
    with pytest.raises(TokenRefused):
        await office.dial(line, "client")
    await other.connection.call(commands.Ping)


@pytest_twisted.ensureDeferred
async def test_who_revokes_his_own_token_is_answered(office: Office) -> None:
    line = await office.create("operator")
    operator = await office.dial(line, "client")
    token = token_in(line).id
    answer = await operator.connection.call(commands.RevokeToken, token=token, joined=False)
    assert answer == {"revoked": [token]}
    assert await lost(operator) < AT_ONCE
    with pytest.raises(TokenRefused):
        await office.dial(line, "client")


@pytest_twisted.ensureDeferred
async def test_a_token_that_runs_out_ends_its_connections(office: Office) -> None:
    short, long = await office.create("viewer", 1.5), await office.create("viewer", 600.0)
    viewer, other = await office.dial(short, "client"), await office.dial(long, "client")
    assert await lost(viewer) < 1.5 + 2.0 + AT_ONCE
    with pytest.raises(TokenRefused):
        await office.dial(short, "client")
    await other.connection.call(commands.Ping)
    assert token_in(short).id not in {one["id"] for one in await office.tokens()}


# -- refusals -------------------------------------------------------------------------------------


class Asking(Protocol):
    """Says hello and shows a token; keeps every byte that comes, and when."""

    def __init__(self, token: Token) -> None:
        self.heard = b""
        self.gone: Deferred[None] = Deferred()
        self.took = 0.0
        self._token = token
        self._asked = 0.0

    def connectionMade(self) -> None:
        role = self._token.role
        self._ask(commands.Hello, b"1", versions=[2], role=role, software="0")

    def _ask(self, command: Any, tag: bytes, **arguments: Any) -> None:
        box = command.makeArguments(arguments, None)
        box[amp.COMMAND], box[amp.ASK] = command.commandName, tag
        self.transport.write(amp.AmpBox(box).serialize())  # type: ignore[union-attr]  # connected

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if not self._asked:
            self._asked = time.perf_counter()
            token = self._token
            self._ask(commands.Authenticate, b"2", token=token.id, secret=token.secret)
        elif not self.took:
            self.took = time.perf_counter() - self._asked

    def connectionLost(self, reason: Any = None) -> None:
        self.gone.callback(None)


@pytest_twisted.ensureDeferred
async def test_refused_tokens_are_answered_alike_byte_by_byte_and_as_fast(office: Office) -> None:
    good = token_in(await office.create("client"))
    expired = token_in(await office.create("client", 0.05))
    await deferLater(reactor, 0.1)
    revoked = token_in(await office.create("client"))
    await office.revoke(revoked.id)
    bad = {
        "wrong": Token("client", good.key_hash, good.id, b"x" * 32),
        "unknown": Token("client", good.key_hash, "unknown-id1", good.secret),
        "expired": expired,
        "revoked": revoked,
    }
    address = parse_address(office.lines["client"])
    heard: dict[str, set[bytes]] = {name: set() for name in bad}
    took: dict[str, list[float]] = {name: [] for name in bad}
    for _ in range(15):
        for name, token in bad.items():
            plain = HostnameEndpoint(reactor, address.host.encode(), address.port)
            asking = Asking(token)
            await connectProtocol(wrapClientTLS(ClientTLS(), plain), asking)
            await asking.gone.addTimeout(20.0, reactor)
            heard[name].add(asking.heard)
            took[name].append(asking.took)
        line = f"{address.host}:{address.port}#{good.reveal()}"
        (await office.dial(line, "client")).connection.abort()  # and the failures are forgiven
    assert len(set.union(*heard.values())) == 1
    assert b"TOKEN_REFUSED" in heard["wrong"].pop()
    medians = {name: statistics.median(times) for name, times in took.items()}
    print({name: f"{seconds * 1000:.2f} ms" for name, seconds in medians.items()})
    assert max(medians.values()) < 2 * min(medians.values()) + 0.005
