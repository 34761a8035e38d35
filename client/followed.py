"""The output of jobs that somebody follows: each byte once, though connections come and go."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from ..protocol.ids import JobId

Follow = Callable[[int, bytes], "Deferred[bool]"]
"""Takes a stream, 1 or 2, and bytes; fires when they are taken, with False where enough is."""


class Followed:
    """How much of each stream was told."""

    def __init__(self) -> None:
        self._told: dict[tuple[JobId, int], int] = {}

    def output(
        self, follow: Follow | None, job: JobId, stream: int, offset: int, data: bytes
    ) -> Deferred[bool]:
        """Tell what is new of it; ``offset`` bytes came before, maybe over another connection."""
        if follow is None:
            for one in (1, 2):
                self._told.pop((job, one), None)
            return succeed(False)
        told = self._told.get((job, stream), offset)
        self._told[job, stream] = max(told, offset + len(data))
        fresh = data[max(told - offset, 0) :]
        return follow(stream, fresh) if fresh else succeed(True)
