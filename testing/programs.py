"""The reactor that a pool of the kit lives on: virtual, and quick to do what is asked of it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from ..client.engine import Engine, MakeLink
from ..client.session import Session
from .timeline import Call, Machine, Process


class ProgramReactor(Process):
    """As much of a reactor as a pool needs, over virtual time; it has no sockets and no threads."""

    running = False
    """No thread is the wrong one."""

    def callWhenRunning(self, function: Callable[..., Any], *args: Any, **kw: Any) -> None:
        self.callLater(0, function, *args, **kw)

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kw: Any) -> None:
        function(*args, **kw)

    def addSystemEventTrigger(self, *args: Any, **kw: Any) -> object:
        """It never stops."""
        return object()

    def removeSystemEventTrigger(self, trigger: object) -> None:
        """There is none."""

    def getThreadPool(self) -> ProgramReactor:
        return self

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], Any], function: Callable[..., Any], *args: Any, **kw: Any
    ) -> None:
        """What would be done in a thread is done at once."""
        try:
            result = function(*args, **kw)
        except Exception:  # noqa: BLE001  # told as a failure, as threads do
            done(False, Failure())
        else:
            done(True, result)


class PromptReactor(ProgramReactor):
    """One that does at once what is asked for from outside of it, with all that follows."""

    def __init__(self, machine: Machine, name: str, follow: Callable[[], object]) -> None:
        """``follow`` lets happen what follows."""
        super().__init__(machine, name)
        self._follow = follow

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002 -- as in IReactorTime
        *args: object,
        **kw: object,
    ) -> IDelayedCall:
        if delay > 0 or self.timeline.running:
            return super().callLater(delay, callable, *args, **kw)
        call = Call(self, self.timeline.now, callable, args, kw)
        call.run()
        self._follow()
        return call


class KitEngine(Engine):
    """That of a pool of the kit; ``ground`` is what the pool stands on."""

    def __init__(self, make_link: MakeLink, reactor: ProgramReactor, ground: Any) -> None:
        super().__init__(make_link, reactor)
        self.ground = ground


def at_once(session: Session, owner: object) -> None:
    """Have a session do without threads, and what it has spooled removed with its owner."""
    session.spool._defer_to_thread = _no_thread  # it then holds on to no reactor, and no owner
    weakref.finalize(owner, session.spool.close)


def _no_thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(function, *arguments)
