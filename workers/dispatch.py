"""Which child gets which of the waiting attempts.

A child that is busy with what is short is given the next before it is free, so that it need not
wait for the agent between two jobs. That costs nobody a turn: where nothing waits and a child comes
to be free, it shares what another was given and has not begun.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .crew import Crew
from .errands import TELL_AFTER, TELL_LATE
from .held import Context, Held, State
from .process import Child
from .waiting import AHEAD_LONGEST, ENOUGH, SWITCH_AFTER, WORTHWHILE, Waiting


class Dispatch:
    """Gives batches to free children, and to those that are about to be free.

    A child of the attempt's context is taken first, then one of none; an idle child of another
    context is replaced, at once where nothing else wants it, and after ``SWITCH_AFTER`` in any
    case, so that one busy context does not keep out the others.
    """

    def __init__(
        self, reactor: Any, crew: Crew, waiting: Waiting, given: Callable[[list[Held]], None]
    ) -> None:
        self._reactor = reactor
        self._crew = crew
        self._waiting = waiting
        self._given = given
        self._timer: Any = None
        self._stopped = False
        self._held_back = False
        self._shared: Child | None = None

    def hold_back(self, held_back: bool) -> None:
        """Give nothing until it is allowed again."""
        self._held_back = held_back
        self.arm()

    def arm(self) -> None:
        """There may be something to give: look at the end of this turn."""
        idle = self._timer is None and not self._stopped and not self._held_back
        if idle and len(self._waiting):
            self._timer = self._reactor.callLater(0, self._run)

    def now(self) -> None:
        """There may be something to give: at once, but once a turn; what comes after that in the
        same turn is given together, at its end."""
        idle = self._timer is None and not self._stopped and not self._held_back
        if idle and (len(self._waiting) or self._share()):
            self._run()
            self._timer = self._reactor.callLater(0, self._run)

    def _share(self) -> bool:
        """Nothing waits. If a child is free, what the most laden one was given and has not begun
        waits again, where that is worth it, and is shared by the two."""
        loaded = [child for child in self._crew.children() if child.laden]
        free = {child.context for child in self._crew.children() if loaded and child.free}
        most, laden = WORTHWHILE, None
        for child in loaded if free else []:
            if child.context in free or None in free:
                count, last = child.behind()
                seconds = count * self._waiting.cost(last) if count else 0.0
                if seconds >= most:
                    most, laden = seconds, child
        taken = laden.take_back() if laden is not None else []
        if taken:
            self._waiting.put_back(taken)
            self._shared = laden
        return bool(taken)

    def pause(self, context: Context | None) -> float:
        """Seconds that may lie between two reports of jobs of this context: some, while enough
        waits for its children; otherwise the coordinator shall know at once that there is room."""
        if context is None or not len(self._waiting):
            return 0.0
        children = sum(child.context == context for child in self._crew.children())
        enough = self._waiting.behind(context, max(1, children)) >= ENOUGH
        return TELL_LATE if enough else 0.0

    def stop(self) -> None:
        """Give nothing any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        if self._held_back or not (len(self._waiting) or self._share()):
            return
        free = [child for child in self._crew.children() if child.free]
        late = self._reactor.seconds() - SWITCH_AFTER
        for context in self._waiting.contexts():
            fitting = [child for child in free if child.context in (context, None)]
            if not fitting and free and self._waiting.since(context) < late:
                self._switch(free, 1)
            fitting.sort(key=lambda child: child.context is None)
            self._give_to(fitting, context, free)
        for context in self._waiting.contexts():
            self._switch(free, self._waiting.waiting_in(context))
        if len(self._waiting):
            self._give_ahead()

    def _give_to(self, fitting: list[Child], context: Context, free: list[Child]) -> None:
        shared, self._shared = self._shared, None
        more = shared is not None and shared.context == context
        for place, child in enumerate(fitting):
            if not self._waiting.waiting_in(context):
                return
            free.remove(child)
            self._give(child, *self._waiting.take(context, len(fitting) - place + more))

    def _give_ahead(self) -> None:
        """Have the next batch ready in children whose present one is short, as is the next.

        Not while a context waits that has no child: these must come to be free for it.
        """
        children = list(self._crew.children())
        served = {child.context for child in children}
        if not served.issuperset(self._waiting.contexts()):
            return
        busy = [child for child in children if child.busy and child.expected <= AHEAD_LONGEST]
        sharing = len(busy)
        for child in busy:
            if child.has_room:
                assert child.context is not None
                batch, seconds = self._waiting.take_ahead(child.context, sharing)
                sharing -= 1
                if batch:
                    self._give(child, batch, seconds)

    def _give(self, child: Child, batch: list[Held], seconds: float) -> None:
        for held in batch:
            held.state = State.GIVEN
        child.expected = seconds
        child.give(batch, self.pause(batch[0].plan.context) or TELL_AFTER)
        self._given(batch)

    def _switch(self, free: list[Child], wanted: int) -> None:
        """Replace idle children of other contexts."""
        for child in free[: max(0, wanted - self._crew.coming())]:
            free.remove(child)
            self._crew.replace(child)
