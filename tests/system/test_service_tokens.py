"""Tokens at the doors: renewal, the release before, who may make them, and what the log says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import pytest_twisted
from ampacity.coordinator.credentials import Credentials
from ampacity.coordinator.service import CoordinatorService
from ampacity.coordinator.settings import Settings
from ampacity.protocol import commands
from ampacity.protocol.access import AccessFolder, StateFolder
from ampacity.protocol.addresses import Address, parse_address
from ampacity.protocol.dialing import Greeted, dial
from ampacity.protocol.errors import (
    Malformed,
    NotAllowed,
    NotListening,
    TokenRefused,
    TooLarge,
    TooMany,
)
from twisted.internet import reactor as _reactor
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.protocols import amp

reactor: Any = _reactor
HERE = "tcp:127.0.0.1:0"


class Values:
    """No values at all."""

    def drop_uploads(self, owner: Any) -> None:
        pass


class Core:
    """Of a driver, what the doors look at."""

    store_id = b"store of 16 byte"
    term = 1
    blobs = Values()
    listening: list[str] = []  # noqa: RUF012 -- replaced, never changed


@attrs.define(eq=False)
class Place:
    """A coordinator's service in this process, with a time of its own."""

    folder: Path
    now: list[float]
    credentials: Credentials = attrs.field(init=False)
    service: CoordinatorService = attrs.field(init=False)
    dialed: list[Greeted] = attrs.field(factory=list)

    async def start(self, *listen: str, **settings: Any) -> None:
        self.credentials = Credentials(StateFolder(self.folder / "state"), lambda: self.now[0])
        core: Any = Core()
        access = AccessFolder(self.folder / "access")
        self.service = CoordinatorService(
            reactor, core, access, self.credentials, listen, None, Settings(**settings)
        )
        self.service.startService()
        await self.service.ready

    @property
    def address(self) -> Address:
        return attrs.evolve(parse_address(self.service.join_line("client")), token=None)

    async def dial(self, side: Any = "client", token: Any = None, here: bool = False) -> Greeted:
        address = Address(path=self.folder / "access" / "coordinator.socket")
        where = address if here else self.address
        greeted = await dial(reactor, where, side, token, amp.CommandLocator(), 20.0)
        self.dialed.append(greeted)
        return greeted

    async def stop(self) -> None:
        for greeted in self.dialed:
            greeted.connection.abort()
        await self.service.stopService()


@pytest_twisted.async_yield_fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path, [1e9])
    yield place
    await place.stop()


def shown(greeted: Greeted) -> Any:
    transport: Any = greeted.connection.transport
    return transport.getPeerCertificate().to_cryptography()


@pytest_twisted.ensureDeferred
async def test_a_renewed_certificate_keeps_every_token_good(place: Place) -> None:
    await place.start(HERE)
    token = await place.credentials.issue("client")
    first = await place.dial(token=token)
    place.now[0] = shown(first).not_valid_after_utc.timestamp() - 20 * 86400
    await place.service._renew_certificate()
    renewed = shown(await place.dial(token=token))
    assert renewed != shown(first)
    assert renewed.not_valid_after_utc.timestamp() > place.now[0] + 365 * 86400
    assert first.connection.lost is None
    await place.service.stopService()
    await place.start(HERE)
    third = await place.dial(token=token)
    assert shown(third) == renewed


@pytest_twisted.ensureDeferred
async def test_the_tokens_of_the_release_before_are_good(place: Place) -> None:
    await place.start(HERE)
    token = await place.credentials.issue("client")
    worker = await place.credentials.issue("worker")
    await place.service.stopService()
    file = place.folder / "state" / "credentials.json"
    kept = json.loads(file.read_text())
    for one in kept["credentials"]:
        del one["name"]
    file.write_text(json.dumps({**kept, "version": 1}))
    await place.start(HERE)
    assert (await place.dial(token=token)).client == token.id
    assert (await place.dial("worker", worker)).client == worker.id


@pytest.mark.parametrize(
    ("role", "side", "line"),
    [
        ("worker", "client", "ampacity token create --role client"),
        ("client", "worker", "ampacity token create --role worker"),
        ("operator", "worker", "ampacity token create --role worker"),
        ("viewer", "worker", "ampacity token create --role worker"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_token_of_the_other_side_is_refused_before_a_connection_is_made(
    place: Place, role: Any, side: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.start(HERE)
    token = await place.credentials.issue(role)
    monkeypatch.setattr("ampacity.protocol.dialing._endpoint", None)
    with pytest.raises(TokenRefused, match=line):
        await place.dial(side, token)


@pytest_twisted.ensureDeferred
async def test_a_coordinator_that_listens_nowhere_has_no_tokens(place: Place) -> None:
    await place.start()
    operator = await place.dial(here=True)
    for command, arguments in ASKS:
        with pytest.raises(NotListening, match="--listen tcp:8786"):
            await operator.connection.call(command, **arguments)
    assert not (place.folder / "state").exists()


ASKS: list[tuple[Any, dict[str, Any]]] = [
    (commands.CreateToken, {"role": "worker", "lifetime": None, "name": None}),
    (commands.ListTokens, {}),
    (commands.RevokeToken, {"token": "a", "joined": False}),
]


@pytest.mark.parametrize("role", ["client", "viewer", "worker"])
@pytest_twisted.ensureDeferred
async def test_tokens_are_for_operators(place: Place, role: Any) -> None:
    await place.start(HERE)
    token = await place.credentials.issue(role)
    greeted = await place.dial("worker" if role == "worker" else "client", token)
    before = place.credentials.list()
    for command, arguments in ASKS:
        with pytest.raises(NotAllowed):
            await greeted.connection.call(command, **arguments)
    assert place.credentials.list() == before


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"role": "king"}, Malformed),
        ({"lifetime": 0.0}, Malformed),
        ({"lifetime": -1.0}, Malformed),
        ({"lifetime": float("nan")}, Malformed),
        ({"lifetime": float("inf")}, Malformed),
        ({"lifetime": 1e300}, Malformed),
        ({"name": "n" * 201}, TooLarge),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_no_token_is_made_for(place: Place, wrong: Any, error: Any) -> None:
    await place.start(HERE)
    operator = await place.dial(here=True)
    before = place.credentials.list()
    given = {"role": "client", "lifetime": 60.0, "name": "good", **wrong}
    with pytest.raises(error):
        await operator.connection.call(commands.CreateToken, **given)
    assert place.credentials.list() == before


@pytest_twisted.ensureDeferred
async def test_one_credential_has_so_many_connections(
    place: Place, logged: Callable[[], list[str]]
) -> None:
    await place.start(HERE, client_connections=2)
    token, other = [await place.credentials.issue("client") for _ in range(2)]
    for _ in range(2):
        await place.dial(token=token)
    with pytest.raises(TooMany, match="2 connections"):
        await place.dial(token=token)
    await place.dial(token=other)
    assert any(f"{token.id} has 2 connections" in line for line in logged())


@pytest.fixture
def logged() -> Any:
    events: list[Any] = []
    observer = cast(ILogObserver, events.append)  # any callable is one
    globalLogPublisher.addObserver(observer)
    yield lambda: [formatEvent(event) for event in events]
    globalLogPublisher.removeObserver(observer)


@pytest_twisted.ensureDeferred
async def test_the_log_names_credentials_and_no_secret(
    place: Place, logged: Callable[[], list[str]]
) -> None:
    await place.start(HERE)
    operator = await place.dial(here=True)
    made = await operator.connection.call(
        commands.CreateToken, role="worker", lifetime=60.0, name="the\nroom\x1b[31m"
    )
    join = parse_address(made["line"]).token
    assert join is not None
    worker = await place.dial("worker", join)
    own = worker.credential
    assert own is not None
    await operator.connection.call(commands.RevokeToken, token=join.id, joined=False)
    with pytest.raises(TokenRefused):
        await place.dial("worker", join)
    lines = logged()
    for told in (
        f"local created the token {join.id} for the role worker",
        f"the token {join.id} was exchanged for {own.id}",
        f"{own.id} came in as worker",
        f"local revoked {join.id}",
        f"refused the token '{join.id}'",
    ):
        assert any(told in line for line in lines), told
    for token in (join, own):
        assert not any(token.reveal().split(".")[4] in line for line in lines)
