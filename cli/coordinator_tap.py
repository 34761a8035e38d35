"""``twist ampacity-coordinator``: the service of ``ampacity coordinator``."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from .settings import Settings
from .twisting import SettingsOptions, settings_of, stop_with

_KEYS = ("slots", "advertise", "python", "setup", "name", "access", "state")


class Options(SettingsOptions):
    """The options of ``ampacity coordinator``, from the same table."""

    from_table = _KEYS
    optParameters = SettingsOptions.rows(*_KEYS)  # noqa: N815  # Twisted's name

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's own is untyped
        self["listen"] = []

    def opt_listen(self, endpoint: str) -> None:
        """Where to listen for others: tcp:8786. May be given several times."""
        self["listen"].append(endpoint)


def makeService(options: usage.Options) -> IService:
    """The coordinator; tokens are printed when it is ready."""
    from twisted.internet import reactor

    from .hosting import Host, forget_tokens
    from .readiness import show_coordinator

    settings: Settings = settings_of(options, (*_KEYS, "listen"))
    forget_tokens()
    host = Host(reactor, settings, settings["slots"] or 0)
    log = Logger()

    def ready(_: Any) -> None:
        show_coordinator(host.facts())

    def failed(failure: Failure) -> None:
        log.error("the coordinator cannot start: {why}", why=failure.getErrorMessage())
        stop_with(reactor)

    host.ready.addCallbacks(ready, failed)
    host.stopped.addCallback(lambda _: stop_with(reactor))
    return host
