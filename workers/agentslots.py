"""What an agent needs of its slots."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from ..protocol.ports import Holding, WorkerEvents, WorkerInfo, WorkerPort


class AgentSlots(WorkerPort, Protocol):
    """A worker of its own machine, as ``slots.SlotPool`` is one; told what to do by its agent."""

    on_drain: Callable[[], None]

    @property
    def info(self) -> WorkerInfo: ...

    def bind(self, events: WorkerEvents) -> None: ...

    def start(self) -> Deferred[Any]: ...

    def held(self) -> list[Holding]: ...

    def drop(self, unwanted: Iterable[Holding]) -> None: ...

    def hold_back(self, held_back: bool) -> None: ...

    def stop(self, grace: float) -> Deferred[Any]: ...
