"""Chapter 5, the mistakes that everyone makes, each small enough to be seen."""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import AlreadyCalledError, Deferred
from twisted.logger import formatEvent, globalLogBeginner


def forgotten_return() -> object:
    """A callback without ``return`` hands None to the next one."""

    def double(number: int) -> None:
        number * 2

    answer: Deferred[int] = Deferred()
    seen: list[object] = []
    answer.addCallback(double).addCallback(seen.append)
    answer.callback(21)
    return seen[0]


def shared() -> object:
    """Two who add a callback to the same Deferred stand in one line, not side by side."""

    def listed(number: int) -> list[int]:
        return [number]

    answer: Deferred[Any] = Deferred()
    seen: list[object] = []
    answer.addCallback(listed)
    answer.addCallback(seen.append)
    answer.callback(42)
    return seen[0]


def fired_twice() -> str:
    """A Deferred fires once."""
    answer: Deferred[str] = Deferred()
    answer.callback("first")
    try:
        answer.callback("second")
    except AlreadyCalledError:
        return "AlreadyCalledError"
    return "nothing"


def errback_too_early() -> str:
    """An errback catches what fails before it in the chain, not what fails after it."""
    heard: list[str] = []
    late: list[str] = []
    answer: Deferred[str] = Deferred()
    answer.addErrback(lambda failure: heard.append("caught early"))
    answer.addCallback(int)
    answer.addErrback(lambda failure: late.append("caught by the one behind it"))
    answer.callback("no number")
    return (heard + late)[0]


def waiting_for_it() -> str:
    """Whoever needs the value before it is there has not understood who calls whom."""
    answer: Deferred[str] = Deferred()
    return f"{type(answer.result).__name__}" if answer.called else "not there yet"


def nobody_takes_it() -> str:
    """An error without an errback is logged, when its Deferred is thrown away."""
    logged: list[str] = []

    def look(event: dict[str, Any]) -> None:
        logged.append(formatEvent(event).rstrip(":"))

    observers: list[Any] = [look]
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)
    answer: Deferred[str] = Deferred()
    answer.addCallback(int)
    answer.callback("no number")
    del answer
    gc.collect()
    return logged[0]


if __name__ == "__main__":
    print("a callback that forgets to return hands on:", forgotten_return())
    print("the second of two who share it gets:", shared())
    print("firing twice:", fired_twice())
    print("an error after the first errback:", errback_too_early())
    print("asking the Deferred for its value now:", waiting_for_it())
    print("an error that nobody takes:", nobody_takes_it())
