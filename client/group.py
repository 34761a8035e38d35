"""The jobs of one ``map``, as who called it holds them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from ..protocol.errors import StorageFull
from ..protocol.ids import GroupId, JobId, parse_group, show_group
from ..protocol.outcomes import Ending
from . import afterwards, found
from .awaiting import Answer, Eventual, answer
from .gathered import Gathered
from .reading import read
from .streams import Completed, Ordered
from .tallies import GroupTally

if TYPE_CHECKING:
    from .frames import Frame
    from .session import Session

T = TypeVar("T")

Errors = Literal["raise", "return", "cancel"]

IN_FLIGHT = 2048
"""Items that are submitted and not delivered to the program yet, unless it says otherwise."""

BYTES_IN_FLIGHT = 64 * 1024 * 1024


class Item:
    """One job of a group."""

    __slots__ = ("frame", "group", "id", "place", "size")

    def __init__(self, group: Group[Any], place: int, size: int = 0) -> None:
        self.group = group
        self.place = place
        self.size = size
        self.id: JobId | None = None
        self.frame: Frame | None = None

    def was_accepted(self, job: JobId) -> None:
        self.id = job
        self.group.item_accepted(job)

    def has_ended(self, ending: Ending, body: bytes) -> None:
        self.group.item_ended(self, (self.id, ending, body))

    def has_failed(self, error: Exception) -> None:
        self.group.item_ended(self, error)


End = tuple[JobId | None, Ending, bytes] | Exception
"""How an item ended, not read yet; or why it has no outcome."""


class Group(Eventual[list[T]]):
    """``await`` gives the results in order; ``async for`` streams them in order, ``as_completed``
    as they end. One of the three, once; the list can be awaited again.

    Items are pulled from the input while fewer than ``in_flight`` are submitted and not delivered
    to the program. Leaving a stream early ends what has not begun.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        errors: Errors = "raise",
        in_flight: int = IN_FLIGHT,
        plain: bool = False,
    ) -> None:
        """``plain``: nothing that arrives is unpickled."""
        self.name = name
        self._plain = plain
        self._session = session
        self._errors = errors
        self._in_flight = in_flight
        self.tally = GroupTally(session.new_group_number())
        self._items: dict[int, Item] = {}
        self._bytes = 0
        self._ends: dict[int, End] = {}
        self._count = 0
        self._whole = False
        self._broken: Failure | None = None
        self._stopped = False
        self._left = False
        self._unbounded = False
        self._reader: str | None = None
        self._room: Deferred[None] | None = None
        self._changed: Deferred[None] | None = None
        self._accepting: list[Deferred[str]] = []
        self._gathered: Gathered[T] | None = None
        self.when_read: Callable[[], object] | None = None
        """Called once, before it is read for the first time: it is a group that was found."""
        self._finding = False
        self.pulling: Deferred[Any] | None = None
        """The wait for an asynchronous input's next item."""

    def __repr__(self) -> str:
        return f"<Group {self.id or 'not accepted yet'} ({self.name})>"

    # -- for the user -----------------------------------------------------------------------------

    @property
    def id(self) -> str | None:
        """As ``g3``; None until ``accepted()`` fires."""
        return None if self.tally.id is None else show_group(GroupId(self.tally.id))

    def accepted(self) -> Deferred[str]:
        """Fires with the group's id once its first jobs are accepted."""
        waiter: Answer[str] = Answer()
        if self.id is not None:
            waiter.callback(self.id)
        else:
            self._accepting.append(waiter)
        return waiter

    def submitted(self) -> Deferred[int]:
        """Take in all of the input, whether results are read or not; fires with the number of jobs
        once all are accepted."""
        self._unbounded = True
        self._find()
        self._let_in()
        return answer(Deferred.fromCoroutine(self._all_submitted()))

    async def _all_submitted(self) -> int:
        while not self._whole or self.tally.pending:
            await self.changed()
        return self._count

    def result(self) -> Deferred[list[T]]:
        """The results in order, as a Deferred; cancelling it cancels the group.

        Fails with ``JobsFailed``, after all have ended, if some did not succeed; with
        ``errors="return"``, exceptions stand in their places instead.
        """
        if self._gathered is None:
            self._begin_to_read("await")
            self._gathered = Gathered(self)
            for place, end in [*self._ends.items()]:
                self._gathered.add(place, end)
            self._ends.clear()
            self._unbounded = True
            self._let_in()
            self.look_if_gathered()
        return self._gathered.wait()

    def __aiter__(self) -> AsyncIterator[T]:
        self._begin_to_read("async for")
        return Ordered(self)

    def as_completed(self) -> AsyncIterator[T]:
        """The results as they end, in whatever order."""
        self._begin_to_read("as_completed")
        return Completed(self)

    def _begin_to_read(self, how: str) -> None:
        if self._reader is not None:
            raise RuntimeError(f"the results of {self!r} are read already, by {self._reader}")
        self._reader = how
        self._find()

    def _find(self) -> None:
        find, self.when_read = self.when_read, None
        if find is not None:
            self._finding = True
            find()

    @property
    def _was_found(self) -> bool:
        return self._finding or self.when_read is not None

    def cancel(self) -> Deferred[None]:
        """End all its jobs, and submit no more."""
        if self._was_found:  # more of them than those that were found by now
            return answer(Deferred.fromCoroutine(afterwards.cancel(self._session, self)))
        self.stop()
        states = [self._session.cancel(item) for item in [*self._items.values()]]
        return answer(DeferredList(states, consumeErrors=True).addCallback(_nothing))

    def retry_failed(self) -> Deferred[Group[T]]:
        """Run again what did not succeed of those that have ended, and give the group anew: its
        results are those of the new jobs in the places of the old."""
        return answer(Deferred.fromCoroutine(self._retry_failed()))

    async def _retry_failed(self) -> Group[T]:
        number = parse_group(await self.accepted())
        await afterwards.retry(self._session, show_group(number))
        return found.group(self._session, number, self.name, self._plain)

    def forget(self) -> Deferred[int]:
        """Have the coordinator give up those of its jobs that have ended; fires with how many."""
        return answer(Deferred.fromCoroutine(afterwards.forget(self._session, self)))

    # -- for what feeds it ------------------------------------------------------------------------

    def is_stopped(self) -> bool:
        """Whether no more items are wanted."""
        return self._stopped

    def has_room(self) -> bool:
        if self._bytes >= BYTES_IN_FLIGHT:
            return False
        undelivered = 0 if self._unbounded else len(self._ends)
        return len(self._items) + undelivered < self._in_flight

    def room(self) -> Deferred[None]:
        """Fires when more items may be submitted, or when no more are wanted."""
        self._room = Deferred()
        return self._room

    def add(self, size: int = 0) -> Item:
        """The next item; it is submitted by the caller."""
        item = self._items[self._count] = Item(self, self._count, size)
        self._count += 1
        self._bytes += size
        return item

    def refuse(self, error: Exception) -> None:
        """The next item cannot be submitted."""
        self.add().has_failed(error)

    def whole(self, broken: Failure | None = None) -> None:
        """The input is exhausted, or it raised."""
        self._whole, self._broken = True, self._broken or broken
        self.tally.close(self._session.requests)
        self._notify()
        self.look_if_gathered()

    def item_accepted(self, job: JobId) -> None:
        if self._accepting and self.id is not None:
            accepting, self._accepting = self._accepting, []
            for waiter in accepting:
                waiter.callback(self.id)
        if self._left:
            self._session.requests.cancel_queued([job])

    def item_ended(self, item: Item, end: End) -> None:
        del self._items[item.place]
        self._bytes -= item.size
        if isinstance(end, StorageFull) and self._broken is None:
            self._no_room(end)
        if self._gathered is not None:
            self._gathered.add(item.place, end)
        elif not self._left:
            self._ends[item.place] = end
        failed = isinstance(end, Exception) or end[1] is not Ending.SUCCEEDED
        if failed and self._errors == "cancel" and not self._stopped:
            self.cancel().addErrback(lambda _: None)
        self._let_in()
        self._notify()
        self.look_if_gathered()

    def _no_room(self, error: StorageFull) -> None:
        """What was accepted goes on, nothing more is submitted, and the reader is told at once."""
        count, known = self.tally.count, self.id
        kept = (
            f"{count} items were accepted, and go on as {known}" if known else "none was accepted"
        )
        again = "make room and map again; with options(key=...), what was accepted is not run twice"
        self._broken = Failure(StorageFull(f"{error} (of this map, {kept}; {again})"))
        self.stop()
        for item in [one for one in self._items.values() if one.id is None]:
            self._session.withdraw(item)
        if self._gathered is not None:
            self._gathered.input_ended(self._broken)

    @property
    def no_room(self) -> Failure | None:
        """The coordinator cannot store more: what was accepted is not waited for."""
        told = self._broken is not None and self._broken.check(StorageFull)
        return self._broken if told else None

    def _let_in(self) -> None:
        """Wake the feeding when a whole batch fits, not for each item."""
        if self._room is not None and (self._stopped or self._has_much_room()):
            room, self._room = self._room, None
            room.callback(None)

    def _has_much_room(self) -> bool:
        undelivered = 0 if self._unbounded else len(self._ends)
        outstanding = len(self._items) + undelivered
        return outstanding <= self._in_flight * 3 // 4 and self._bytes < BYTES_IN_FLIGHT

    def stop(self) -> None:
        self._stopped = True
        if self.pulling is not None:
            self.pulling.cancel()
        self._let_in()

    # -- for what reads it ------------------------------------------------------------------------

    def take(self, place: int) -> End | None:
        """How an item ended, once; None if it has not ended."""
        end = self._ends.pop(place, None)
        if end is not None:
            self._let_in()
        return end

    def take_any(self) -> tuple[int, End] | None:
        """The end of the item that has waited longest."""
        place = next(iter(self._ends), None)
        if place is None:
            return None
        end = self.take(place)
        assert end is not None
        return place, end

    def exhausted(self, taken: int) -> bool:
        """Whether ``taken`` items were all. Raises what the input raised."""
        if not self._whole or taken < self._count:
            return False
        if self._broken is not None:
            self._broken.raiseException()
        return True

    def read(self, end: End) -> Any:
        """The value of an item, or a Deferred of it; raises its error."""
        if isinstance(end, Exception):
            raise end
        job, ending, body = end
        return read(self._session, job, self.name, ending, body, self._plain)

    @property
    def returns_errors(self) -> bool:
        return self._errors == "return"

    def changed(self) -> Deferred[None]:
        """Fires when an item ends, or the input."""
        waiter: Deferred[None] = Deferred()
        if self._changed is None:
            self._changed = Deferred()
        self._changed.addCallback(lambda _: None if waiter.called else waiter.callback(None))
        return waiter

    def _notify(self) -> None:
        if self._changed is not None:
            changed, self._changed = self._changed, None
            changed.callback(None)

    def leave(self) -> None:
        """Its reader has gone: end what has not begun."""
        if self._left or (self._whole and not self._items):
            return
        self._left = True
        self.stop()
        self._ends.clear()
        if self.no_room is not None:
            return  # what was accepted goes on
        queued = [item for item in self._items.values() if item.id is None]
        self._session.requests.cancel_queued([i.id for i in self._items.values() if i.id])
        for item in queued:
            self._session.withdraw(item)

    # -- the list ---------------------------------------------------------------------------------

    def look_if_gathered(self) -> None:
        if self._gathered is not None and self._whole and not self._items:
            self._gathered.input_ended(self._broken)


def _nothing(_: Any) -> None:
    """The states are of no interest."""
