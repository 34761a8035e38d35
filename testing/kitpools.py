"""What the kit's pools have in common: they are ``Pool``s, over a ground of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Self

from twisted.internet.interfaces import IReactorTime

from ..client.options import Options
from ..client.pool import Pool
from ..coordinator.settings import Settings
from ..workers.calls import find_function
from .ground import Ground
from .lendingpool import LendingPool
from .programs import KitEngine


class KitPool(LendingPool):
    """A pool in one process, in memory, under a clock of its own."""

    _ground_class: type[Ground] = Ground
    _slots_by_default = 1

    def __init__(
        self,
        *,
        python: str | os.PathLike[str] | None = None,
        setup: Callable[[], object] | str | None = None,
        slots: int | None = None,
        reactor: Any = None,
        pickling: bool = True,
        settings: Settings | None = None,
    ) -> None:
        """What ``Pool`` takes, and further:

        pickling: whether arguments and results travel as they do to another process; without it,
            a job gets the very objects, and functions may be mocks.
        settings: those of the coordinator: how many jobs may be queued, for example.

        ``setup`` is called once, in this process. ``python`` and ``reactor`` say nothing here.
        """
        super().__init__(python=python, setup=setup, slots=slots)  # says what does not fit
        call = find_function(setup, "here") if isinstance(setup, str) else setup
        self._stand_on(
            self._ground_class(slots or self._slots_by_default, settings, pickling, call)
        )

    def _stand_on(self, ground: Ground) -> None:
        engine = KitEngine(lambda _: ground, ground.reactor, ground)
        self._begin(engine, Options())

    @property
    def _ground(self) -> Ground:
        ground: Ground = self._kit.ground
        return ground

    @classmethod
    def connect(cls, *_args: Any, **_kwargs: Any) -> Pool:
        """A pool like any other of the kit: no coordinator is asked for."""
        return cls()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    # -- for the test -----------------------------------------------------------------------------

    @property
    def reactor(self) -> IReactorTime:
        """The virtual clock, for the application to wait by: ``callLater``, ``seconds``."""
        clock: IReactorTime = self._ground.clock
        return clock

    def advance(self, seconds: float) -> None:
        """Let virtual time pass. What a call of the application raises meanwhile comes out here."""
        self._ground.advance(seconds)

    def refuse(self, error: Exception | None) -> None:
        """Have all that is submitted from here on refused with an error (``QueueFull()``,
        ``StorageFull()``, ...), as a coordinator does; None: no more."""
        self._ground.refusal = error
