"""How much is measured."""

from __future__ import annotations

import os

import attrs


@attrs.frozen(kw_only=True)
class Plan:
    """What every measurement goes by."""

    quick: bool = False
    """Little enough to see that it works; the figures mean nothing."""
    rounds: int = 5
    slots: int = 2
    """Processes that run jobs, of whatever system is measured."""
    profile: str | None = None
    """A folder in which profiles of coordinator and agent are left; figures are worse with it."""

    def few(self, usual: int, quick: int) -> int:
        """A number of jobs or samples, and what it is in a quick run."""
        return quick if self.quick else usual

    @property
    def times(self) -> int:
        """How often a thing is measured."""
        return 1 if self.quick else self.rounds


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
