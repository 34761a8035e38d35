"""Clients and workers of a played cluster: they send again what was not answered, as real ones."""

from __future__ import annotations

from collections import Counter

import attrs
from ampacity.protocol.ids import ClientId, JobId, SessionId, WorkerId
from ampacity.protocol.jobs import Submission
from ampacity.protocol.outcomes import Report
from ampacity.protocol.ports import WorkerInfo
from ampacity.tests.properties.account import Key


@attrs.define(eq=False)
class Worker:
    """A worker process, and its connection."""

    wish: str
    python: str
    generation: int = 0
    name: WorkerId | None = None
    """While it is connected."""
    connections: int = 0
    holds: dict[Key, bool] = attrs.field(factory=dict)
    """Its attempts, and whether they have begun."""
    reports: dict[Key, Report] = attrs.field(factory=dict)
    """What has ended and is not known to be stored."""

    @property
    def info(self) -> WorkerInfo:
        return WorkerInfo(
            name=self.wish,
            incarnation=f"{self.wish}{self.generation}".encode().ljust(16),
            slots=2,
            python=self.python,
            host="h",
            software="",
        )

    def begin_anew(self) -> None:
        """The process was replaced by another one."""
        self.generation += 1
        self.holds.clear()
        self.reports.clear()

    def drop(self, key: Key) -> None:
        """Somebody else has this job now."""
        self.holds.pop(key, None)
        self.reports.pop(key, None)


@attrs.define(eq=False)
class Session:
    """A session of a client program, and its connection."""

    name: str
    client: ClientId
    generation: int = 0
    connected: bool = False
    connections: int = 0
    opening: int = 0
    """The coordinator's number of the connection."""
    sequence: int = 0
    frames: dict[int, tuple[int | None, list[Submission]]] = attrs.field(factory=dict)
    """Frames that were not answered."""
    owed: set[JobId] = attrs.field(factory=set)
    """Delivered by this connection, and not acknowledged."""
    got: Counter[JobId] = attrs.field(factory=Counter)
    """Acknowledged, and that is stored."""
    asked: set[JobId] = attrs.field(factory=set)
    """Jobs that it asked for again: by a watch, or a key."""

    @property
    def id(self) -> SessionId:
        return SessionId(f"{self.name}{self.generation}".encode())

    def begin_anew(self) -> None:
        """The program ended, or its session is not known any more: another one begins."""
        self.generation += 1
        self.sequence = 0
        self.frames.clear()
        self.owed.clear()
        self.got.clear()
        self.asked.clear()
