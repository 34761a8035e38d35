"""Addresses whose greetings fail: they wait longer and longer, and nobody else does.

Time is in the calls. An address is forgotten when a greeting of it succeeds, or when nothing of it
has failed for a while; of too many, the one that failed longest ago.
"""

from __future__ import annotations

from typing import Final

import attrs

FREE: Final = 4
"""Failures that cost nothing: a token pasted wrong, a look at the port."""

FIRST: Final = 0.1
LONGEST: Final = 10.0
"""Seconds that a connection waits after one failure more, and after very many."""

FORGOTTEN: Final = 60.0
"""Seconds after the last failure."""

ADDRESSES: Final = 4096


@attrs.define
class _Suspect:
    failures: int
    last: float


class Suspects:
    """How often the addresses have failed lately."""

    def __init__(self, most: int = ADDRESSES) -> None:
        self._most = most
        self._known: dict[str, _Suspect] = {}  # the one that failed last comes last

    def __len__(self) -> int:
        return len(self._known)

    def failed(self, address: str, now: float) -> None:
        """One more greeting of this address came to nothing, by its own fault."""
        before = self._known.pop(address, None)
        lately = before is not None and now - before.last < FORGOTTEN
        failures = before.failures + 1 if before is not None and lately else 1
        self._known[address] = _Suspect(failures, now)
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]

    def succeeded(self, address: str) -> None:
        """Somebody there is known: the others may be slow, or a step behind."""
        self._known.pop(address, None)

    def delay(self, address: str, now: float) -> float:
        """Seconds from its arrival that a connection of this address waits."""
        suspect = self._known.get(address)
        if suspect is None or suspect.failures <= FREE:
            return 0.0
        if now - suspect.last >= FORGOTTEN:
            del self._known[address]
            return 0.0
        doublings = min(suspect.failures - FREE - 1, 30)
        return min(FIRST * 2.0**doublings, LONGEST)
