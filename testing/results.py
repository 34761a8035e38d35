"""Reading, in a synchronous test, what has a result by now."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..client.awaiting import Eventual

T = TypeVar("T")


class NotFired(AssertionError):
    """There is no result yet."""


def fired(awaitable: Awaitable[T] | Deferred[T]) -> Deferred[T]:
    """Any of them as a Deferred: a coroutine is begun, a job or a group is asked for its result."""
    if isinstance(awaitable, Deferred):
        return awaitable
    if isinstance(awaitable, Eventual):
        result: Deferred[T] = awaitable.result()
        return result
    return Deferred.fromCoroutine(awaitable)  # type: ignore[arg-type]  # another awaitable says so


def ends_of(awaitable: Awaitable[Any] | Deferred[Any]) -> list[Any]:
    """A list that holds the value, or the failure, as soon as there is one. A Deferred keeps its
    value; a failure is taken, and not logged."""
    ends: list[Any] = []

    def read(result: Any) -> Any:
        ends.append(result)
        return None if isinstance(result, Failure) else result

    fired(awaitable).addBoth(read)
    return ends


def result_of(awaitable: Awaitable[T] | Deferred[T]) -> T:
    """The result of a job, a group, a Deferred or a coroutine that has one by now.

    Raises:
        Exception: the error that it has ended with.
        NotFired: it has no result yet.
    """
    ends = ends_of(awaitable)
    if not ends:
        raise NotFired(f"there is no result yet of {awaitable!r:.200}")
    if isinstance(ends[0], Failure):
        ends[0].raiseException()
    value: T = ends[0]
    return value
