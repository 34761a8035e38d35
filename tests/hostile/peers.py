"""Peers that are written out by hand: plain sockets, TLS without a check, boxes byte by byte.

Nothing of ampacity's own connection is used, so that whatever can be sent is sent.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
import struct
import time
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import msgpack

from .ground import Ground

Box = dict[bytes, bytes]
SECONDS = 10.0
_VALUE = 0xFFFF


class Gone(Exception):
    """The other side has closed the connection."""


class Refusal(Exception):
    """An error that was answered."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text


# -- bytes ----------------------------------------------------------------------------------------


def tcp(ground: Ground, source: str | None = None) -> socket.socket:
    """A bare connection, from an address that is not known yet."""
    made = socket.socket()
    made.settimeout(SECONDS)
    made.bind((source or ground.source(), 0))
    made.connect(("127.0.0.1", ground.port))
    return made


def tls(ground: Ground, source: str | None = None) -> ssl.SSLSocket:
    """The same with TLS, whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(tcp(ground, source))


def unix(ground: Ground) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(SECONDS)
    made.connect(ground.socket)
    return made


def first_words() -> bytes:
    """What a TLS client says first."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="x").do_handshake()
    return outgoing.read()


def hear(stream: socket.socket, seconds: float = SECONDS) -> bytes:
    """All that the other side says until it closes; fails if it does not close."""
    stream.settimeout(seconds)
    heard = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := stream.recv(65536):
            heard += data
    return heard


def send(stream: socket.socket, data: bytes) -> bool:
    """Whether all of it could be sent."""
    try:
        stream.sendall(data)
    except (ConnectionError, ssl.SSLError):
        return False
    return True


def serialize(box: Mapping[bytes, bytes]) -> bytes:
    """A box on the wire; keys of any length."""
    parts = [
        struct.pack(">H", len(part)) + part for key, value in box.items() for part in (key, value)
    ]
    return b"".join(parts) + b"\0\0"


def framed(name: bytes, data: bytes) -> Box:
    """Bytes over as many keys of a box as they need."""
    parts = range(0, max(len(data), 1), _VALUE)
    return {
        name if place == 0 else name + b".%d" % place: data[start : start + _VALUE]
        for place, start in enumerate(parts)
    }


# -- peers ----------------------------------------------------------------------------------------

PACKED = {
    **dict.fromkeys((b"Cancel", b"Retry", b"Forget", b"Watch"), (b"jobs",)),
    b"Query": (b"details",),
    b"Join": (b"info", b"held"),
    **dict.fromkeys((b"Begun", b"Returned"), (b"attempts",)),
    b"WorkerState": (b"state",),
}
"""The fields that hold packed data; other bytes go as they are."""


def encode(value: Any) -> bytes:
    """A value as AMP has it."""
    match value:
        case bytes():
            return value
        case bool():
            return b"True" if value else b"False"
        case int():
            return b"%d" % value
        case list():
            return b"".join(struct.pack(">H", len(item)) + item for item in map(encode, value))
        case _:
            return str(value).encode()


class Peer:
    """A connection that says what it is told to, and keeps what it hears."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self._rest = b""
        self._tags = 0
        self.sequence = 0
        """The number of the next ``Submit``."""
        self.asked: deque[Box] = deque()
        """What the other side has asked, but for its pings; nothing of it is answered."""

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        """Say goodbye, where somebody listens: nothing is kept for who has left."""
        with contextlib.suppress(Gone, Refusal, OSError):
            self.stream.settimeout(SECONDS)
            self.ask("Goodbye")
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.close()

    # -- words --

    def write(self, data: bytes) -> None:
        try:
            self.stream.sendall(data)
        except (ConnectionError, ssl.SSLError) as e:
            raise Gone(str(e)) from None

    def say(self, command: str, tag: bytes | None = None, **fields: Any) -> bytes:
        """Ask, and do not wait."""
        self._tags += 1
        tag = tag or b"t%d" % self._tags
        name = command.encode()
        self.write(serialize({b"_command": name, b"_ask": tag, **_fields(name, fields)}))
        return tag

    def ask(self, command: str, **fields: Any) -> Box:
        """Ask, and wait for the answer; raises Refusal."""
        return self.answer(self.say(command, **fields))

    def answer(self, tag: bytes) -> Box:
        """The answer to what was said."""
        end = time.monotonic() + SECONDS
        while True:
            box = self.hear_box(_left(end))
            if b"_command" in box:
                self._take(box)
            elif box.get(b"_answer") == tag:
                return box
            elif box.get(b"_error") == tag:
                text = box.get(b"_error_description", b"").decode("utf-8", "replace")
                raise Refusal(box[b"_error_code"].decode(), text)

    def refusal(self, command: str, **fields: Any) -> Refusal:
        """The refusal that this must be."""
        try:
            answer = self.ask(command, **fields)
        except Refusal as refusal:
            return refusal
        raise AssertionError(f"{command} was answered: {answer}")

    def data(self, command: str, field: str, **fields: Any) -> Any:
        """A packed field of the answer."""
        return msgpack.unpackb(joined(self.ask(command, **fields), field), strict_map_key=False)

    def next(self, command: str, seconds: float = SECONDS) -> Box:
        """The next question of this name from the other side."""
        end = time.monotonic() + seconds
        while True:
            for box in list(self.asked):
                if box[b"_command"] == command.encode():
                    self.asked.remove(box)
                    return box
            box = self.hear_box(_left(end))
            if b"_command" in box:
                self._take(box)

    def _take(self, box: Box) -> None:
        if box[b"_command"] == b"Ping":
            self.write(serialize({b"_answer": box[b"_ask"]}))
        else:
            self.asked.append(box)

    def acknowledge(self, box: Box, **fields: Any) -> None:
        """Answer a question of the other side."""
        self.write(serialize({b"_answer": box[b"_ask"], **_fields(b"", fields)}))

    # -- boxes in --

    def hear_box(self, seconds: float = SECONDS) -> Box:
        """The next box. Raises Gone."""
        self.stream.settimeout(seconds)
        while (found := _parse(self._rest)) is None:
            try:
                data = self.stream.recv(262144)
            except (ConnectionError, ssl.SSLError) as e:
                raise Gone(str(e)) from None
            if not data:
                raise Gone
            self._rest += data
        box, self._rest = found
        return box

    def is_dropped(self, seconds: float = SECONDS) -> bool:
        """Whether the other side closes the connection; its pings are answered."""
        end = time.monotonic() + seconds
        try:
            while True:
                box = self.hear_box(_left(end))
                if b"_command" in box:
                    self._take(box)
        except Gone:
            return True
        except TimeoutError:
            return False


def _left(end: float) -> float:
    """Seconds to go. Raises TimeoutError."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("it says other things all the time")
    return left


def _fields(command: bytes, fields: Mapping[str, Any]) -> Box:
    packed = PACKED.get(command, ())
    box: Box = {}
    for name, value in fields.items():
        key = name.encode()
        data = msgpack.packb(value) if key in packed and type(value) is not bytes else encode(value)
        box.update(framed(key, data))
    return box


def joined(box: Box, field: str) -> bytes:
    """A frame of a box."""
    key = field.encode()
    parts = [box[key]]
    while (part := box.get(key + b".%d" % len(parts))) is not None:
        parts.append(part)
    return b"".join(parts)


def _parse(data: bytes) -> tuple[Box, bytes] | None:
    box: Box = {}
    at = 0
    key: bytes | None = None
    while len(data) - at >= 2:
        (length,) = struct.unpack_from(">H", data, at)
        if length == 0 and key is None:
            return box, data[at + 2 :]
        if len(data) - at - 2 < length:
            return None
        part = data[at + 2 : at + 2 + length]
        at += 2 + length
        if key is None:
            key = part
        else:
            box[key], key = part, None
    return None


# -- who is let in --------------------------------------------------------------------------------


def secret_of(token: str) -> tuple[str, bytes]:
    """The id and the secret in a token."""
    _, _, _, name, secret, _ = token.split(".")
    return name, base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))


def greet(stream: socket.socket, token: str | None, role: str | None = None) -> Peer:
    """Say hello and show the token, if there is one; the admitted peer. Raises Refusal."""
    peer = Peer(stream)
    role = role or (token or "amp1.client").split(".")[1]
    peer.ask("Hello", versions=[1, 2], role=role, software="by hand")
    if token is not None:
        name, secret = secret_of(token)
        peer.ask("Authenticate", token=name, secret=secret)
    return peer


def client(ground: Ground, token: str | None = None, session: bytes | None = None) -> Peer:
    """A client with a session, over TLS; without a token of its own, with the one handed out."""
    return _opened(greet(tls(ground), token or ground.handed_out("client")), session)


def local(ground: Ground) -> Peer:
    """The coordinator's own user, over the UNIX socket."""
    return _opened(greet(unix(ground), None))


def _opened(peer: Peer, session: bytes | None = None) -> Peer:
    answer = peer.ask("OpenSession", session=session or os.urandom(16))
    peer.sequence = int(answer[b"next_sequence"])
    return peer


def token(ground: Ground, role: str, lifetime: float | None = None) -> str:
    """A token that is made for a test."""
    more = {} if lifetime is None else {"lifetime": lifetime}
    with local(ground) as user:
        return user.ask("CreateToken", role=role, **more)[b"line"].decode().partition("#")[2]


def revoke(ground: Ground, token: str) -> None:
    with local(ground) as user:
        user.ask("RevokeToken", token=secret_of(token)[0], joined=True)


def other_python() -> str:
    """What the workers and jobs of the running test have alone.

    Ordinary jobs are functions by value: a worker of another Python is given none of them, nor
    what another test has left in the queue.
    """
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    return f"9.{zlib.crc32(test.encode())}"


def information(**more: Any) -> dict[str, Any]:
    """What a worker tells of itself."""
    return {
        "name": "stranger",
        "incarnation": os.urandom(16),
        "slots": 1,
        "python": other_python(),
        "host": "somewhere",
        "software": "0.3.0",
        "pid": 1,
        **more,
    }


def admitted_worker(ground: Ground) -> Peer:
    """A worker that has been let in, and has not joined."""
    return greet(tls(ground), ground.handed_out("worker"))


def worker(ground: Ground, **more: Any) -> Peer:
    """A worker that has joined."""
    peer = admitted_worker(ground)
    peer.ask("Join", info=information(**more), held=[])
    return peer


@contextlib.contextmanager
def several(peers: list[Peer]) -> Iterator[list[Peer]]:
    """Closed in the end."""
    try:
        yield peers
    finally:
        for peer in peers:
            peer.close()
