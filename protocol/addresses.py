"""Where a coordinator is, as people write it: ``host:8786``, ``unix:/path``, and its token."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from .redacting import redacted_after
from .tokens import Token, parse_token

DEFAULT_PORT = 8786


@attrs.frozen
class Address:
    """A coordinator: a host and port, over TLS, or the path of a UNIX socket."""

    host: str = ""
    port: int = DEFAULT_PORT
    path: Path | None = None
    token: Token | None = None

    def __str__(self) -> str:
        """As it is parsed, without the token."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def line(self) -> str:
        """With the token, to be pasted elsewhere: secret."""
        return str(self) if self.token is None else f"{self}#{self.token.reveal()}"


def parse_address(text: str) -> Address:
    """An address from ``host``, ``host:8786``, ``[::1]:8786``, ``tcp:host:port``, ``unix:/path``.

    After a ``#`` comes a token.

    Raises:
        ValueError: it is no address.
        TokenDamaged: what follows the ``#`` is no token.
    """
    where, mark, secret = text.strip().partition("#")
    where = where.rstrip()
    _refuse_token(where)
    token = parse_token(secret) if mark else None
    if where.startswith("unix:"):
        return Address(path=_path(where.removeprefix("unix:")), token=token)
    if where.startswith("/"):
        return Address(path=_path(where), token=token)
    host, port = _split(where.removeprefix("tcp:"))
    if not host:
        raise ValueError(
            f"{_shown(where)} names no host: an address looks like host:{DEFAULT_PORT}"
        )
    return Address(host, DEFAULT_PORT if port is None else port, token=token)


@attrs.frozen
class Listen:
    """Where to listen; no interface means all of IPv4, ``::`` all of IPv6 (and IPv4 with it)."""

    interface: str
    port: int


def parse_listen(text: str) -> Listen:
    """Where to listen, from ``tcp:8786``, ``tcp:127.0.0.1:0`` or ``tcp:[::]:8786``.

    The ``tcp:`` may be left out. Port 0 is any free one.

    Raises:
        ValueError: it is nothing to listen on.
    """
    rest = text.strip().removeprefix("tcp:")
    if rest.isascii() and rest.isdigit():
        return Listen("", _port(rest))
    _refuse_token(rest)
    interface, port = _split(rest)
    if port is None:
        raise ValueError(f"{_shown(text)} names no port: write it like tcp:{DEFAULT_PORT}")
    return Listen(interface, port)


_MISPLACED = re.compile(r"amp1\.[a-z]+\.[\w-]{43}", re.A)
"""The beginning of a token, up to the hash of the key."""


def _refuse_token(text: str) -> None:
    if _MISPLACED.search(text):  # as a host, it would be shown to every name server
        raise ValueError(f"a token comes after an address and a #: host:{DEFAULT_PORT}#TOKEN")


def _shown(text: str) -> str:
    return repr(redacted_after(text))


def _path(text: str) -> Path:
    path = Path(text)
    shown = str(path)
    if "\0" in text or shown != shown.strip():  # which is lost where addresses are written down
        raise ValueError(f"{_shown(text)} is no path")
    if not path.is_absolute():
        raise ValueError(f"the path of a UNIX socket begins with a slash, {_shown(text)} does not")
    return path


def _split(text: str) -> tuple[str, int | None]:
    """Host and port; an IPv6 host stands in brackets, or without a port."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError(
                f"{_shown(text)} is no address: an IPv6 one looks like [::1]:{DEFAULT_PORT}"
            )
        return _host(host), _port(rest[1:]) if rest else None
    if text.count(":") > 1:
        return _host(text), None
    host, colon, port = text.partition(":")
    return _host(host), _port(port) if colon else None


def _host(text: str) -> str:
    if any(c.isspace() or not c.isprintable() or c in "/[]@#" for c in text):
        raise ValueError(f"{_shown(text)} is no host")
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text[:6]) > 65535:
        raise ValueError(f"{_shown(text)} is no port: a port is a number up to 65535")
    return int(text)
