"""One Deferred, and several who wait for it."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_Result = TypeVar("_Result")


def branch(of: Deferred[_Result]) -> Deferred[_Result]:
    """Fires as the other one does; cancelling it leaves that alone. A failure is told to all."""
    waiter: Deferred[_Result] = Deferred()

    def tell(result: _Result | Failure) -> _Result | Failure:
        if not waiter.called:
            waiter.callback(result)
        return result

    of.addBoth(tell)
    return waiter
