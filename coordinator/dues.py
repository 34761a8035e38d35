"""What falls due: the keys of the scheduler's wheel."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..protocol.ids import JobId
from .records import ClientRecord, SessionRecord, WorkerRecord


class Recall(NamedTuple):
    """A worker that came back without some of its attempts: when to give those up."""

    worker: WorkerRecord


class Deadlines:
    """Jobs whose deadlines fall together, as runs of ids; some have ended before."""

    __slots__ = ("runs", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.runs: list[list[int]] = []


class Resumption(NamedTuple):
    """When a delayed job may have its next attempt; void where it has failed again since."""

    job: JobId
    failures: int


class Thirst(NamedTuple):
    """A queue whose cold jobs could not be read: when to try again."""

    client: ClientRecord
    python: str | None


class Again(NamedTuple):
    """Work that needs the store, which could not be read: when to try again."""

    work: Callable[[], None]


Due = SessionRecord | WorkerRecord | Recall | Deadlines | Resumption | Thirst | Again
