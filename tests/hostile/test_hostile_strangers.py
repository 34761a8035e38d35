"""Who comes to the port and is not let in: no word of theirs does anything."""

from __future__ import annotations

import time
from typing import Any

from . import peers
from .ground import Ground
from .peers import serialize

TEXTS = {
    "text": b"hello?\r\n" * 20,
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
    "post": b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    "smtp": b"EHLO localhost\r\nMAIL FROM:<a@b>\r\n",
    "zeros": b"\0" * 4096,
    "escapes": b"\x1b]0;owned\x07\x1b[2J\r\n" * 20,
    "boxes without TLS": serialize({b"_command": b"Hello", b"_ask": b"1"}) * 4,
}


def test_plain_text(ground: Ground) -> None:
    def attack() -> None:
        for name, text in TEXTS.items():
            with peers.tcp(ground) as stranger:
                peers.send(stranger, text)
                assert len(peers.hear(stranger)) < 16, name  # an alert of TLS, at most

    ground.endures(attack)


INSIDE_TLS = {
    "text": b"hello?\r\n" * 20,
    "http": TEXTS["http"],
    "an empty box": b"\0\0",
    "a key over 255 bytes": serialize({b"k" * 256: b""}),
    "an endless key": b"\xff\xff" + b"k" * 4000,
    "a box that never ends": b"\0\1a\0\1b" * 3000,
    "one long value": serialize({b"_command": b"Hello", b"_ask": b"1", b"x": b"x" * 9000}),
    "an answer": serialize({b"_answer": b"1"}),
    "an error": serialize({b"_error": b"\x1b[2J", b"_error_code": b"\n\n"}),
    "a command that wants no answer": serialize({b"_command": b"Shutdown"}),
}


def test_garbage_inside_tls(ground: Ground) -> None:
    def attack() -> None:
        for name, data in INSIDE_TLS.items():
            with peers.tls(ground) as stranger:
                peers.send(stranger, data)
                assert peers.hear(stranger) == b"", name

    ground.endures(attack, names="closed 127")


def test_a_command_before_the_greeting(ground: Ground) -> None:
    for command in ("Submit", "Query", "Shutdown", "Join", "PutChunk", "GetChunk", "Ping"):
        with peers.Peer(peers.tls(ground)) as stranger:
            assert stranger.refusal(command).code == "NOT_ALLOWED", command


def test_a_tls_client_without_a_token(ground: Ground) -> None:
    def attack() -> None:
        with peers.Peer(peers.tls(ground)) as stranger:
            stranger.ask("Hello", versions=[1, 2], role="client", software="x")
            for command in ("OpenSession", "Submit", "Shutdown", "CreateToken", "Query"):
                assert stranger.refusal(command).code in ("NOT_ALLOWED", "UNHANDLED")
            refused = stranger.refusal("Authenticate", token="x" * 11, secret=b"\0" * 32)
            assert refused.code == "TOKEN_REFUSED"
            assert stranger.is_dropped()

    ground.endures(attack, names="refused")


HELLOS: dict[str, dict[str, Any]] = {
    "no fields": {},
    "no numbers": {"versions": b"\0\5xxxxx", "role": "client", "software": "x"},
    "a list that lies": {"versions": b"\xff\xff1", "role": "client", "software": "x"},
    "a number of a thousand digits": {
        "versions": [int("9" * 1000)],
        "role": "client",
        "software": "x",
    },
    "a number of five thousand digits": {
        "versions": b"\x13\x88" + b"9" * 5000,
        "role": "client",
        "software": "x",
    },
    "no UTF-8": {"versions": [1], "role": b"\xff\xfe", "software": b"\xff"},
    "another role": {"versions": [1], "role": "root\x1b[2J\n", "software": "x"},
    "software": {"versions": [77], "role": "client", "software": "\x1b[31m\n\0\u202e" * 20},
}


def test_a_hello_that_is_none(ground: Ground) -> None:
    def attack() -> None:
        for name, hello in HELLOS.items():
            with peers.Peer(peers.tls(ground)) as stranger:
                refused = stranger.refusal("Hello", **hello)
                assert refused.code in ("MALFORMED", "VERSION_MISMATCH"), name
                assert len(refused.text) < 500, name

    ground.endures(attack)


def test_a_secret_of_every_kind(ground: Ground) -> None:
    """Guesses, and what a table of credentials could stumble over."""
    guesses = [
        ("", b""),
        ("__class__", b"x"),
        ("\0\x1b[2J\n\u202e", b"\xff" * 64),
        ("x", b"y" * 7000),
    ]

    def attack() -> None:
        for name, secret in guesses:
            with peers.Peer(peers.tls(ground)) as stranger:
                stranger.ask("Hello", versions=[2], role="client", software="x")
                assert stranger.refusal("Authenticate", token=name, secret=secret).code in (
                    "TOKEN_REFUSED",
                    "MALFORMED",
                )

    ground.endures(attack, 0.3, names="refused")


def test_silence_half_handshakes_and_one_byte_a_second(ground: Ground) -> None:
    """500 silent connections, 20 half handshakes, 20 that go on byte by byte: all are cut off, and
    whoever is let in comes in meanwhile."""

    def attack() -> None:
        half = peers.first_words()
        where = ground.source()
        silent = [peers.tcp(ground, where) for _ in range(500)]
        halves = [peers.tcp(ground, ground.source()) for _ in range(20)]
        slow = [peers.tcp(ground, ground.source()) for _ in range(20)]
        for stranger in halves:
            peers.send(stranger, half[: len(half) // 2])
        began = time.monotonic()
        for second in range(3):
            for stranger in slow:
                peers.send(stranger, half[second : second + 1])
            peers.client(ground).close()
            assert time.monotonic() - began < 5.0, "a client had to wait for silent ones"
            time.sleep(1)
        for stranger in [*halves, *slow, *silent]:
            assert peers.hear(stranger, 60.0) == b""
            stranger.close()
        peers.client(ground).close()

    ground.endures(attack, 0.1, names="no greeting within|closed 127")


def test_a_greeting_of_one_byte_a_second(ground: Ground) -> None:
    """Inside TLS: the time for the greeting is for all of it."""
    hello = serialize({b"_command": b"Hello", b"_ask": b"1", b"role": b"client"})

    def attack() -> None:
        began = time.monotonic()
        with peers.tls(ground) as stranger:
            for place in range(30):
                if not peers.send(stranger, hello[place : place + 1]):
                    break
                time.sleep(0.5)
            assert peers.hear(stranger) == b""
        assert time.monotonic() - began < 12

    ground.endures(attack, 0.1, names="no greeting within")


def test_renegotiation_and_garbage_after_the_handshake(ground: Ground) -> None:
    def attack() -> None:
        with peers.tls(ground) as stranger:
            raw = stranger.detach()
            import socket

            with socket.socket(fileno=raw) as bare:
                bare.settimeout(peers.SECONDS)
                peers.send(bare, b"\x17\x03\x03\x40\x00" + b"\xaa" * 0x4000)
                peers.hear(bare)

    ground.endures(attack, 0.3)
