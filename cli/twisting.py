"""What both plugins of ``twist`` need: options from the table of settings."""

from __future__ import annotations

from typing import Any, ClassVar

import click
from twisted.internet.error import ReactorNotRunning
from twisted.python import usage

from .settings import Settings, twist_parameters


class SettingsOptions(usage.Options):
    """Options whose names, help texts and values are those of the settings."""

    from_table: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def rows(*keys: str) -> list[list[Any]]:
        """``optParameters``."""
        return twist_parameters(*keys)

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
    return Settings({key: value for key, value in given.items() if value not in (None, [])})


def stop_with(reactor: Any) -> None:
    """Stop the reactor, if it runs."""
    try:
        reactor.stop()
    except ReactorNotRunning:
        reactor.callWhenRunning(reactor.stop)
