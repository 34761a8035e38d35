"""Addresses and what to listen on, as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ampacity.protocol.addresses import Address, Listen, parse_address, parse_listen
from ampacity.protocol.errors import TokenDamaged
from ampacity.protocol.tokens import Token

TOKEN = Token("worker", b"k" * 32, "abcdefgh", b"s" * 32)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("host", Address("host", 8786)),
        ("host:99", Address("host", 99)),
        (" host:99\n", Address("host", 99)),
        ("tcp:host:99", Address("host", 99)),
        ("tcp:host", Address("host", 8786)),
        ("10.0.0.1:1", Address("10.0.0.1", 1)),
        ("[::1]:99", Address("::1", 99)),
        ("[::1]", Address("::1", 8786)),
        ("fe80::1", Address("fe80::1", 8786)),
        ("unix:/run/x", Address(path=Path("/run/x"))),
        ("/run/x", Address(path=Path("/run/x"))),
        (f"host:99#{TOKEN.reveal()}", Address("host", 99, token=TOKEN)),
        (f"[::1]:99#{TOKEN.reveal()}\n", Address("::1", 99, token=TOKEN)),
    ],
)
def test_an_address_is_understood(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":99", "host:", "host:port", "host:65536", "host:-1", "host:1e3", "[::1"),
        *("[::1]x", "tcp:"),
        "ho st:1",
        "unix:relative",
        "unix:",
        "host:" + "9" * 5000,
        "host:²",
        "a/b:1",
        "h\0st",
    ],
)
def test_what_is_no_address_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no|names no|begins with"):
        parse_address(text)


def test_a_damaged_token_is_told_from_a_wrong_address() -> None:
    with pytest.raises(TokenDamaged):
        parse_address(f"host:99#{TOKEN.reveal()[:-3]}")


@pytest.mark.parametrize("text", ["host:99", "[::1]:99", "unix:/run/x"])
def test_an_address_is_shown_as_it_is_written(text: str) -> None:
    assert str(parse_address(text)) == text


def test_the_token_shows_only_where_it_is_asked_for() -> None:
    address = Address("host", 99, token=TOKEN)
    assert TOKEN.reveal() not in f"{address} {address!r}"
    assert parse_address(address.line()) == address


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("tcp:8786", Listen("", 8786)),
        ("8786", Listen("", 8786)),
        ("tcp:127.0.0.1:0", Listen("127.0.0.1", 0)),
        ("tcp:[::]:8786", Listen("::", 8786)),
        ("localhost:1", Listen("localhost", 1)),
    ],
)
def test_what_to_listen_on(text: str, listen: Listen) -> None:
    assert parse_listen(text) == listen


@pytest.mark.parametrize(
    "text", ["", "tcp:", "tcp:host", "tcp:99999", "tcp:1:x", "unix:/x", "[::]"]
)
def test_nothing_to_listen_on(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no|names no"):
        parse_listen(text)
