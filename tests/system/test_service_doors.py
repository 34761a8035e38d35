"""The coordinator's doors at real sockets: who comes in, who does not, and what is left after."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import psutil
import pytest
import pytest_twisted
from ampacity.coordinator.credentials import Credentials
from ampacity.coordinator.service import CoordinatorService
from ampacity.protocol import commands, dialing
from ampacity.protocol.access import AccessFolder, StateFolder
from ampacity.protocol.addresses import Address, parse_address
from ampacity.protocol.dialing import Greeted, dial
from ampacity.protocol.errors import (
    AlreadyRunning,
    CannotStart,
    Disconnected,
    InsecureFolder,
    NoCoordinator,
    TokenDamaged,
    TokenRefused,
    VersionMismatch,
    WrongKey,
)
from ampacity.protocol.tls import KeyPair, ServerTLS
from ampacity.protocol.tokens import Token
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.protocols import amp
from twisted.protocols.tls import TLSMemoryBIOFactory

HERE = "tcp:127.0.0.1:0"
SESSION = b"s" * 16


class Bound:
    """A session's coordinator that knows one question."""

    def query(self, question: str, details: Any) -> Deferred[Any]:
        many = question.isdecimal()
        return succeed({question: [details] * int(question) if many else details})


class Core:
    """As little of a driver as the doors need."""

    store_id = b"store of 16 byte"
    term = 1
    blobs: Any = SimpleNamespace(drop_uploads=lambda sender: None)
    uploads: Any = None
    values: Any = None

    def __init__(self) -> None:
        self.listening: list[str] = []
        self.events: list[tuple[Any, ...]] = []

    def open_session(
        self, client: str, session: bytes, port: Any, role: str = "client"
    ) -> tuple[Any, int]:
        self.events.append(("opened", client))
        return Bound(), 0

    def leave_session(self, session: bytes, port: Any, goodbye: bool) -> None:
        self.events.append(("left", goodbye))

    def no_room(self) -> str:
        return ""

    def join(self, info: Any, held: Any, port: Any, local: bool = False) -> Any:
        raise NotImplementedError("no worker joins here")

    def leave(self, worker: Any, port: Any, goodbye: bool) -> None:
        raise NotImplementedError("no worker joins here")


@attrs.define(eq=False)
class Cluster:
    """A coordinator's service in this process."""

    reactor: Any
    service: CoordinatorService
    core: Core
    access: AccessFolder
    state: StateFolder
    dialed: list[Greeted] = attrs.field(factory=list)

    @property
    def line(self) -> Address:
        return parse_address(self.service.join_line("client"))

    @property
    def worker_line(self) -> Address:
        return parse_address(self.service.join_line("worker"))

    @property
    def socket(self) -> Address:
        return Address(path=self.access.socket)

    async def dial(self, address: Address, role: Any = "client", **more: Any) -> Greeted:
        given = {"token": None, "locator": amp.CommandLocator(), **more}
        greeted = await dial(self.reactor, address, role, **given)
        self.dialed.append(greeted)
        return greeted


async def lost(connection: Any) -> None:
    """When a connection of ours is gone."""
    gone: Deferred[None] = Deferred()
    connection.on_lost(lambda _: gone.callback(None))
    await gone


async def query(greeted: Greeted) -> Any:
    await greeted.connection.call(commands.OpenSession, session=SESSION)
    return await greeted.connection.call(commands.Query, question="status", details={"a": 1})


Make = Callable[..., Cluster]


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


@pytest_twisted.async_yield_fixture
async def make(reactor: Any, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Cluster] = []

    def _make(*listen: str, name: str = "one", **more: Any) -> Cluster:
        access = more.pop("access", None) or AccessFolder(tmp_path / name / "access")
        state = StateFolder(tmp_path / name / "state")
        core = Core()
        credentials = Credentials(state, more.pop("now", lambda: 1e9))
        service = CoordinatorService(reactor, core, access, credentials, listen, **more)
        made.append(Cluster(reactor, service, core, access, state))
        return made[-1]

    yield _make
    for cluster in made:
        for greeted in cluster.dialed:
            if greeted.connection.lost is None:
                greeted.connection.abort()
                await lost(greeted.connection)
        await cluster.service.stopService()


async def started(cluster: Cluster) -> Cluster:
    cluster.service.startService()
    await cluster.service.ready
    return cluster


# -- coming in ------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_over_the_unix_socket_without_a_token(make: Make) -> None:
    cluster = await started(make())
    greeted = await cluster.dial(cluster.socket)
    assert (greeted.client, greeted.store, greeted.term) == ("local", b"store of 16 byte", 1)
    assert await query(greeted) == {"answer": {"status": {"a": 1}}}
    assert cluster.core.events == [("opened", "local")]


@pytest_twisted.ensureDeferred
async def test_over_tls_with_a_token(make: Make) -> None:
    cluster = await started(make(HERE))
    greeted = await cluster.dial(cluster.line)
    assert cluster.line.token is not None
    assert greeted.client == cluster.line.token.id
    assert greeted.credential is None
    assert await query(greeted) == {"answer": {"status": {"a": 1}}}


@pytest_twisted.ensureDeferred
async def test_a_worker_comes_back_with_its_own_credential(make: Make) -> None:
    cluster = await started(make(HERE))
    first = await cluster.dial(cluster.worker_line, "worker")
    own = first.credential
    assert own is not None
    assert own.id == first.client
    again = await cluster.dial(attrs.evolve(cluster.worker_line, token=None), "worker", token=own)
    assert (again.client, again.credential) == (own.id, None)


@pytest_twisted.ensureDeferred
async def test_many_workers_come_at_once(make: Make) -> None:
    cluster = await started(make(HERE))
    line = cluster.worker_line
    calls = [Deferred.fromCoroutine(cluster.dial(line, "worker", timeout=60)) for _ in range(60)]
    greeted = await gatherResults(calls)
    assert len({one.client for one in greeted}) == 60


@pytest_twisted.ensureDeferred
async def test_a_large_frame_goes_both_ways(make: Make) -> None:
    cluster = await started(make(HERE))
    for address in (cluster.socket, cluster.line):
        greeted = await cluster.dial(address)
        await greeted.connection.call(commands.OpenSession, session=SESSION)
        details = {"data": os.urandom(60 * 1024)}  # once a question, as often as it says back
        asked = [
            greeted.connection.call(commands.Query, question=str(times), details=details)
            for times in (1, 50, 1, 50)
        ]
        for answer, times in zip(asked, (1, 50, 1, 50), strict=True):
            assert (await answer)["answer"] == {str(times): [details] * times}


@pytest_twisted.ensureDeferred
async def test_over_ipv6(make: Make) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    cluster = await started(make("tcp:[::1]:0"))
    assert cluster.line.host == "::1"
    await cluster.dial(cluster.line)


# -- staying out ----------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_wrong_key_is_told_nothing(make: Make, reactor: Any) -> None:
    heard: list[bytes] = []

    class Liar(Protocol):
        def dataReceived(self, data: bytes) -> None:
            heard.append(data)

    cluster = await started(make(HERE))
    tls = ServerTLS(KeyPair.make())
    factory = TLSMemoryBIOFactory(tls, False, Factory.forProtocol(Liar), reactor)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    try:
        lying = attrs.evolve(cluster.line, port=port.getHost().port)
        with pytest.raises(WrongKey, match="nothing was sent"):
            await cluster.dial(lying)
        await deferLater(reactor, 0.05, lambda: None)
    finally:
        await port.stopListening()
    assert heard == []


@pytest_twisted.ensureDeferred
async def test_a_damaged_token_is_told_by_its_checksum(make: Make) -> None:
    cluster = await started(make(HERE))
    with pytest.raises(TokenDamaged, match="checksum"):
        parse_address(cluster.service.join_line("client")[:-1] + "!".replace("!", "A"))
    with pytest.raises(TokenDamaged, match="not a whole token"):
        parse_address(cluster.service.join_line("client")[:-9])


@pytest_twisted.ensureDeferred
async def test_refused_tokens_are_all_answered_alike(make: Make) -> None:
    now = [1e9]
    cluster = await started(make(HERE, now=lambda: now[0]))
    token, other = cluster.line.token, cluster.worker_line.token
    assert token is not None
    assert other is not None
    bare = attrs.evolve(cluster.line, token=None)
    wrong: list[Token] = [
        attrs.evolve(token, secret=b"x" * 32),
        attrs.evolve(token, id="unknown-id"),
        attrs.evolve(other, role="client"),
    ]
    words = set()
    for bad in wrong:
        with pytest.raises(TokenRefused) as caught:
            await cluster.dial(bare, token=bad)
        words.add(str(caught.value))
    now[0] += 25 * 3600
    with pytest.raises(TokenRefused) as caught:
        await cluster.dial(bare, token=token)
    assert words == {str(caught.value)}


@pytest_twisted.ensureDeferred
async def test_without_a_token_nothing_is_dialed(make: Make) -> None:
    cluster = await started(make(HERE))
    with pytest.raises(TokenRefused, match="needs a token"):
        await cluster.dial(attrs.evolve(cluster.line, token=None))


@pytest_twisted.ensureDeferred
async def test_another_version(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = await started(make())
    monkeypatch.setattr(dialing, "PROTOCOL_VERSIONS", (77,))
    with pytest.raises(VersionMismatch, match="install the same ampacity"):
        await cluster.dial(cluster.socket)


@pytest_twisted.ensureDeferred
async def test_a_dead_address_says_what_why_and_what_next(make: Make, tmp_path: Path) -> None:
    cluster = await started(make(HERE))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = attrs.evolve(cluster.line, port=taken.getsockname()[1])
        with pytest.raises(NoCoordinator, match=r"127\.0\.0\.1:\d+: connection refused; see that"):
            await cluster.dial(dead)
    with pytest.raises(NoCoordinator, match="no such file"):
        await cluster.dial(Address(path=cluster.access.path / "none"))
    with pytest.raises(NoCoordinator, match="no such folder; start one with: ampacity up"):
        await cluster.dial(Address(path=tmp_path / "none" / "none"))
    with pytest.raises(NoCoordinator, match="no host of this name"):
        await cluster.dial(attrs.evolve(cluster.line, host="no-such-host.invalid"))


@pytest_twisted.ensureDeferred
async def test_a_socket_that_nobody_serves(make: Make) -> None:
    cluster = make()
    cluster.access.create()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(cluster.access.socket))
    with pytest.raises(NoCoordinator, match="connection refused"):
        await cluster.dial(cluster.socket)
    await started(cluster)
    await cluster.dial(cluster.socket)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("words", [b"", b"220 mail ready\r\n"])
async def test_something_else_at_the_address(make: Make, reactor: Any, words: bytes) -> None:
    class Other(Protocol):
        def connectionMade(self) -> None:
            if words:
                self.transport.write(words)  # type: ignore[union-attr]

    cluster = await started(make(HERE))
    port = reactor.listenTCP(0, Factory.forProtocol(Other), interface="127.0.0.1")
    why = "TLS did not come up" if words else r"no answer within 0\.3 s"
    try:
        with pytest.raises(NoCoordinator, match=why):
            await cluster.dial(attrs.evolve(cluster.line, port=port.getHost().port), timeout=0.3)
    finally:
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_folder_that_others_can_read(make: Make) -> None:
    cluster = await started(make())
    cluster.access.path.chmod(0o755)
    with pytest.raises(InsecureFolder, match="chmod 700"):
        await cluster.dial(cluster.socket)
    other = make()
    other.service.startService()
    with pytest.raises(InsecureFolder, match="chmod 700"):
        await other.service.ready


# -- strangers at the door ------------------------------------------------------------------------


class Stranger(Protocol):
    """Sends what it is told to and hears what comes, until it is cut off."""

    def __init__(self) -> None:
        self.heard = b""
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        self.gone.callback(None)


def to_socket(cluster: Cluster, protocol: Any) -> Deferred[Any]:
    endpoint = UNIXClientEndpoint(cluster.reactor, str(cluster.access.socket))
    connected: Deferred[Any] = connectProtocol(endpoint, protocol)
    return connected


def to_port(cluster: Cluster, protocol: Any) -> Deferred[Any]:
    endpoint = HostnameEndpoint(cluster.reactor, b"127.0.0.1", cluster.line.port)
    connected: Deferred[Any] = connectProtocol(endpoint, protocol)
    return connected


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\0\0",
    b"\0\1a" * 5000,
    b"\xff" * 100,
    amp.AmpBox({b"_answer": b"1"}).serialize(),
    amp.AmpBox({b"_command": b"Query"}).serialize(),
    amp.AmpBox({b"_command": b"Hello", b"_ask": b"1", b"software": b"x" * 9000}).serialize(),
]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_harms_nobody_else(make: Make, garbage: bytes) -> None:
    cluster = await started(make(HERE))
    friend = await cluster.dial(cluster.line)
    for knock in (to_socket, to_port):
        stranger = await knock(cluster, Stranger())
        stranger.transport.write(garbage)
        if knock is to_socket or len(garbage) > 20:  # less than a record of TLS is waited for
            await stranger.gone
        else:
            stranger.transport.loseConnection()
            await stranger.gone
    assert await query(friend) == {"answer": {"status": {"a": 1}}}


@pytest_twisted.ensureDeferred
async def test_whoever_says_nothing_is_cut_off(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ampacity.coordinator.greeting.GREETING_SECONDS", 0.2)
    cluster = await started(make(HERE))
    for knock in (to_socket, to_port):
        stranger = await knock(cluster, Stranger())
        await stranger.gone
        assert stranger.heard == b""


@pytest_twisted.ensureDeferred
async def test_a_stock_amp_peer_can_speak_to_it(make: Make) -> None:
    cluster = await started(make())
    peer = await to_socket(cluster, amp.AMP())
    hello = await peer.callRemote(commands.Hello, versions=[1], role="client", software="stock")
    assert hello["open"] is True
    await peer.callRemote(commands.OpenSession, session=SESSION)
    answer = await peer.callRemote(commands.Query, question="status", details={})
    assert answer == {"answer": {"status": {}}}
    peer.transport.loseConnection()


# -- the doors themselves -------------------------------------------------------------------------


def listening_sockets() -> set[tuple[str, int]]:
    """Every TCP socket that this process listens on."""
    found = psutil.Process().net_connections("tcp")
    return {(c.laddr[0], c.laddr[1]) for c in found if c.status == psutil.CONN_LISTEN}


@pytest_twisted.ensureDeferred
async def test_it_listens_where_it_was_asked_to_and_nowhere_else(make: Make) -> None:
    before = listening_sockets()
    silent = await started(make(name="silent"))
    assert listening_sockets() == before
    assert not silent.state.path.exists()
    cluster = await started(make(HERE, HERE, name="open"))
    new = listening_sockets() - before
    assert {f"tcp:{host}:{port}" for host, port in new} == set(cluster.service.listening[1:])
    assert {host for host, _port in new} == {"127.0.0.1"}
    assert cluster.core.listening == cluster.service.listening
    assert cluster.service.listening[0] == f"unix:{cluster.access.socket}"


@pytest_twisted.ensureDeferred
async def test_nothing_that_it_writes_can_be_read_by_others(make: Make) -> None:
    old = os.umask(0)
    try:
        cluster = await started(make(HERE))
    finally:
        os.umask(old)
    folder = cluster.access.path.parent
    written = [folder / "access", folder / "state", *folder.rglob("*")]
    assert len(written) >= 6
    for path in written:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    assert stat.S_IMODE(cluster.access.socket.stat().st_mode) == 0o600


@pytest_twisted.ensureDeferred
async def test_two_coordinators_do_not_share_a_folder(make: Make) -> None:
    first, second = await started(make(name="same")), make(HERE, name="same")
    second.service.startService()
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        await second.service.ready
    await second.service.stopService()
    assert first.access.holder() == os.getpid()
    await first.dial(first.socket)
    await first.service.stopService()
    assert first.access.holder() is None
    third = await started(make(name="same"))
    await third.dial(third.socket)


@pytest_twisted.ensureDeferred
async def test_a_taken_port_leaves_nothing_open(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cluster = make(HERE, f"tcp:127.0.0.1:{taken.getsockname()[1]}")
        before = listening_sockets()
        cluster.service.startService()
        with pytest.raises(CannotStart, match="cannot listen on"):
            await cluster.service.ready
        assert listening_sockets() == before
    assert cluster.access.holder() is None
    assert not cluster.access.socket.exists()


@pytest_twisted.ensureDeferred
async def test_a_path_too_long_for_a_socket(make: Make, tmp_path: Path) -> None:
    cluster = make(access=AccessFolder(tmp_path / ("long" * 30)))
    cluster.service.startService()
    with pytest.raises(CannotStart, match="AMPACITY_ACCESS"):
        await cluster.service.ready


@pytest_twisted.ensureDeferred
async def test_stopping_closes_sessions_and_doors(make: Make) -> None:
    cluster = await started(make(HERE))
    local, remote = await cluster.dial(cluster.socket), await cluster.dial(cluster.line)
    await query(local)
    stopping = cluster.service.stopService()
    for greeted in (local, remote):
        await lost(greeted.connection)
        with pytest.raises(Disconnected):
            await greeted.connection.call(commands.Ping)
    await stopping
    assert cluster.core.events == [("opened", "local"), ("left", False)]
    assert not cluster.access.socket.exists()
    assert cluster.service.listening == []


@pytest_twisted.ensureDeferred
async def test_stopping_while_it_starts(make: Make) -> None:
    cluster = make(HERE)
    cluster.service.startService()
    await cluster.service.stopService()
    assert cluster.access.holder() is None
    assert not cluster.access.socket.exists()


@pytest_twisted.ensureDeferred
async def test_the_line_to_paste(make: Make) -> None:
    everywhere = await started(make("tcp:0", name="a"))
    port = everywhere.line.port
    assert everywhere.line.host == socket.gethostname()
    assert everywhere.service.listening[1] == f"tcp:0.0.0.0:{port}"
    named = await started(make(HERE, name="b", advertise="cluster.example"))
    assert str(named.worker_line).startswith("cluster.example:")
    assert str(named.line) != "cluster.example:8786"
    mapped = await started(make(HERE, name="c", advertise="[fd00::1]:99"))
    assert str(mapped.line) == "[fd00::1]:99"
    roles = {named.line.token.role, named.worker_line.token.role}  # type: ignore[union-attr]
    assert roles == {"client", "worker"}


@pytest_twisted.ensureDeferred
async def test_the_key_stays_over_a_restart(make: Make) -> None:
    first = await started(make(HERE))
    worker = await first.dial(first.worker_line, "worker")
    old = first.line
    await first.service.stopService()
    second = await started(make(HERE))
    bare = attrs.evolve(second.line, token=None)
    again = await second.dial(bare, "worker", token=worker.credential)
    assert again.client == worker.client
    with contextlib.suppress(NoCoordinator):
        await second.dial(bare, token=old.token)
    assert second.line.token != old.token
