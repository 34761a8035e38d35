"""``twist ampacity-coordinator``: the service of ``ampacity coordinator``."""

from __future__ import annotations

from pathlib import Path

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from ..protocol.steady import make_steady
from .secrecy import forget_tokens, keep_memory_private
from .settings import Settings
from .supervisor import Supervisor
from .twisting import (
    SettingsOptions,
    end_well_at_sigterm,
    end_with,
    log_harmlessly,
    settings_of,
    stop_with,
    told_by_exit,
)

_KEYS = ("slots", "advertise", "python", "setup", "name", "access", "state")
_FLAGS = ("ephemeral",)


class Options(SettingsOptions):
    """The options of ``ampacity coordinator``, from the same table."""

    from_table = (*_KEYS, *_FLAGS)
    optParameters = [  # noqa: N815, RUF012  # Twisted's name, read only
        *SettingsOptions.rows(*_KEYS),
        ["tokens", None, None, "Leave worker/token and client/token in this folder."],
    ]
    optFlags = SettingsOptions.flags(*_FLAGS)  # noqa: N815  # as above

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's own is untyped
        self["listen"] = []

    def opt_listen(self, endpoint: str) -> None:
        """Where to listen for others: tcp:8786. May be given several times."""
        self["listen"].append(endpoint)


def makeService(options: usage.Options) -> IService:
    """The coordinator. Lines to join with go to files: what is printed under twist is logged."""
    from twisted.internet import reactor

    from .hosting import Host

    settings: Settings = settings_of(options, (*_KEYS, *_FLAGS, "listen"))
    log_harmlessly(options)
    make_steady(reactor)
    forget_tokens()
    keep_memory_private()
    with told_by_exit():
        host = Host(reactor, settings, settings["slots"] or 0)
    end_well_at_sigterm(reactor)
    log = Logger()
    supervisor = Supervisor.of_environment(reactor)

    async def ready() -> None:
        await host.ready
        supervisor.ready(f"listens at {', '.join(host.listening)}")
        log.info("the coordinator is ready: {where}", where=", ".join(host.listening))
        if options["tokens"] is not None:
            await host.hand_out_tokens(Path(options["tokens"]))

    def failed(failure: Failure) -> None:
        log.error("the coordinator ends: {why}", why=failure.getErrorMessage())
        end_with(reactor, failure)

    reactor.addSystemEventTrigger("before", "shutdown", supervisor.stopping)
    Deferred.fromCoroutine(ready()).addErrback(failed)
    host.stopped.addCallbacks(lambda _: stop_with(reactor), failed)
    return host
