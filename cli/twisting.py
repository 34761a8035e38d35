"""What both plugins of ``twist`` need: options from the table of settings."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import click
from twisted.internet.error import ReactorNotRunning
from twisted.logger import textFileLogObserver
from twisted.python import usage
from twisted.python.failure import Failure

from ..protocol.errors import AmpacityError
from .failures import exit_code
from .logs import harmless_text_log
from .settings import BY_KEY, Settings, twist_parameters


class SettingsOptions(usage.Options):
    """Options whose names, help texts and values are those of the settings."""

    from_table: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def rows(*keys: str) -> list[list[Any]]:
        """``optParameters``."""
        return twist_parameters(*keys)

    @staticmethod
    def flags(*keys: str) -> list[list[Any]]:
        """``optFlags``."""
        return [[BY_KEY[key].name, None, BY_KEY[key].help] for key in keys]

    def postOptions(self) -> None:
        """Have every value read, so that a mistake is told as one of usage."""
        settings = settings_of(self, self.from_table)
        try:
            for key in self.from_table:
                settings.resolve(key)
        except click.UsageError as e:
            raise usage.UsageError(e.message) from None


def settings_of(options: Any, keys: tuple[str, ...]) -> Settings:
    """The settings with these options as flags."""
    given = {key: options.get(key.replace("_", "-"), options.get(key)) for key in keys}
    # Twisted's flags are 1, or 0 where they are not given
    return Settings({key: value for key, value in given.items() if value not in (None, [], 0)})


@contextlib.contextmanager
def told_by_exit() -> Iterator[None]:
    """A mistake in what was given ends the process with its words, before the reactor runs."""
    try:
        yield
    except (AmpacityError, click.UsageError) as e:
        raise SystemExit(f"ampacity: {getattr(e, 'message', e)}") from None


def log_harmlessly(options: usage.Options) -> None:
    """Have twist's log show what values hold, where it would write that as it is: as text.

    Call this before twist begins to log, when it makes the service.
    """
    given = getattr(options, "parent", None) or {}
    if given.get("fileLogObserverFactory") is textFileLogObserver:
        given["fileLogObserverFactory"] = harmless_text_log


def stop_with(reactor: Any) -> None:
    """Stop the reactor, if it runs."""
    try:
        reactor.stop()
    except ReactorNotRunning:
        reactor.callWhenRunning(reactor.stop)


def end_in_order(reactor: Any) -> None:
    """Stop the reactor, if that has not been asked for already."""
    with contextlib.suppress(ReactorNotRunning):
        reactor.stop()


def end_with(reactor: Any, failure: Failure) -> None:
    """Stop the reactor, and end the process with what tells the failure: twist itself ends with 0.

    Whoever supervises a service starts it again after a failure only.
    """
    assert failure.value is not None
    stop_with(reactor)
    atexit.register(_exit, exit_code(failure.value))


def _exit(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def end_well_at_sigterm(reactor: Any) -> None:
    """SIGTERM ends a service in order, and so with 0; twist would die of the signal after that."""

    def ended(number: int, frame: object) -> None:
        reactor.callFromThread(stop_with, reactor)

    # once the reactor runs, it has set its own
    reactor.callWhenRunning(signal.signal, signal.SIGTERM, ended)
