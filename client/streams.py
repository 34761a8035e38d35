"""The results of a group one by one. An iterator that is dropped before its end says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from ..protocol.errors import StorageFull
from .awaiting import answer

if TYPE_CHECKING:
    from .group import End, Group

T = TypeVar("T")


class Ordered(AsyncIterator[T]):
    """In the order of the input."""

    _log = Logger()

    def __init__(self, group: Group[T]) -> None:
        self._group = group
        self._taken = 0

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        end = self._take()
        while end is None or isinstance(end, StorageFull):
            if self._group.no_room is not None:
                self._group.no_room.raiseException()
            if end is not None:
                break
            if self._group.exhausted(self._taken):
                raise StopAsyncIteration
            await answer(self._group.changed())
            end = self._take()
        assert end is not None
        self._taken += 1
        value: T = await self._read(end)
        return value

    def _take(self) -> End | None:
        return self._group.take(self._taken)

    async def _read(self, end: End) -> Any:
        try:
            value = self._group.read(end)
            return await answer(value) if isinstance(value, Deferred) else value
        except Exception as e:
            if self._group.returns_errors:
                return e
            raise

    def leave(self) -> None:
        """Read no more."""
        self._group.leave()

    def __del__(self) -> None:
        # "async for" tells its iterator nothing when it is left; dropping it is the only sign
        maybeDeferred(self._group.leave).addErrback(
            lambda failure: self._log.failure("a group could not be ended", failure)
        )


class Completed(Ordered[T]):
    """As they end."""

    def _take(self) -> End | None:
        found = self._group.take_any()
        return None if found is None else found[1]
