"""How long to wait before the next try: exponential, with full jitter.

A wait is any length up to a bound that doubles with every failure, so that the many who lost the
same peer at the same moment come back spread over time.
"""

from __future__ import annotations

from random import Random

FIRST_SECONDS = 1.0
"""The bound of the first wait; well below a lease, so that a short fault costs no attempt."""

LONGEST_SECONDS = 5.0
"""A coordinator that has been started again sees all of its workers after this time."""


class Backoff:
    """The waits between tries, of one who tries."""

    def __init__(
        self, random: Random, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS
    ) -> None:
        self._random = random
        self._first = first
        self._longest = longest
        self._bound = first

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        bound, self._bound = self._bound, min(self._bound * 2, self._longest)
        return self._random.uniform(0, bound)

    def reset(self) -> None:
        """It worked."""
        self._bound = self._first
