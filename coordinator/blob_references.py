"""Which blobs are referred to by jobs, and when the others go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ..protocol.blobs import BlobFolder
from ..protocol.errors import TooLarge
from ..protocol.ids import ClientId
from ..protocol.jobs import BlobRef, Submission, check_spec
from ..protocol.limits import FRAME_VALUES
from .ownership import Ownership
from .records import SpecRecord
from .settings import Settings
from .state import sliced
from .uploads import Uploads

LOOK_AT_ONCE = 1000
"""Blobs that one step of a sweep looks at; there may be a million."""


class BlobReferences:
    """Counts references to blobs; one that has had none for a while is removed."""

    def __init__(
        self,
        blobs: BlobFolder,
        settings: Settings,
        spec: Callable[[bytes], SpecRecord],
        values: Ownership,
        uploads: Uploads,
    ) -> None:
        """``spec``: unpacks one, and raises ``Malformed``."""
        self._blobs = blobs
        self._spec = spec
        self._values = values
        self._uploads = uploads
        self._keep = settings.blob_keep
        self._name_length = settings.name_length
        self._counts: Counter[bytes] = Counter()
        self._idle: dict[bytes, float] = {}
        """Since when, by the monotonic clock, something was seen to be referred to by nothing."""

    def restore(self, counts: Mapping[bytes, int]) -> None:
        """The references that an earlier coordinator has left."""
        self._counts.update(counts)

    def hold(self, digests: Iterable[bytes]) -> None:
        """Each mention is a reference."""
        digests = list(digests)
        self._uploads.settle(digests)
        self._counts.update(digests)

    def release(self, digests: Iterable[bytes]) -> None:
        """Each mention is a reference less."""
        for digest in digests:
            self._counts[digest] -= 1
            if self._counts[digest] <= 0:
                del self._counts[digest]

    def missing(self, client: ClientId, submissions: Sequence[Submission]) -> tuple[bytes, ...]:
        """The blobs that these jobs refer to and that are not here, or that their client has not
        sent: the two look the same to him.

        Raises:
            Malformed: a spec is none.
            TooLarge: there is too much in it, or there are too many blobs.
        """
        here, has_sent = self._blobs.has, self._values.has_sent
        missing: dict[bytes, None] = {}
        last = None
        for packed, payload, _key, _place in submissions:
            if packed is not last:
                last = packed
                for ref in self._checked(packed).blobs:
                    if not (has_sent(client, ref.digest) and here(ref.digest)):
                        missing[ref.digest] = None
            if type(payload) is not BlobRef:
                continue
            if not (has_sent(client, payload.digest) and here(payload.digest)):
                missing[payload.digest] = None
        if len(missing) > FRAME_VALUES:
            raise TooLarge(f"the jobs of one frame may refer to {FRAME_VALUES} values")
        return tuple(missing)

    def _checked(self, packed: bytes) -> SpecRecord:
        record = self._spec(packed)
        if not record.jobs:  # others have it, if there are some
            check_spec(record.spec, self._name_length)
        return record

    def sweep(self, now: float) -> Iterator[None]:
        """Remove what has been idle for long enough; to be done now and then, a slice a step."""
        idle: dict[bytes, float] = {}
        for some in sliced(list(self._blobs.digests()), LOOK_AT_ONCE):
            self._sweep_some(some, idle, now)
            yield
        self._idle = idle
        self._blobs.drop_stale_uploads()
        yield from self._uploads.settle_gone(self._blobs.has, self._blobs.half_sent)

    def _sweep_some(self, digests: Sequence[bytes], idle: dict[bytes, float], now: float) -> None:
        for digest in digests:
            if digest in self._counts or not self._blobs.has(digest):
                continue
            since = self._idle.get(digest, now)
            if now - since < self._keep:
                idle[digest] = since
            else:
                self._blobs.remove(digest)
