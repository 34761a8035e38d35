"""Which coordinator a command speaks to, and the way there.

The one that is named; else the one of this user on this machine; for ``run`` and ``map``, where
none runs there, a pool of our own in this process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ..protocol.errors import TokenDamaged, TokenRefused
from .failures import say
from .rendering import harmless
from .settings import Settings
from .shared import Common

if TYPE_CHECKING:
    from ..client.remote import Target
    from ..protocol.access import AccessFolder, StateFolder
    from ..protocol.addresses import Address
    from ..protocol.tokens import Token
    from .connection import Link

Main = Callable[[Any, "Link"], Coroutine[Any, Any, int]]
"""Gets the reactor and the link, answers the exit code."""

FIRST_PATIENCE = 5.0
"""Seconds that a coordinator is looked for, unless the user says otherwise."""

_LINE_BYTES = 64 * 1024

QUIET = "critical"
"""The log level of clients, unless one is asked for."""


def client(common: Common, main: Main, own: bool = False, patience: float | None = None) -> int:
    """Run ``main`` with a link to the coordinator; the answer is its exit code.

    ``own``: where none is named and none runs here, on a pool of our own.
    """
    from .reacting import install_reactor, react

    settings = common.settings
    install_reactor(settings["reactor"])
    way = _way(settings, own, patience)
    if not way.own:
        _tell_idle_flags(settings)
    asked = settings.resolve("log_level")
    level = QUIET if asked.source == "default" else asked.value
    return react(
        lambda reactor: _with_link(reactor, way, main, common.whose),
        level,
        settings["log_format"],
    )


def _tell_idle_flags(settings: Settings) -> None:
    """What shapes a pool of our own has no use where a coordinator has the slots."""
    found = [settings.resolve(key) for key in ("slots", "python", "setup")]
    flags = [one.source for one in found if one.source.startswith("--")]
    if flags:
        say(
            f"{', '.join(flags)} counts for a pool of our own only, and a coordinator is used: "
            "give it to ampacity up or ampacity join"
        )


@attrs.frozen
class Way:
    """How the coordinator is reached."""

    make_link: Callable[[Any], Any]
    own: bool
    place: str
    """As people read it."""
    patience: float = 0.0
    """Seconds to wait for a coordinator that went away."""


async def _with_link(reactor: Any, way: Way, main: Main, whose: str | None) -> int:
    from twisted.internet import threads
    from twisted.internet.task import deferLater

    from .connection import Link, ToldSession

    pool = reactor.getThreadPool()
    in_thread = partial(threads.deferToThreadPool, reactor, pool)
    session = ToldSession(reactor, in_thread, way.patience)
    link = way.make_link(reactor)
    try:
        await link.open(session)
        return await main(reactor, Link(session, way.own, whose))
    finally:
        session.leaving = True
        # what was delivered in this turn is acknowledged at its end: before we say goodbye
        await deferLater(reactor, 0)
        await link.close()
        await session.close()


def _way(settings: Settings, own: bool, patience: float | None) -> Way:
    from .connection import LOST_PATIENCE

    asked = settings["patience"] if patience is None else patience
    first, later = (FIRST_PATIENCE, LOST_PATIENCE) if asked is None else (asked, asked)
    if settings["coordinator"] is not None or line_in(settings) is not None:
        return _remote(target(settings), first, later)
    access = access_folder(settings)
    if own and access.holder() is None:
        return Way(_own_pool(settings), True, "a pool of our own")
    return _remote(_here(access), first, later)


def _remote(where: Target, first: float, later: float) -> Way:
    from ..client.remote import RemoteLink

    place = str(where.address)
    return Way(lambda reactor: RemoteLink(reactor, where, first), False, place, later)


def _here(access: AccessFolder) -> Target:
    from ..client.remote import Target
    from ..protocol.addresses import Address

    return Target(Address(path=access.socket))


def _own_pool(settings: Settings) -> Callable[[Any], Any]:
    from ..client.local import LocalLink

    slots = settings["slots"]
    if slots == 0:
        raise click.UsageError("--slots 0: without a slot nothing can run")
    options = {"slots": slots, "python": settings["python"], "setup": settings["setup"]}
    return lambda reactor: LocalLink(reactor, **options)


def access_folder(settings: Settings) -> AccessFolder:
    """Where this user's coordinator is found."""
    from ..protocol.access import AccessFolder

    given = settings["access"]
    return AccessFolder.default() if given is None else AccessFolder(given)


def state_folder(settings: Settings) -> StateFolder:
    """Where keys and credentials are kept."""
    from ..protocol.access import StateFolder

    given = settings["state"]
    return StateFolder.default() if given is None else StateFolder(given.absolute())


def target(settings: Settings) -> Target:
    """The coordinator that the settings name, and the token for it.

    Raises:
        click.UsageError: the address is none, or a token stands in a flag.
        TokenDamaged: the token is damaged.
        TokenRefused: the token's file cannot be read.
        InsecureFolder: others can read it.
    """
    from ..client.remote import Target

    found = settings.resolve("coordinator")
    if found.value is None:
        line = line_in(settings)
        assert line is not None
        return Target(address_of(line.partition("#")[0]), token_of(settings))
    refuse_token_in_flag(settings)
    address = address_of(found.value)
    token = token_of(settings) or address.token
    if token is None and address.path is None:
        token = asked_token(address)
    return Target(attrs.evolve(address, token=None), token)


def refuse_token_in_flag(settings: Settings) -> None:
    """Raises click.UsageError where a token stands in a flag."""
    found = settings.resolve("coordinator")
    if found.source.startswith("--") and "#" in found.value:
        raise click.UsageError(
            "a token in a flag is shown to everybody by ps: put it in a file and give it with "
            "--token-file, or put the whole address in AMPACITY_COORDINATOR"
        )


def address_of(text: str) -> Any:
    """An address from a setting.

    Raises:
        click.UsageError: it is none.
    """
    from ..protocol.addresses import parse_address

    try:
        return parse_address(text)
    except ValueError as e:
        raise click.UsageError(f"the coordinator's address: {e}") from None


def line_in(settings: Settings) -> str | None:
    """``host:8786#TOKEN``, where the token's file or variable holds all of that.

    Raises:
        TokenRefused: the file cannot be read.
    """
    path: Path | None = settings["token_file"]
    text = settings["token"] if path is None else _read(path)
    return text.strip() if text is not None and "#" in text else None


def asked_token(address: Address) -> Token | None:
    """The token that somebody at the terminal gives; None where nobody is there.

    Raises:
        TokenDamaged: it is none.
    """
    from ..protocol.tokens import parse_token

    text = asked(f"the token for {address}")
    return None if text is None else parse_token(_last(text))


def asked(what: str) -> str | None:
    """What somebody at the terminal gives, and nobody sees; None where nobody is there."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    text: str = click.prompt(f"{harmless(what)} (is not shown)", hide_input=True, err=True)
    return text.strip()


@cache
def _standard_input() -> str:
    """The first line there, or what is typed, unseen. It is there once."""
    if sys.stdin.isatty():
        return asked("the token") or ""
    return sys.stdin.buffer.readline(_LINE_BYTES).decode(errors="replace")


def _read(path: Path) -> str:
    from ..protocol.privacy import read_token_file

    if str(path) == "-":
        return _standard_input()
    try:
        return read_token_file(path)
    except OSError as e:
        raise TokenRefused(f"the token file {path} cannot be read: {e.strerror}") from None


def token_of(settings: Settings) -> Token | None:
    """The token that the settings give: itself, or in a file.

    Raises:
        TokenDamaged, TokenRefused: as ``target``.
    """
    from ..protocol.tokens import parse_token

    path: Path | None = settings["token_file"]
    if path is None:
        return None if settings["token"] is None else parse_token(_last(settings["token"]))
    text = _read(path)
    try:
        return parse_token(_last(text))
    except TokenDamaged as e:
        raise TokenDamaged(f"{path}: {e}") from None


def _last(text: str) -> str:
    """A token, from a text that may be the whole line with an address."""
    return text.strip().rpartition("#")[2]


def place_of(settings: Settings) -> str:
    """Where the coordinator is that a command would use, as people read it.

    Raises:
        click.UsageError, TokenDamaged, TokenRefused: as ``target``.
    """
    return _way(settings, False, None).place
