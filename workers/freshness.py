"""Notices that the files of a user's modules have changed since they were imported."""

from __future__ import annotations

import os
import sys
import time

_SHARE = 20
"""Looking may take one part in this many of the time between two looks."""


class Freshness:
    """The files of the modules that were imported from below some folders."""

    def __init__(self, folders: list[str]) -> None:
        self._below = tuple(os.path.realpath(folder).rstrip(os.sep) + os.sep for folder in folders)
        self._seen: dict[str, tuple[int, int] | None] = {}
        self._known: set[str] = set()
        self._look_again = 0.0

    def note(self, came: float) -> None:
        """Remember the files of modules that were imported after this moment of
        ``CLOCK_MONOTONIC``.

        One that was written to after that may have been imported as it was before: it is stale.
        """
        if len(sys.modules) == len(self._known):
            return
        since = time.time_ns() - int((time.monotonic() - came) * 1e9)
        for name in sys.modules.keys() - self._known:
            file = getattr(sys.modules[name], "__file__", None)
            if isinstance(file, str) and self._is_ours(file):
                mark = _mark(file)
                written = mark is not None and since < mark[0] <= time.time_ns()
                self._seen[file] = None if written else mark
        self._known = set(sys.modules)

    def _is_ours(self, file: str) -> bool:
        path = os.path.realpath(file)
        return path.startswith(self._below) and "site-packages" not in path

    def stale(self) -> bool:
        """Whether one of them is not what it was."""
        began = time.monotonic()
        if began < self._look_again:
            return False
        changed = any(_mark(file) != mark for file, mark in self._seen.items())
        ended = time.monotonic()
        self._look_again = ended + (ended - began) * _SHARE
        return changed


def _mark(file: str) -> tuple[int, int] | None:
    try:
        status = os.stat(file)  # noqa: PTH116  # many a batch; a Path each would double the cost
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
