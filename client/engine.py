"""A pool's life: its reactor, its session, and the link to a coordinator, from first use on."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any, Protocol
from weakref import WeakSet

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python import threadable
from twisted.python.failure import Failure

from ..protocol.errors import JobCancelled, PoolClosed, WrongThread
from ..protocol.jobs import BlobRef
from .awaiting import error_in
from .group import Group
from .session import Session
from .spool import threads_of

FLUSH_SECONDS = 5.0
"""For which the close of a pool waits at least until a coordinator has accepted its jobs."""


class Link(Protocol):
    """What brings a session together with its coordinator."""

    local: bool
    """Whether the coordinator ends with the pool, and its jobs with it."""

    on_given_up: Callable[[Failure], object] | None
    """Called when a connection is lost for good; ``open`` may be called again."""

    def open(self, session: Session) -> Deferred[None]:
        """Fires when the session is connected for the first time; it then may come and go."""

    def close(self) -> Deferred[None]: ...


MakeLink = Callable[[Any], Link]


class Engine:
    """What all views of a pool share."""

    _log = Logger()

    def __init__(self, make_link: MakeLink, reactor: Any = None) -> None:
        self.reactor = reactor
        self.ships: tuple[tuple[BlobRef, bytes], ...] = ()
        self.groups: WeakSet[Group[Any]] = WeakSet()
        self._make_link = make_link
        self._link: Link | None = None
        self._session: Session | None = None
        self._opening: Deferred[None] | None = None
        self._open = False
        self._failed: Failure | None = None
        self._readers: list[Deferred[None]] = []
        self._closing: Deferred[None] | None = None
        self._quiet: Deferred[None] | None = None
        """Fires when the jobs need no more time, or get no more."""
        self._bounds: list[IDelayedCall] = []
        self._trigger: Any = None

    @property
    def closed(self) -> bool:
        """Whether no more jobs are taken."""
        return self._closing is not None

    @property
    def failed(self) -> bool:
        """Whether nobody is asked any more, until the next use tries it anew."""
        return self._failed is not None

    # -- use --------------------------------------------------------------------------------------

    def session(self) -> Session:
        """The session, begun by its first use.

        Raises:
            PoolClosed: it is closed.
            WrongThread: the reactor runs in another thread.
        """
        if self._closing is not None:
            raise PoolClosed
        session = self._session
        if session is None:
            session = self._start()
        elif threadable.ioThread != get_ident():
            self.check_thread()
        if self._failed is not None:
            self._begin_opening()
        return session

    def _start(self) -> Session:
        if self.reactor is None:
            # whichever reactor is installed by now; importing it installs the default one
            from twisted.internet import reactor

            self.reactor = reactor
        self.check_thread()
        self._session = Session(self.reactor, threads_of(self.reactor))
        self._trigger = self.reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        self._begin_opening()
        return self._session

    def check_thread(self) -> None:
        """Raises WrongThread: the reactor runs in another thread."""
        if self.reactor.running and not threadable.isInIOThread():
            raise WrongThread(
                "this pool belongs to the thread of its reactor; elsewhere, use "
                "reactor.callFromThread, or ampacity.blocking.Pool"
            )

    # -- opening ----------------------------------------------------------------------------------

    def _begin_opening(self) -> None:
        self._failed = None
        if self._session is not None:
            self._session.requests.try_again()
        self.reactor.callWhenRunning(self._do_open)

    def _do_open(self) -> None:
        session = self._session
        if self._closing is not None or session is None:
            return
        self._opening = opening = maybeDeferred(self._open_link, session)
        opening.addCallbacks(self._opened, self._not_opened)

    def _open_link(self, session: Session) -> Deferred[None]:
        if self._link is None:
            self._link = self._make_link(self.reactor)
            self._link.on_given_up = self._not_opened
        return self._link.open(session)

    def _opened(self, _: None) -> None:
        self._opening, self._open = None, True
        self._tell_ready(None)

    def _not_opened(self, failure: Failure) -> None:
        self._opening, self._open = None, False
        if self._closing is not None or self._session is None:
            return
        self._failed = failure
        self._session.fail_all(error_in(failure))
        self._tell_ready(failure)

    def ready(self) -> Deferred[None]:
        """Fires when jobs can run, or be handed in; fails with the reason why they cannot."""
        waiter: Deferred[None] = Deferred()
        self._readers.append(waiter)  # before the start, which may fail at once
        try:
            self.session()
        except BaseException:
            self._readers.remove(waiter)
            raise
        if self._open:
            self._tell_ready(None)
        return waiter

    def _tell_ready(self, result: Failure | None) -> None:
        readers, self._readers = self._readers, []
        for waiter in readers:
            if waiter.called:
                continue
            if result is None:
                waiter.callback(None)
            else:
                waiter.errback(result)

    # -- closing ----------------------------------------------------------------------------------

    def close(self, grace: float | None) -> Deferred[None]:
        """Take no more jobs; give those that were taken ``grace`` seconds (None: all they need).

        Said again, it gives them no more than that from now on.
        """
        if self._closing is None:
            self._closing = Deferred()
            Deferred.fromCoroutine(self._close(grace)).addBoth(self._closed)
        elif self._quiet is not None and grace is not None:
            self._bounds.append(self.reactor.callLater(grace, _fire, self._quiet))
        waiter: Deferred[None] = Deferred()
        self._closing.addCallback(lambda _: None if waiter.called else waiter.callback(None))
        return waiter

    def _closed(self, result: Failure | None) -> None:
        if isinstance(result, Failure):
            self._log.failure("a pool could not be closed in order", result)
        assert self._closing is not None
        self._closing.callback(None)

    def _stop(self) -> Deferred[None]:
        """The reactor stops."""
        self._trigger = None
        return self.close(0.0)

    async def _close(self, grace: float | None) -> None:
        session = self._session
        if session is None:
            return
        if self._trigger is not None:
            self.reactor.removeSystemEventTrigger(self._trigger)
        if self._failed is None:
            await self._wait_for_jobs(session, grace)
        self._tell_ready(Failure(PoolClosed()))
        for group in [*self.groups]:
            group.stop()
        session.end_all(self._why(), self._why_not_accepted())
        if self._opening is not None:
            self._opening.cancel()
        if self._link is not None:
            await self._link.close()
        await session.close()

    async def _wait_for_jobs(self, session: Session, grace: float | None) -> None:
        local = self._link is None or self._link.local
        if grace != 0:
            for group in [*self.groups]:
                group.submitted().addErrback(lambda _: None)
        elif local:
            return
        quiet = self._quiet = session.when_quiet(results=local)
        seconds = grace if local or grace is None else max(grace, FLUSH_SECONDS)
        if seconds is not None:
            self._bounds.append(self.reactor.callLater(seconds, _fire, quiet))
        try:
            await quiet
        finally:
            self._quiet = None
            for bound in self._bounds:
                if bound.active():
                    bound.cancel()

    def _why(self) -> Exception:
        if self._link is None or self._link.local:
            return JobCancelled("the pool was closed before the job ended")
        return PoolClosed("the pool was closed before the result arrived; the job goes on")

    def _why_not_accepted(self) -> Exception:
        if self._link is None or self._link.local:
            return self._why()
        return PoolClosed("the pool was closed before the coordinator had said that it has the job")


def _fire(waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)
