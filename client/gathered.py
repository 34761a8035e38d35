"""All results of a group, for who awaits the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..protocol.errors import JobsFailed
from .awaiting import Answer, error_in

if TYPE_CHECKING:
    from .group import End, Group

T = TypeVar("T")


class Gathered(Generic[T]):
    """Reads each item when it ends, and tells who waits when all have ended."""

    def __init__(self, group: Group[T]) -> None:
        self._group = group
        self._values: list[Any] = []
        """By place, with the errors in their places."""
        self._failures: dict[int, BaseException] = {}
        self._first_failure: BaseException | None = None
        self._reading = 0
        self._input_ended = False
        self._broken: Failure | None = None
        self._told = False
        self._waiting: list[Answer[list[T]]] = []

    def wait(self) -> Deferred[list[T]]:
        """A Deferred of its own for each who asks."""
        waiter: Answer[list[T]] = Answer(self._give_up)
        self._waiting.append(waiter)
        self._tell()
        return waiter

    def _give_up(self, waiter: Deferred[list[T]]) -> None:
        self._waiting = [other for other in self._waiting if other is not waiter]
        self._group.cancel().addErrback(lambda _: None)

    def add(self, place: int, end: End) -> None:
        """An item has ended."""
        try:
            value = self._group.read(end)
        except Exception as e:  # noqa: BLE001  # every exception of a job has its place
            self._failed(place, e)
            return
        if isinstance(value, Deferred):
            self._reading += 1
            value.addCallbacks(
                self._read, self._not_read, callbackArgs=(place,), errbackArgs=(place,)
            )
        else:
            self._put(place, value)

    def _put(self, place: int, value: Any) -> None:
        values = self._values
        if place == len(values):
            values.append(value)
            return
        while len(values) <= place:
            values.append(None)
        values[place] = value

    def _read(self, value: T, place: int) -> None:
        self._reading -= 1
        self._put(place, value)
        self._tell()

    def _not_read(self, failure: Failure, place: int) -> None:
        self._reading -= 1
        self._failed(place, error_in(failure))
        self._tell()

    def _failed(self, place: int, error: BaseException) -> None:
        if self._first_failure is None:
            self._first_failure = error
        self._failures[place] = error
        self._put(place, error)

    def input_ended(self, broken: Failure | None) -> None:
        """All items have ended, and no more will come."""
        self._input_ended, self._broken = True, broken
        self._tell()

    def _tell(self) -> None:
        if not self._input_ended or self._reading:
            return
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                self._tell_one(waiter)

    def _tell_one(self, waiter: Answer[list[T]]) -> None:
        if self._broken is not None:
            waiter.errback(self._broken)
        elif self._failures and not self._group.returns_errors:
            waiter.errback(self._all_failed())
        else:
            waiter.callback([*self._values])

    def _all_failed(self) -> JobsFailed:
        failures = self._failures
        results = {p: value for p, value in enumerate(self._values) if p not in failures}
        failed = JobsFailed(results, failures)
        failed.__cause__ = self._first_failure
        return failed
