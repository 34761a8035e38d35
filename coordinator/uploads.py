"""Values that peers send and that nothing refers to yet: bounded for each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Iterator

from ..protocol.errors import Malformed, QueueFull, Refused, StorageFull, TooLarge
from ..protocol.jobs import BlobRef
from .state import sliced

VALUES = 10_000
"""Values of one peer that nothing refers to, however small."""

WORKERS = 4
"""How many times more a worker may send than a client: the results of all of its slots."""


class Uploads:
    """Counts them from their first chunk until a job or an outcome refers to them, or they go."""

    def __init__(self, most: int, largest: int) -> None:
        self._most = most
        self._largest = largest
        self._sizes: dict[Hashable, dict[bytes, int]] = {}
        self._bytes: Counter[Hashable] = Counter()
        self._owners: dict[bytes, list[Hashable]] = {}

    def check(self, owner: Hashable, ref: BlobRef, worker: bool = False) -> None:
        """Whether this peer may send a chunk of this value; it counts from the first one on.

        Raises:
            TooLarge: no value may have that size.
            QueueFull: too much of a client's waits to be referred to.
            StorageFull: the same of a worker, who tries again.
            Malformed: it said before that the value has another size.
        """
        sizes = self._sizes.get(owner, {})
        known = sizes.get(ref.digest)
        if known is None:
            self._check_new(owner, ref, worker, len(sizes))
            self._sizes.setdefault(owner, sizes)[ref.digest] = ref.size
            self._bytes[owner] += ref.size
            self._owners.setdefault(ref.digest, []).append(owner)
        elif known != ref.size:
            raise Malformed(f"a value of {known} bytes cannot have {ref.size}")

    def _check_new(self, owner: Hashable, ref: BlobRef, worker: bool, values: int) -> None:
        if ref.size > self._largest:
            raise TooLarge(f"a value of {ref.size} bytes; the limit is {self._largest}")
        factor, refusal = (WORKERS, StorageFull) if worker else (1, QueueFull)
        most: int = self._most * factor
        refused: type[Refused] = refusal
        if values >= VALUES * factor:
            raise refused(f"{values} values were sent that no job refers to")
        if values and self._bytes[owner] + ref.size > most:
            raise refused(f"the values that were sent and that no job refers to fill {most} bytes")

    def settle(self, digests: Iterable[bytes]) -> None:
        """These are referred to now, or are gone."""
        for digest in digests:
            for owner in self._owners.pop(digest, ()):
                sizes = self._sizes[owner]
                self._bytes[owner] -= sizes.pop(digest)
                if not sizes:
                    del self._sizes[owner], self._bytes[owner]

    def settle_gone(
        self, here: Callable[[bytes], bool], coming: Callable[[], Container[bytes]]
    ) -> Iterator[None]:
        """Look which of them are neither here nor on their way any more, a slice a step."""
        for some in sliced(list(self._owners)):
            on_their_way = coming()
            self.settle([d for d in some if not here(d) and d not in on_their_way])
            yield
