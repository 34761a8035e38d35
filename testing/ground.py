"""What an inline or a manual pool stands on: a coordinator and slots in one process, in memory."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed

from ..client.session import Session
from ..coordinator.driver import Driver
from ..coordinator.settings import Settings
from ..coordinator.transitions import ENDED
from ..protocol.blobs import BlobFolder
from ..protocol.ids import LOCAL_CLIENT
from .lending import Lending
from .programs import ProgramReactor, PromptReactor, at_once
from .runs import Play
from .slots import VirtualSlots
from .stage import Stage
from .timeline import Machine, Process, Timeline

LONGEST = 24 * 3600.0
"""Virtual seconds for which an inline pool waits for its jobs."""


class Scratch:
    """A temporary folder that goes with its owner."""

    def __init__(self) -> None:
        self._path: Path | None = None

    def __call__(self) -> Path:
        if self._path is None:
            self._path = Path(tempfile.mkdtemp(prefix="ampacity-testing-"))
            weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)
        return self._path


class PromptSlots(VirtualSlots):
    """Slots of which everything is told at once."""

    announced_after = between = signalled = 0.0


class Ground:
    """Its parts are there from the first use of the pool on."""

    def __init__(
        self,
        slots: int,
        settings: Settings | None,
        pickling: bool,
        setup: Callable[[], object] | None = None,
    ) -> None:
        self.timeline = Timeline()
        machine = Machine(self.timeline, "here")
        self.scratch = Scratch()
        self.lending = None if pickling else Lending()
        self.stage = Stage(self.scratch, self.lending)
        self.play: Play = self.stage
        self.refusal: Exception | None = None
        follow = weakref.WeakMethod(self.follow)
        self.reactor = PromptReactor(machine, "program", lambda: _call(follow))
        self.clock = ProgramReactor(machine, "application")
        self._process = Process(machine, "here")
        self._slot_count = slots
        self._settings = settings or Settings()
        self._setup = setup
        self.driver: Driver | None = None
        self.slots: VirtualSlots | None = None
        self.coordinator: Any = None
        """The session's own, as ``ports.Coordinator``."""

    # -- time -------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Let happen what follows from what was just asked."""
        self.timeline.settle()

    def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.timeline.run_until(self.timeline.now + seconds)

    @property
    def unfinished(self) -> int:
        """Jobs that have not ended."""
        return 0 if self.driver is None else sum(self.driver.scheduler.state.counts[:ENDED])

    # -- client.engine.Link -----------------------------------------------------------------------

    local = True
    on_given_up: Any = None
    """Never called: no connection can be lost."""

    def open(self, session: Session) -> Deferred[None]:
        return maybeDeferred(self._open, session)

    def _open(self, session: Session) -> None:
        if self._setup is not None:
            self._setup()
        at_once(session, self.scratch)
        blobs = BlobFolder(self.scratch() / "values", maybeDeferred, durable=False)
        blobs.start()
        driver = self.driver = Driver(self._process, blobs, self._settings)
        driver.start()
        self.slots = PromptSlots(self._process, self._slot_count, self.play, Random(0))
        _, events, _ = driver.join(self.slots.info, [], self.slots, local=True)
        self.slots.bind(events)
        session.meet(driver.store_id)
        bound, sequence = driver.open_session(LOCAL_CLIENT, session.id, session, "operator")
        self.coordinator = Prompt(self, bound)
        session.connected(self.coordinator, sequence)

    def close(self) -> Deferred[None]:
        driver, self.driver, self.slots = self.driver, None, None
        return succeed(None) if driver is None else driver.stop()


class Prompt:
    """A coordinator whose answers are there when the question returns."""

    def __init__(self, ground: Ground, coordinator: Any) -> None:
        self._ground = ground
        self._coordinator = coordinator

    def submit(self, sequence: int, submissions: Any, group: int | None) -> Deferred[Any]:
        refusal = self._ground.refusal
        if refusal is not None and submissions:
            return fail(refusal)
        answer: Deferred[Any] = self._coordinator.submit(sequence, submissions, group)
        return answer

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._coordinator, name)

        def ask(*args: Any, **kwargs: Any) -> Any:
            answer = method(*args, **kwargs)
            self._ground.timeline.settle()
            return answer

        return ask


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    found = method()
    if found is not None:
        found()
