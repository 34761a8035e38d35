"""When the writes of a turn are committed: at once, or with others that come soon."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.coordinator.commits import MUCH, PACE, PATIENCE, Batch, Commits
from ampacity.coordinator.effects import JobsAdded, JobsTaken, MoreToDo
from ampacity.coordinator.store import MemoryStore
from ampacity.protocol.ids import JobId
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock


class Disk(MemoryStore):
    """Keeps what it is to commit, and is done with it when it is told to."""

    durable = True

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.committing: list[Deferred[None]] = []

    def commit(self, writes: Any) -> Any:
        self.batches.append([type(write).__name__ for write in writes])
        self.committing.append(Deferred())
        return self.committing[-1]

    def done(self) -> None:
        self.committing.pop(0).callback(None)


class Desk:
    """Commits to a disk, and what they tell."""

    def __init__(self, store: MemoryStore) -> None:
        self.clock = Clock()
        self.told: list[Batch] = []
        self.commits = Commits(self.clock, store, lambda: None, self.told.append, lambda _: None)

    def add(self, *effects: Any) -> None:
        """One turn of the reactor with these."""
        self.commits.add(effects)
        self.clock.advance(0)


TAKEN = JobsTaken([JobId(1)])
NEW = JobsAdded([])
MANY = JobsAdded([None] * MUCH)  # type: ignore[list-item]  # they are only counted


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def desk(disk: Disk) -> Desk:
    return Desk(disk)


def test_what_was_taken_waits_for_other_writes(disk: Disk, desk: Desk) -> None:
    desk.add(TAKEN)
    desk.add(TAKEN)
    assert disk.batches == []
    assert not desk.commits.settled
    desk.add(NEW)
    assert disk.batches == [["JobsTaken", "JobsTaken", "JobsAdded"]]
    desk.clock.advance(PATIENCE)
    disk.done()
    desk.clock.advance(PATIENCE)
    assert len(disk.batches) == 1


def test_what_was_taken_does_not_wait_for_long(disk: Disk, desk: Desk) -> None:
    desk.add(TAKEN)
    desk.clock.advance(PATIENCE / 2)
    desk.add(TAKEN)
    desk.clock.advance(PATIENCE / 2)
    assert disk.batches == [["JobsTaken", "JobsTaken"]]


def test_what_was_taken_during_a_commit_waits_as_well(disk: Disk, desk: Desk) -> None:
    desk.add(NEW)
    desk.add(TAKEN)
    disk.done()
    desk.clock.advance(0)
    assert len(disk.batches) == 1
    desk.clock.advance(PATIENCE)
    assert disk.batches[1:] == [["JobsTaken"]]


def test_what_was_taken_does_not_wait_where_somebody_does(disk: Disk, desk: Desk) -> None:
    desk.add(TAKEN)
    waiting = desk.commits.committed()
    desk.clock.advance(0)
    assert disk.batches == [["JobsTaken"]]
    disk.done()
    desk.clock.advance(0)
    assert desk.told[0].waiting == [waiting]
    desk.add(TAKEN, MoreToDo())
    assert len(disk.batches) == 2


def test_what_was_taken_is_stored_in_the_end(disk: Disk, desk: Desk) -> None:
    desk.add(TAKEN)
    stopping = desk.commits.stop()
    assert disk.batches == [["JobsTaken"]]
    disk.done()
    assert stopping.called
    assert desk.clock.getDelayedCalls() == []


def test_in_memory_nothing_waits() -> None:
    disk = Disk()
    disk.durable = False
    desk = Desk(disk)
    for effect in (TAKEN, MANY, NEW):
        desk.add(effect)
        disk.done()
    assert len(disk.batches) == 3


def test_after_a_commit_of_much_more_is_gathered(disk: Disk, desk: Desk) -> None:
    desk.add(MANY)
    disk.done()
    desk.clock.advance(PACE / 2)
    desk.add(NEW)
    desk.add(NEW)
    assert len(disk.batches) == 1
    desk.clock.advance(PACE / 2)
    assert disk.batches[1:] == [["JobsAdded", "JobsAdded"]]


def test_after_a_commit_of_little_nothing_waits(disk: Disk, desk: Desk) -> None:
    desk.add(NEW)
    disk.done()
    desk.add(NEW)
    assert len(disk.batches) == 2


def test_after_a_long_commit_of_much_nothing_waits(disk: Disk, desk: Desk) -> None:
    desk.add(MANY)
    desk.clock.advance(PACE)
    disk.done()
    desk.add(NEW)
    assert len(disk.batches) == 2


def test_what_waits_longer_is_committed_with_what_waits_less(disk: Disk, desk: Desk) -> None:
    desk.add(MANY)
    disk.done()
    desk.add(TAKEN)
    desk.add(NEW)
    desk.clock.advance(PACE)
    assert disk.batches[1:] == [["JobsTaken", "JobsAdded"]]
