"""Chapter 6. The same program four ways: wait a moment, draw in a thread, hang it up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import Any

from mailroom import WallClock, hang, render
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.internet.threads import deferToThread


def with_callbacks(reactor: Any, message: str) -> Deferred[None]:
    """Each step is a function, and the chain says which comes next."""
    picture = deferLater(reactor, 0.1, lambda: message)
    picture.addCallback(lambda message: deferToThread(render, message))
    return picture.addCallback(lambda picture: hang(message, picture))


def with_names(reactor: Any, message: str) -> Deferred[None]:
    """The same; the steps have names, and whoever returns a Deferred makes the chain wait."""

    def draw(_: None) -> Deferred[bytes]:
        return deferToThread(render, message)

    def hang_it(picture: bytes) -> None:
        hang(message, picture)

    waited: Deferred[None] = deferLater(reactor, 0.1)
    return waited.addCallback(draw).addCallback(hang_it)


@inlineCallbacks
def with_yield(reactor: Any, message: str) -> Generator[Deferred[Any], Any, None]:
    """One function again: at each ``yield`` it lets the others go on until the value is there."""
    yield deferLater(reactor, 0.1)
    picture = yield deferToThread(render, message)
    hang(message, picture)


async def with_await(reactor: Any, message: str) -> None:
    """The same in the words that Python has for it."""
    await deferLater(reactor, 0.1)
    picture = await deferToThread(render, message)
    hang(message, picture)


WAYS: dict[str, Callable[[Any, str], Any]] = {
    "callbacks": with_callbacks,
    "names": with_names,
    "yield": with_yield,
    "await": with_await,
}


async def main(reactor: Any, way: str) -> None:
    clock = WallClock()
    ticking = LoopingCall(clock.tick)
    ticking.start(clock.EVERY)
    clock.mail_came()
    for message in ("ada", "grace"):
        await WAYS[way](reactor, message)
    ticking.stop()
    clock.close()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
