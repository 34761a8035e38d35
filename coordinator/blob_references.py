"""Which blobs are referred to by jobs, and when the others go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..protocol.blobs import BlobFolder
from ..protocol.jobs import BlobRef, Submission
from .records import SpecRecord


class BlobReferences:
    """Counts references to blobs; one that has had none for a while is removed."""

    def __init__(self, blobs: BlobFolder, keep: float) -> None:
        self._blobs = blobs
        self._keep = keep
        self._counts: Counter[bytes] = Counter()
        self._idle: dict[bytes, float] = {}
        """Since when, by the monotonic clock, something was seen to be referred to by nothing."""

    def restore(self, counts: Mapping[bytes, int]) -> None:
        """The references that an earlier coordinator has left."""
        self._counts.update(counts)

    def hold(self, digests: Iterable[bytes]) -> None:
        """Each mention is a reference."""
        self._counts.update(digests)

    def release(self, digests: Iterable[bytes]) -> None:
        """Each mention is a reference less."""
        for digest in digests:
            self._counts[digest] -= 1
            if self._counts[digest] <= 0:
                del self._counts[digest]

    def missing(
        self, submissions: Sequence[Submission], spec: Callable[[bytes], SpecRecord]
    ) -> tuple[bytes, ...]:
        """The blobs that these jobs refer to and that are not here."""
        has = self._blobs.has
        missing: dict[bytes, None] = {}
        last = None
        for packed, payload, _key, _place in submissions:
            if packed is not last:
                last = packed
                for ref in spec(packed).blobs:
                    if not has(ref.digest):
                        missing[ref.digest] = None
            if isinstance(payload, BlobRef) and not has(payload.digest):
                missing[payload.digest] = None
        return tuple(missing)

    def sweep(self, now: float) -> None:
        """Remove what has been idle for long enough; call it now and then."""
        idle = {
            digest: self._idle.get(digest, now)
            for digest in self._blobs.digests()
            if digest not in self._counts
        }
        for digest in [digest for digest, since in idle.items() if now - since >= self._keep]:
            del idle[digest]
            self._blobs.remove(digest)
        self._idle = idle
        self._blobs.drop_stale_uploads()
