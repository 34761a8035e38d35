"""An application: it has thumbnails made in a pool, and copes with trouble."""

from typing import Any

from ampacity import JobCrashed, JobTimedOut, Pool, QueueFull
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

PLACEHOLDER = "a grey square"


def shrink(picture: str) -> str:
    """Heavy, in truth."""
    if not picture:
        raise ValueError("an empty picture")
    return f"{picture}, small"


class Busy(Exception):
    """There is too much to do for now."""


class Gallery:
    """``pool`` runs the heavy part, ``reactor`` is what pauses go by."""

    def __init__(self, pool: Pool, reactor: IReactorTime) -> None:
        self.pool = pool.options(timeout=20)
        self.reactor = reactor
        self.broken: list[tuple[str, Any]] = []

    async def thumbnail(self, picture: str) -> str:
        """A small picture; a grey square for one that takes too long or that crashes."""
        for pause in (1, 2, 4):
            try:
                return await self.pool.submit(shrink, picture)
            except QueueFull:
                await deferLater(self.reactor, pause)
            except JobTimedOut:
                return PLACEHOLDER
            except JobCrashed as crash:
                assert crash.evidence is not None
                self.broken.append((picture, crash.evidence["signal"]))
                return PLACEHOLDER
        raise Busy
