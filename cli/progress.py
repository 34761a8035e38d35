"""A bar on stderr while a ``map`` runs; where that is a file, a line now and then."""

from __future__ import annotations

import os
import time
from typing import Any

from click import echo

from .rendering import span
from .shared import on_terminal

REFRESH = 0.1
"""Seconds between two pictures of the bar."""

LINE_EVERY = 5.0
"""Seconds between two lines in a file."""


class NoBar:
    """No bar: stderr is no terminal."""

    def start(self) -> None: ...

    def update(self, done: int, failed: int, total: int | None, last: bool = False) -> None: ...

    def hide(self) -> None: ...

    def stop(self) -> None: ...


class Lines(NoBar):
    """A line every few seconds: what is wanted of progress in a log."""

    def __init__(self) -> None:
        self._began = self._written = time.monotonic()

    def update(self, done: int, failed: int, total: int | None, last: bool = False) -> None:
        now = time.monotonic()
        if now - self._written < LINE_EVERY and not last:
            return
        self._written = now
        of = "" if total is None else f"/{total}"
        failures = f", {failed} failed" if failed else ""
        echo(f"{done}{of} done{failures}, {done / max(now - self._began, 1e-3):.1f}/s", err=True)


class Bar(NoBar):
    """rich's bar, drawn only when ``update`` is called, at most ten times a second."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self._progress: Any = Progress(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("[red]{task.fields[failed]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True, force_terminal=True),
            auto_refresh=False,
            transient=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=None, rate="", failed="")
        self._drawn = 0.0
        self._shown = False

    def start(self) -> None:
        self._progress.start()
        self._shown = True
        self._began = time.monotonic()

    def update(self, done: int, failed: int, total: int | None, last: bool = False) -> None:
        now = time.monotonic()
        if now - self._drawn < REFRESH and not last:
            return
        self._drawn = now
        if not self._shown:
            self._progress.start()
            self._shown = True
        self._progress.update(
            self._task,
            completed=done,
            total=total,
            rate=f"{done / max(now - self._began, 1e-3):.1f}/s",
            failed=f"{failed} failed" if failed else "",
        )
        self._progress.refresh()

    def hide(self) -> None:
        """Take the bar away, so that a line can be written where it stands."""
        if self._shown:
            self._shown = False
            self._progress.live.transient = True
            self._progress.stop()

    def stop(self) -> None:
        """Leave the bar as it stands."""
        if self._shown:
            self._progress.live.transient = False
            self._progress.stop()
            self._shown = False


def bar(wanted: bool | None) -> NoBar:
    """A bar where stderr is a terminal; where it is none, lines, if they are wanted."""
    drawable = on_terminal(2) and os.environ.get("TERM") != "dumb"
    if drawable and wanted is not False:
        return Bar()
    return Lines() if wanted else NoBar()


def summary(total: int, failed: int, seconds: float) -> str:
    """``120 items: 118 done, 2 failed, in 3.2 s``."""
    items = "1 item" if total == 1 else f"{total} items"
    if failed:
        return f"{items}: {total - failed} done, {failed} failed, in {span(seconds)}"
    return f"{items} done in {span(seconds)}"
