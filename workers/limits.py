"""The limits that a job may have lowered, for all that comes after it in its process."""

from __future__ import annotations

import functools
import resource
from collections.abc import Callable
from typing import Any, Final

LOOK_AFTER: Final = 0.001
"""Seconds after which the limits are looked at, whether Python has been asked to set one or not.
Looking takes as long as all else around a small job."""

_LIMITS = (
    resource.RLIMIT_AS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NOFILE,
)


def _now() -> list[tuple[int, int]]:
    return [resource.getrlimit(which) for which in _LIMITS]


class Limits:
    """Those of this process, from its preparation on."""

    def __init__(self) -> None:
        self._before = _now()
        self._touched = False
        self._looked = 0.0
        for name in ("setrlimit", "prlimit"):
            if hasattr(resource, name):
                setattr(resource, name, self._noting(getattr(resource, name)))

    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def noted(*args: Any) -> Any:
            self._touched = True
            return function(*args)

        return noted

    def changed(self, now: float, last: bool) -> bool:
        """Whether one is not what it was. It is looked at after a job that has asked for it, at
        the end of a batch, and where some time has passed (``now``, in seconds)."""
        if not (last or self._touched or now - self._looked >= LOOK_AFTER):
            return False
        self._touched = False
        self._looked = now
        return _now() != self._before
