"""What no stranger may bring about: an exception in the log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer


@implementer(ILogObserver)
class Watch:
    """Keeps what is told of mistakes."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None:
            self.seen.append(failure.getTraceback())
        elif event.get("log_level") in (LogLevel.error, LogLevel.critical):
            self.seen.append(formatEvent(event))


@contextlib.contextmanager
def nothing_goes_wrong() -> Iterator[None]:
    """Fails where something is logged as an error, so that Hypothesis looks for the least of it."""
    watch = Watch()
    globalLogPublisher.addObserver(watch)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(watch)
    assert not watch.seen, "\n".join(watch.seen)
