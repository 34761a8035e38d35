"""TLS between machines, byte by byte: 1.3 from the first one, and none for who has another key."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity.protocol.addresses import Address
from ampacity.protocol.dialing import dial
from ampacity.protocol.errors import AmpacityError, NoCoordinator, WrongKey
from ampacity.protocol.tls import KeyPair
from ampacity.protocol.tls import _certify as certify
from ampacity.protocol.tokens import Token
from twisted.internet import reactor, threads
from twisted.protocols import amp

SECRET = b"s" * 32
HANDSHAKE, ALERT = 0x16, 0x15


def token_of(pair: KeyPair, role: Any = "worker") -> Token:
    return Token(role, pair.hash, "idididididi", SECRET)


@attrs.define(eq=False, slots=False)
class Impostor:
    """A server in a thread that speaks as ``serve`` does, once; all that it is told is kept."""

    serve: Callable[[socket.socket], bytes]
    listener: socket.socket = attrs.field(factory=lambda: socket.create_server(("127.0.0.1", 0)))
    heard: bytes = b""
    came: bool = False

    def __attrs_post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name="PoolThread-impostor")
        self.thread.start()

    def _run(self) -> None:
        self.listener.settimeout(60)
        connection, _ = self.listener.accept()
        self.came = True
        with connection:
            connection.settimeout(30)
            self.heard = self.serve(connection)

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.listener.getsockname()[1])

    def finish(self) -> bytes:
        self.thread.join(60)
        self.listener.close()
        assert self.came
        return self.heard


def context(folder: Path, pair: KeyPair, highest: ssl.TLSVersion) -> ssl.SSLContext:
    file = folder / "impostor.pem"
    file.write_bytes(pair.dumps())
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(file)
    made.maximum_version = highest
    return made


def over_tls(with_context: ssl.SSLContext) -> Callable[[socket.socket], bytes]:
    """Shake hands, then listen until the other side goes away."""

    def serve(connection: socket.socket) -> bytes:
        heard = b""
        try:
            with with_context.wrap_socket(connection, server_side=True) as secured:
                while data := secured.recv(4096):
                    heard += data
        except OSError:  # a refused handshake, or an abrupt end
            pass
        return heard

    return serve


def in_plain_text(answer: bytes) -> Callable[[socket.socket], bytes]:
    def serve(connection: socket.socket) -> bytes:
        heard = connection.recv(65536)
        try:
            connection.sendall(answer)
            while data := connection.recv(65536):
                heard += data
        except OSError:
            pass
        return heard

    return serve


async def refused(address: Address, token: Token, error: type[AmpacityError]) -> AmpacityError:
    side: Any = "worker" if token.role == "worker" else "client"
    with pytest.raises(error) as caught:
        await dial(reactor, address, side, token, amp.CommandLocator())
    return caught.value


@pytest.mark.parametrize("role", ["worker", "client"])
@pytest_twisted.ensureDeferred
async def test_a_server_with_another_key_hears_nothing(role: str, tmp_path: Path) -> None:
    ours, theirs = KeyPair.make(), KeyPair.make()
    impostor = Impostor(over_tls(context(tmp_path, theirs, ssl.TLSVersion.TLSv1_3)))
    error = await refused(impostor.address, token_of(ours, role), WrongKey)
    assert "nothing was sent" in str(error)
    assert await threads.deferToThread(impostor.finish) == b""


@pytest_twisted.ensureDeferred
async def test_the_same_key_in_another_certificate_is_the_same_coordinator(tmp_path: Path) -> None:
    ours = KeyPair.make()
    renewed = KeyPair(ours.key, certify(ours.key))
    assert renewed.certificate != ours.certificate
    impostor = Impostor(over_tls(context(tmp_path, renewed, ssl.TLSVersion.TLSv1_3)))
    await refused(impostor.address, token_of(ours), NoCoordinator)  # it does not answer
    heard = await threads.deferToThread(impostor.finish)
    assert b"Hello" in heard
    assert SECRET not in heard, "the proof comes after the greeting"


@pytest_twisted.ensureDeferred
async def test_tls_1_2_is_not_spoken_to_a_server(tmp_path: Path) -> None:
    ours = KeyPair.make()
    impostor = Impostor(over_tls(context(tmp_path, ours, ssl.TLSVersion.TLSv1_2)))
    await refused(impostor.address, token_of(ours), NoCoordinator)
    assert await threads.deferToThread(impostor.finish) == b""


@pytest.mark.parametrize(
    "answer", [b"\x00\x07_answer\x00\x011\x00\x00", b"HTTP/1.1 200 OK\r\n\r\n"]
)
@pytest_twisted.ensureDeferred
async def test_plain_text_is_not_spoken_to_a_server(answer: bytes) -> None:
    token = token_of(KeyPair.make())
    impostor = Impostor(in_plain_text(answer))
    await refused(impostor.address, token, NoCoordinator)
    records = list(records_of(await threads.deferToThread(impostor.finish)))
    kinds = [kind for kind, _body in records]
    assert kinds[0] == HANDSHAKE, "a ClientHello is the first thing that is said"
    assert set(kinds[1:]) <= {ALERT}, "and there is no second one"
    assert only_tls_1_3(records[0][1])
    everything = b"".join(body for _kind, body in records)
    for told in (SECRET, token.id.encode(), token.reveal().encode(), token.key_hash):
        assert told not in everything


def records_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        size = int.from_bytes(data[3:5], "big")
        yield data[0], data[5 : 5 + size]
        data = data[5 + size :]


def only_tls_1_3(hello: bytes) -> bool:
    """Whether a ClientHello's supported_versions (43) are 3.4 and nothing else."""
    place = hello.index(b"\x00\x2b\x00\x03\x02")
    return hello[place + 5 : place + 7] == b"\x03\x04"


# -- strangers at the coordinator's port -----------------------------------------------------------


@pytest.fixture
def listening(
    ampacity_command: list[str], access_folder: Path, tmp_path: Path
) -> Iterator[tuple[str, int]]:
    """A coordinator's line for workers, and its port."""
    words = [*ampacity_command, "coordinator", "--listen", "tcp:127.0.0.1:0", "--ephemeral"]
    state = {**os.environ, "AMPACITY_STATE": str(tmp_path / "state")}
    reading, writing = os.pipe()
    with subprocess.Popen(
        [*words, "--ready-fd", str(writing)],
        pass_fds=[writing], stdout=subprocess.DEVNULL, env=state,
    ) as process:  # fmt: skip
        os.close(writing)
        with os.fdopen(reading) as told:
            facts = json.loads(told.readline())
        yield facts["join"], int(facts["address"].rpartition(":")[2])
        process.terminate()


def test_what_does_not_speak_tls_1_3_is_not_answered(listening: tuple[str, int]) -> None:
    _line, port = listening
    older = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    older.check_hostname, older.verify_mode = False, ssl.CERT_NONE
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"),
    ):
        older.wrap_socket(plain)
    hello = b"\x00\x04_ask\x00\x011\x00\x08_command\x00\x05Hello\x00\x00"
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        plain.sendall(hello)
        answer = b""
        try:
            while data := plain.recv(4096):
                answer += data
        except ConnectionResetError:
            pass
        assert {kind for kind, _ in records_of(answer)} <= {ALERT}
    newer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    newer.check_hostname, newer.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        secured = newer.wrap_socket(plain)
        assert secured.version() == "TLSv1.3"
        assert not secured.session_reused
        secured.close()


def test_a_worker_that_meets_another_key(
    listening: tuple[str, int], ampacity_command: list[str], tmp_path: Path
) -> None:
    """The whole program: it says so, sends nothing, and keeps nothing for the next time."""
    line, _port = listening
    theirs = KeyPair.make()
    impostor = Impostor(over_tls(context(tmp_path, theirs, ssl.TLSVersion.TLSv1_3)))
    state = tmp_path / "worker"
    done = subprocess.run(
        [*ampacity_command, "join", f"{impostor.address}#{line.partition('#')[2]}", "--slots", "1"],
        capture_output=True, text=True, timeout=90, check=False,
        env={**os.environ, "AMPACITY_STATE": str(state)},
    )  # fmt: skip
    assert impostor.finish() == b""
    assert done.returncode == 4
    assert "another key" in done.stderr
    assert not state.exists()
