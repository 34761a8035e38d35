"""One execution of a job in virtual slots, and who says what comes of it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import attrs

from ..protocol.ids import Attempt, JobId
from ..protocol.jobs import Assignment, JobSpec, unpack_spec
from ..protocol.outcomes import Ending, JobLog
from ..protocol.ports import Holding
from ..workers.resultfiles import Files

spec_of = lru_cache(maxsize=1024)(unpack_spec)
"""Equal bytes are equal specs."""


class Course(NamedTuple):
    """How an execution goes that is left alone."""

    seconds: float | None
    """Until its end; None: it has none by itself."""
    resists: float = 0.0
    """Seconds for which it goes on after the first signal."""


class End(NamedTuple):
    """How one execution ended."""

    ending: Ending
    body: bytes
    """A packed ``Outcome``."""
    files: Files = ()
    """What that refers to."""
    again: bool = True
    """Whether a failure is worth another attempt."""
    log: JobLog = JobLog()


@attrs.define(eq=False)
class Run:
    """One attempt that slots hold."""

    assignment: Assignment
    spec: JobSpec
    worker: str
    """The process."""
    since: float
    """When it came."""
    ready: bool = True
    """Whether all is there that it needs."""
    paths: dict[bytes, Path] = attrs.field(factory=dict)
    """Where values lie that it refers to, by their digests."""
    began: float = 0.0
    wall: float = 0.0
    course: Course | None = None
    """How it goes; None before its beginning."""
    why: str | None = None
    """Why it is being ended."""
    over: bool = False
    calls: list[Any] = attrs.field(factory=list)
    data: Any = None
    """The play's own."""

    @property
    def job(self) -> JobId:
        return self.assignment.job

    @property
    def attempt(self) -> Attempt:
        return self.assignment.attempt

    @property
    def holding(self) -> Holding:
        return Holding(self.job, self.attempt)

    @property
    def has_begun(self) -> bool:
        return self.course is not None

    def stop(self) -> None:
        """Nothing more comes of it."""
        self.over = True
        for call in self.calls:
            if call.active():
                call.cancel()


class Play(Protocol):
    """What jobs do in virtual slots; it is told of all that befalls them."""

    def held(self, run: Run, twice: bool) -> None:
        """An attempt has come; ``twice``: it is held already."""

    def begins(self, run: Run) -> Course:
        """It begins: how does it go?"""

    def ends(self, run: Run) -> End:
        """It ends by itself: how?"""

    def tail(self, run: Run) -> bytes:
        """The last that it has printed, for one that is ended by others."""

    def ended(self, run: Run, how: str) -> None:
        """It is over: an ending's words; ``killed``, ``superseded``, ``stopped``."""
