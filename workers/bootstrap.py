"""How a child begins: what ``python -c`` is given, and what it calls.

The text runs on whatever interpreter ``--python`` names, so it is plain enough for old ones, and
says in words when ampacity is not there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from typing import Any

NOT_INSTALLED = 78
"""The exit code of a child whose interpreter cannot import ampacity (EX_CONFIG)."""

BOOTSTRAP = f"""\
import os, sys
if sys.path and sys.path[0] == "":
    del sys.path[0]
try:
    os.setsid()
except OSError:
    pass
try:
    from ampacity.workers.bootstrap import run
except Exception:
    import traceback
    traceback.print_exc()
    sys.stderr.flush()
    os._exit({NOT_INSTALLED})
run(sys.argv)
"""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def run(argv: list[str]) -> None:
    """Be a child: ``argv`` ends in the agent's pid, the reactor's name and the protocol's."""
    agent, reactor_name, protocol_name = argv[-3:]
    sys.argv[:] = [""]
    for descriptor in (3, 4, 5, 6):
        os.set_inheritable(descriptor, False)
    _die_with(int(agent))

    from twisted.application import reactors

    reactors.installReactor(reactor_name)
    _silence_the_log()
    from twisted.internet import reactor, stdio
    from twisted.python.reflect import namedAny

    protocol = namedAny(protocol_name)(agent)
    endpoint: Any = stdio.StandardIO
    endpoint(protocol, 3, 4)
    running: Any = reactor
    running.run(installSignalHandlers=False)


def _die_with(agent: int) -> None:
    """Linux: be killed when the agent dies, and inherit what the jobs' processes leave behind."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != agent:
        os._exit(1)


def _silence_the_log() -> None:
    """Twisted's own log lines are not a job's output; errors alone go to stderr."""
    from twisted import logger

    observer: Any = logger.textFileLogObserver(sys.stderr)
    errors_only = logger.LogLevelFilterPredicate(defaultLogLevel=logger.LogLevel.critical)
    logger.globalLogBeginner.beginLoggingTo(
        [logger.FilteringLogObserver(observer, [errors_only])], redirectStandardIO=False
    )
