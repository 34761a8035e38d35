"""The output of jobs that somebody follows: each byte once, though connections come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping

from twisted.internet.defer import Deferred, succeed

from ..protocol.ids import JobId

Follow = Callable[[int, bytes], "Deferred[bool]"]
"""Takes a stream, 1 or 2, and bytes; fires when they are taken, with False where enough is."""


class _Told:
    """Who follows a job, and how many bytes of each stream he was told."""

    __slots__ = ("follow", "told")

    def __init__(self, follow: Follow) -> None:
        self.follow = follow
        self.told: dict[int, int] = {}


class Followed(MutableMapping[JobId, Follow]):
    """Who follows which job; what he was told is forgotten with him."""

    def __init__(self) -> None:
        self._jobs: dict[JobId, _Told] = {}

    def __getitem__(self, job: JobId) -> Follow:
        return self._jobs[job].follow

    def __setitem__(self, job: JobId, follow: Follow) -> None:
        known = self._jobs.get(job)
        if known is None:
            self._jobs[job] = _Told(follow)
        else:
            known.follow = follow

    def __delitem__(self, job: JobId) -> None:
        del self._jobs[job]

    def __iter__(self) -> Iterator[JobId]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def output(self, job: JobId, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        """Tell what is new of it; ``offset`` bytes came before, maybe over another connection."""
        known = self._jobs.get(job)
        if known is None:
            return succeed(False)
        told = known.told.get(stream, offset)
        known.told[stream] = max(told, offset + len(data))
        fresh = data[max(told - offset, 0) :]
        return known.follow(stream, fresh) if fresh else succeed(True)
