"""Questions of the scheduler to a store that turns out to be damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ampacity.coordinator.commits import Commits
from ampacity.coordinator.effects import JobsTaken, Load
from ampacity.coordinator.kept import ByIds, Found
from ampacity.coordinator.loads import Loads
from ampacity.coordinator.store import MemoryStore, StoreBroken
from ampacity.protocol.ids import JobId
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock


class Unreadable(MemoryStore):
    """Fails with what it is given."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.commits = 0

    def read(self, question: Any) -> Any:
        reading: Deferred[Found] = fail(self.error)
        return reading

    def commit(self, writes: Any) -> None:
        self.commits += 1


@pytest.mark.parametrize(
    ("error", "ends"), [(StoreBroken("job 9 is damaged"), True), (ValueError("no"), False)]
)
def test_a_store_that_is_damaged_ends_the_coordinator_when_it_is_read(
    error: Exception, ends: bool, logged_errors: Callable[..., Any]
) -> None:
    clock, store = Clock(), Unreadable(error)
    broken: list[Any] = []
    answers: list[tuple[int, Found | None]] = []
    commits = Commits(clock, store, lambda: None, lambda _: None, broken.append)
    loads = Loads(store, commits, lambda *answer: answers.append(answer))
    loads.add(Load(7, ByIds([JobId(9)])))
    loads.add(Load(8, ByIds([JobId(9)])))
    assert answers == ([(7, None)] if ends else [(7, None), (8, None)])
    assert [failure.value for failure in broken] == ([error] if ends else [])
    commits.add([JobsTaken([JobId(1)])])
    clock.advance(1)
    assert store.commits == (0 if ends else 1), "nothing may be written to it any more"
    assert logged_errors(type(error))
