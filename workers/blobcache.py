"""The values that an agent has fetched, on its own disk: bounded, the least recently used go first.

A value that an attempt held here refers to is kept in any case, so that the path of a fetched one
stays good until its attempt has been reported.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..protocol.jobs import BlobRef

if TYPE_CHECKING:
    from ..protocol.blobs import BlobFolder


class BlobCache:
    """A folder of blobs with a bound on its bytes."""

    def __init__(self, blobs: BlobFolder, limit: int) -> None:
        self.blobs = blobs
        self.limit = limit
        self.size = 0
        """Bytes of all values in the folder."""
        self._sizes: OrderedDict[bytes, int] = OrderedDict()
        """By digest; the least recently used first."""
        self._in_use: Counter[bytes] = Counter()

    async def start(self) -> None:
        """Begin empty: what an earlier process left is not known to be used."""
        await self.blobs.start()
        for digest in list(self.blobs.digests()):
            await self.blobs.remove(digest)

    def hold(self, refs: Iterable[BlobRef]) -> None:
        """An attempt refers to these: they stay. Once more for every attempt."""
        self._in_use.update(ref.digest for ref in refs)

    def release(self, refs: Iterable[BlobRef]) -> None:
        """An attempt that referred to these has ended."""
        for ref in refs:
            self._in_use[ref.digest] -= 1
            if self._in_use[ref.digest] <= 0:
                del self._in_use[ref.digest]
        self._make_room()

    def has(self, ref: BlobRef) -> bool:
        return self.blobs.has(ref.digest)

    def take(self, ref: BlobRef) -> Path:
        """The path of a value that is there, now the most recently used.

        Raises:
            NoSuchBlob: it is not there.
        """
        path = self.blobs.file(ref)
        if ref.digest not in self._sizes:
            self._sizes[ref.digest] = ref.size
            self.size += ref.size
        self._sizes.move_to_end(ref.digest)
        self._make_room(keep=ref.digest)
        return path

    def _make_room(self, keep: bytes | None = None) -> None:
        if self.size <= self.limit:
            return
        for digest in list(self._sizes):
            if digest == keep or digest in self._in_use:
                continue
            self.size -= self._sizes.pop(digest)
            self.blobs.remove(digest)
            if self.size <= self.limit:
                return
