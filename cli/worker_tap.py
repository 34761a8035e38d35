"""``twist ampacity-worker``: the service of ``ampacity join``."""

from __future__ import annotations

from shutil import rmtree

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from .twisting import SettingsOptions, end_well_at_sigterm, settings_of, stop_with, told_by_exit

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
    with told_by_exit():
        to = destination(settings, None)
        forget_tokens()
        agent, folder = make_agent(reactor, settings, to)
    end_well_at_sigterm(reactor)
    reactor.addSystemEventTrigger("after", "shutdown", rmtree, folder, True)
    log = Logger()

    def failed(failure: Failure) -> None:
        log.error("the worker cannot go on: {why}", why=failure.getErrorMessage())
        stop_with(reactor)

    agent.done.addErrback(failed)
    return agent
