"""Chapter 13. A part that is given its reactor, so that a test can give it another clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class Porter:
    """Says so when a picture takes long: after 10 s, and then every minute."""

    def __init__(self, reactor: Any, say: Callable[[str], object]) -> None:
        self.reactor = reactor
        self.say = say

    def mind(self, message: str, picture: Deferred[T]) -> Deferred[T]:
        """Look after a picture until it is there, or has failed."""
        began = self.reactor.seconds()

        def remind() -> None:
            nonlocal call
            self.say(f"{message} is not done after {self.reactor.seconds() - began:.0f} s")
            call = self.reactor.callLater(60, remind)

        def there(result: T) -> T:
            call.cancel()
            return result

        call = self.reactor.callLater(10, remind)
        return picture.addBoth(there)
