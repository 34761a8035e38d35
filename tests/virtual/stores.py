"""The stores of a virtual cluster: what outlives a coordinator, and what does not."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from ampacity.coordinator.store import MemoryStore
from twisted.internet.defer import Deferred

from .schedule import Plan
from .timeline import Process


class LateStore(MemoryStore):
    """In memory, but with commits that take their time, as those of a disk do."""

    def __init__(self, process: Process, random: Random, seconds: tuple[float, float]) -> None:
        super().__init__()
        self._process = process
        self._random = random
        self._seconds = seconds

    def commit(self, writes: Sequence[Any]) -> Deferred[None] | None:  # type: ignore[override]
        if self._seconds[1] <= 0.0:
            return super().commit(writes)
        done: Deferred[None] = Deferred()
        super().commit(writes)
        self._process.callLater(self._random.uniform(*self._seconds), done.callback, None)
        return done


class Stores:
    """Stores in memory: the coordinator of such a cluster lives as long as the cluster."""

    durable = False
    retries = False
    """Whether the scheduler knows retries."""

    def __init__(self, seed: int, made: Plan) -> None:
        self._random = Random(f"store {seed}")
        self._seconds = made.commit_seconds

    def open(self, process: Process) -> Any:
        """The store of a coordinator that starts."""
        return LateStore(process, self._random, self._seconds)

    def expects(self, failure: Any) -> bool:
        """Whether a failure in the log belongs to the faults of the disk."""
        return False

    def fill(self) -> None:
        """The disk is full from here on."""

    def make_room(self) -> None:
        """It is not full any more."""

    def break_down(self) -> None:
        """The next commit fails for good."""

    def left(self, driver: Any) -> list[str]:
        """What is wrong with what is kept in the end."""
        return []
