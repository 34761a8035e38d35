"""``twist ampacity-worker``: the service of ``ampacity join``."""

from __future__ import annotations

import click
from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from ..protocol.errors import AmpacityError
from .twisting import SettingsOptions, settings_of, stop_with

_KEYS = ("coordinator", "token_file", "slots", "name", "python", "setup", "grace", "state")


class Options(SettingsOptions):
    """The options of ``ampacity join``, from the same table."""

    from_table = _KEYS
    optParameters = SettingsOptions.rows(*_KEYS)  # noqa: N815  # Twisted's name


def makeService(options: usage.Options) -> IService:
    """The agent of this machine."""
    from twisted.internet import reactor

    from .hosting import destination, forget_tokens, make_agent

    settings = settings_of(options, _KEYS)
    try:
        to = destination(settings, None)
    except (AmpacityError, click.UsageError) as e:
        raise SystemExit(f"ampacity: {getattr(e, 'message', e)}") from None
    forget_tokens()
    agent, _folder = make_agent(reactor, settings, to)
    log = Logger()

    def failed(failure: Failure) -> None:
        log.error("the worker cannot go on: {why}", why=failure.getErrorMessage())
        stop_with(reactor)

    agent.done.addErrback(failed)
    return agent
