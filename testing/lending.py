"""Objects that go to a job and back as they are: what travels is a ticket for them.

For tests that hand in mocks, or closures over what the test looks at afterwards.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any
from weakref import WeakValueDictionary

_numbers = itertools.count(1)
_desks: WeakValueDictionary[int, Lending] = WeakValueDictionary()


class Lending:
    """What one pool has lent. It is kept as long as the pool is."""

    def __init__(self) -> None:
        self.number = next(_numbers)
        self._lent: list[Any] = []
        _desks[self.number] = self

    def lend(self, thing: Any) -> Any:
        """A ticket, which unpickles as the very thing."""
        self._lent.append(thing)
        ticket = (self.number, len(self._lent) - 1)
        return LentFunction(ticket, thing) if callable(thing) else Lent(ticket)

    def lend_each(self, items: Iterable[Any] | AsyncIterable[Any]) -> Any:
        """The tickets of what an iterable gives, when it gives it."""
        if isinstance(items, AsyncIterable):
            return self._each_async(items)
        return self._each(items)

    def _each(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield self.lend(item)

    async def _each_async(self, items: AsyncIterable[Any]) -> AsyncIterator[Any]:
        async for item in items:
            yield self.lend(item)

    def get(self, place: int) -> Any:
        """What was lent as that."""
        return self._lent[place]


class Lent:
    """A ticket."""

    def __init__(self, ticket: tuple[int, int]) -> None:
        self._ticket = ticket

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[int, int]]:
        return given_back, self._ticket


class LentFunction(Lent):
    """The ticket of something that can be called, with its name and its parameters."""

    def __init__(self, ticket: tuple[int, int], function: Callable[..., Any]) -> None:
        super().__init__(ticket)
        self.__qualname__ = name_of(function)
        try:
            self.__signature__ = inspect.signature(function)
        except (TypeError, ValueError):
            self.__signature__ = inspect.Signature(
                [
                    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
                ]
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a ticket is not what it stands for")


def name_of(function: Any) -> str:
    """What to show of it."""
    name = getattr(function, "__qualname__", None)
    if not isinstance(name, str):
        name = type(function).__qualname__
    return name.replace("<locals>.", "")


def given_back(desk: int, place: int) -> Any:
    """What a ticket stands for."""
    lending = _desks.get(desk)
    if lending is None:
        raise LookupError("the pool that has lent this object is gone")
    return lending.get(place)
