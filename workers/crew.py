"""The children of a pool: one a slot, replaced when they end, with back-off where they cannot."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.errors import CannotStart
from .guard import Guard
from .held import Held
from .launch import ChildOptions
from .process import Child, ChildOwner

TRIES = 3
"""Children in a row that die at their start, before the pool says that none can be started."""
FIRST_DELAY = 0.1
LONGEST_DELAY = 10.0
STOP_GRACE = 1.0
"""Seconds that an idle child has to end by itself."""

_NO_ROOM = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


class CrewOwner(ChildOwner, Protocol):
    """Who is told of the children."""

    def child_ready(self, child: Child) -> None:
        """It takes jobs."""

    def cannot_start(self, error: CannotStart) -> None:
        """No child is there and none can be started."""


@attrs.define(eq=False)
class _Place:
    """One slot: its child, and the one that is being started to follow it."""

    child: Child | None = None
    coming: Child | None = None
    timer: Any = None


class Crew:
    """Keeps each slot staffed."""

    _log = Logger()

    def __init__(
        self, reactor: Any, slots: int, options: ChildOptions, guard: Guard, owner: CrewOwner
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._guard = guard
        self._owner = owner
        self._places = [_Place() for _ in range(slots)]
        self._numbers = itertools.count(1)
        self._failures = 0
        self._stopped = False
        self._first: Deferred[None] | None = None
        self._leaving: set[Child] = set()
        self.broken: CannotStart | None = None
        """Why no child can be started, after the last tries."""

    def start(self) -> Deferred[None]:
        """Start all children; fires when the first one takes jobs. Fails with ``CannotStart``."""
        first = self._first = Deferred()
        for place in self._places:
            self._fill(place)
        return first

    def children(self) -> Iterator[Child]:
        """Those that take jobs, or are ending."""
        return (place.child for place in self._places if place.child is not None)

    def pause_of(self, held: Held) -> Callable[[int, bool], None]:
        """What pauses a stream (1 or 2) of the child that has this job, and resumes just that."""
        paused_in: dict[int, Child] = {}

        def pause(stream: int, paused: bool) -> None:
            if not paused:
                child = paused_in.pop(stream, None)
            else:
                child = next((child for child in self.children() if child.has({held})), None)
                if child is not None:
                    paused_in[stream] = child
            if child is not None:
                child.pause(stream, paused)

        return pause

    def coming(self) -> int:
        """How many are being started."""
        return sum(place.coming is not None or place.timer is not None for place in self._places)

    def wake(self) -> None:
        """There are jobs: try again, where it was given up."""
        if self.broken is not None and not self.coming():
            for place in self._places:
                if place.child is None:
                    self._fill(place)

    def replace(self, child: Child) -> None:
        """Start another one in its place, and stop it when that is ready."""
        child.retire = child.retire or "it is being replaced"
        for place in self._places:
            if place.child is child:
                self._fill(place)

    def gone(self, child: Child) -> None:
        """A child has ended: another one takes its place."""
        self._guard.remove(child.pid)
        self._leaving.discard(child)
        for place in self._places:
            if place.child is child:
                place.child = None
                self._fill(place)

    def _fill(self, place: _Place) -> None:
        place.timer = None
        if self._stopped or place.coming is not None:
            return
        child = place.coming = Child(self._reactor, self._options, next(self._numbers), self._owner)
        child.start().addCallbacks(
            lambda _: self._ready(place, child), lambda failure: self._failed(place, failure)
        )

    def _ready(self, place: _Place, child: Child) -> None:
        place.coming = None
        self._failures = 0
        self.broken = None
        before, place.child = place.child, child
        if before is not None:
            self.dismiss(before)
        if self._stopped:
            self.dismiss(child)
            return
        first, self._first = self._first, None
        if first is not None:
            first.callback(None)
        self._owner.child_ready(child)

    def dismiss(self, child: Child) -> None:
        """Stop an idle child."""
        if not child.gone:
            self._leaving.add(child)
            child.stop(STOP_GRACE)

    def _failed(self, place: _Place, failure: Failure) -> None:
        place.coming = None
        if self._stopped:
            return
        error: BaseException = failure.value  # type: ignore[assignment]  # it always has one
        self._failures += 1
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (self._failures - 1))
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            self._log.warn("no room for a child, trying again: {error}", error=error)
        elif self._give_up(error):
            return
        else:
            self._log.warn("a child did not start: {error}", error=error)
        place.timer = self._reactor.callLater(delay, self._fill, place)

    def _give_up(self, error: BaseException) -> bool:
        """Whether there is no sense in trying again; told to the owner once."""
        final = isinstance(error, OSError)
        if not final and self._failures < TRIES and self.broken is None:
            return False
        if any(self.children()):
            return False
        if any(place.coming is not None for place in self._places):
            return True
        for place in self._places:
            if place.timer is not None:
                place.timer.cancel()
                place.timer = None
        if final:
            error = CannotStart(f"{self._options.python} cannot be run: {error}")
        elif not isinstance(error, CannotStart):
            error = CannotStart(f"no child can be started: {error!r}")
        self.broken = error
        self._owner.cannot_start(error)
        first, self._first = self._first, None
        if first is not None:
            first.errback(error)
        return True

    def close(self) -> None:
        """Start no more children."""
        self._stopped = True
        for place in self._places:
            if place.timer is not None:
                place.timer.cancel()
                place.timer = None

    def all(self) -> set[Child]:
        """Every child with a process."""
        found = set(self._leaving)
        for place in self._places:
            found.update(c for c in (place.child, place.coming) if c is not None and not c.gone)
        return found

    def when_all_gone(self) -> Deferred[Any]:
        """Fires when no child is left."""
        return DeferredList([child.when_gone() for child in self.all()])
