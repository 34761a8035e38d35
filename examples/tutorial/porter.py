"""Chapter 13. A part that is given its reactor, so that a test can give it another clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ampacity import JobCrashed, JobTimedOut, Pool
from mailroom import render
from twisted.internet.defer import Deferred

T = TypeVar("T")


class Porter:
    """Says so when a picture takes long: after 10 s, and then every minute."""

    def __init__(self, reactor: Any, say: Callable[[str], object]) -> None:
        self.reactor = reactor
        self.say = say
        self.next: dict[str, Any] = {}  # the reminder that is due for each message

    def mind(self, message: str, picture: Deferred[T]) -> Deferred[T]:
        """Look after a picture until it is there, or has failed."""
        began = self.reactor.seconds()

        def remind() -> None:
            self.say(f"{message} is not done after {self.reactor.seconds() - began:.0f} s")
            self.next[message] = self.reactor.callLater(60, remind)

        def there(result: T) -> T:
            self.next.pop(message).cancel()
            return result

        self.next[message] = self.reactor.callLater(10, remind)
        return picture.addBoth(there)


async def picture_or_excuse(pool: Pool, message: str) -> str:
    """What the porter tells the sender."""
    try:
        picture = await pool.options(timeout=60, retries=2).submit(render, message)
    except JobTimedOut:
        return f"{message} is too beautiful to be drawn"
    except JobCrashed:
        return f"{message} has broken three brushes"
    return f"{message} hangs: {len(picture)} bytes"
