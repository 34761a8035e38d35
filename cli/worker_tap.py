"""``twist ampacity-worker``: the service of ``ampacity join``."""

from __future__ import annotations

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from ..protocol.steady import make_steady
from .secrecy import forget_tokens, keep_memory_private
from .supervisor import Supervisor
from .twisting import (
    SettingsOptions,
    end_in_order,
    end_well_at_sigterm,
    end_with,
    log_harmlessly,
    settings_of,
    told_by_exit,
)

_KEYS = (
    *("coordinator", "token_file", "slots", "name"),
    *("python", "setup", "grace", "lifetime", "state", "user"),
)


class Options(SettingsOptions):
    """The options of ``ampacity join``, from the same table."""

    from_table = _KEYS
    optParameters = SettingsOptions.rows(*_KEYS)  # noqa: N815  # Twisted's name


def makeService(options: usage.Options) -> IService:
    """The agent of this machine."""
    from twisted.internet import reactor

    from .hosting import destination, make_agent, tell_of_agent

    settings = settings_of(options, _KEYS)
    log_harmlessly(options)
    with told_by_exit():
        to = destination(settings, None)
        make_steady(reactor)
        forget_tokens()
        keep_memory_private()
        agent, folder = make_agent(reactor, settings, to)
    end_well_at_sigterm(reactor)
    reactor.addSystemEventTrigger("after", "shutdown", folder.remove)
    log = Logger()
    supervisor = Supervisor.of_environment(reactor)
    tell_of_agent(supervisor, agent, str(to.address))
    reactor.addSystemEventTrigger("before", "shutdown", supervisor.stopping)

    def failed(failure: Failure) -> None:
        log.error("the worker cannot go on: {why}", why=failure.getErrorMessage())
        end_with(reactor, failure)

    agent.done.addCallbacks(lambda _: end_in_order(reactor), failed)
    return agent
