"""What fills a group: items pulled from iterables in slices, or the jobs of a group found."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ..protocol.limits import FRAME_JOBS
from .awaiting import run

if TYPE_CHECKING:
    from .group import Group

SLICE = 0.003
"""Seconds for which items are pulled before the reactor has its turn."""

_CHECKED_EVERY = 16

Items = tuple[Any, ...]
Submit = Callable[[Items], "Deferred[None] | None"]
"""Submits one item; the Deferred, if there is one, holds up the next."""


async def feed(
    group: Group[Any], iterables: tuple[Any, ...], submit: Submit, reactor: IReactorTime
) -> None:
    """Submit the items of the iterables, taken together like ``zip``, while there is room."""
    broken: Failure | None = None
    try:
        iterators = [_begin(iterable) for iterable in iterables]
        try:
            if all(isinstance(iterator, Iterator) for iterator in iterators):
                await _feed_sync(group, zip(*iterators, strict=False), submit, reactor)
            else:
                await _feed_async(group, iterators, submit, reactor)
        finally:
            await _close(iterators)
    except Exception:  # noqa: BLE001  # an iterable's error is raised where the results are read
        broken = Failure()
    group.whole(broken)


def _begin(iterable: Any) -> Iterator[Any] | AsyncIterator[Any]:
    if isinstance(iterable, AsyncIterable):
        stream: AsyncIterator[Any] = aiter(iterable)
        return stream
    if not isinstance(iterable, Iterable) and not hasattr(iterable, "__getitem__"):
        raise TypeError(f"map goes over iterables, and {iterable!r:.80} is none")
    items: Iterator[Any] = iter(iterable)
    return items


async def _feed_sync(
    group: Group[Any], items: Iterator[Items], submit: Submit, reactor: IReactorTime
) -> None:
    while not group.is_stopped():
        if not group.has_room():
            await group.room()
            await deferLater(reactor, 0)  # the turn that made room has had enough to do
            continue
        held_up = None
        until = reactor.seconds() + SLICE
        for count in range(FRAME_JOBS):
            item = next(items, None)
            if item is None:
                return
            held_up = submit(item)
            if held_up is not None or not group.has_room():
                break
            if count % _CHECKED_EVERY == 0 and reactor.seconds() > until:
                break
        await (deferLater(reactor, 0) if held_up is None else held_up)


async def _feed_async(
    group: Group[Any], iterators: list[Any], submit: Submit, reactor: IReactorTime
) -> None:
    until = reactor.seconds() + SLICE
    while not group.is_stopped():
        if not group.has_room():
            await group.room()
            continue
        try:
            item = tuple([await _next(group, iterator) for iterator in iterators])
        except StopAsyncIteration:
            return
        except CancelledError:
            if group.is_stopped():
                return
            raise
        if group.is_stopped():
            return
        held_up = submit(item)
        if held_up is not None:
            await held_up
        elif reactor.seconds() > until:
            await deferLater(reactor, 0)
            until = reactor.seconds() + SLICE


async def _next(group: Group[Any], iterator: Any) -> Any:
    if isinstance(iterator, AsyncIterator):
        group.pulling = run(anext(iterator))
        try:
            return await group.pulling
        finally:
            group.pulling = None
    missing = object()
    item = next(iterator, missing)
    if item is missing:
        raise StopAsyncIteration
    return item


async def _close(iterators: list[Any]) -> None:
    """Generators that are left early get to their ``finally``."""
    for iterator in iterators:
        if inspect.isasyncgen(iterator):
            await run(iterator.aclose())
        elif inspect.isgenerator(iterator):
            iterator.close()
