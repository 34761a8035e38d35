"""Plain tables: columns as wide as they need to be, and no wider than the terminal."""

from __future__ import annotations

import shutil

import click

from .rendering import harmless
from .shared import on_terminal

WIDEST = 40
"""Characters of one column on a terminal."""


class Table:
    """Rows of text under headings; a heading that begins with ``>`` has its column at the right."""

    def __init__(self, *headings: str) -> None:
        self._right = [heading.startswith(">") for heading in headings]
        self._rows = [[heading.lstrip(">") for heading in headings]]

    def add(self, *cells: str) -> None:
        """Add a row."""
        self._rows.append([harmless(cell) for cell in cells])

    def lines(self, width: int | None = None) -> list[str]:
        """The table's lines; ``width``, where given, is the most that a line may have."""
        rows = self._rows
        if width is not None:
            rows = [[_cut(cell, WIDEST) for cell in row] for row in rows]
        widths = [max(len(row[k]) for row in rows) for k in range(len(self._right))]
        lines = ["  ".join(self._cells(row, widths)).rstrip() for row in rows]
        return lines if width is None else [_cut(line, width) for line in lines]

    def _cells(self, row: list[str], widths: list[int]) -> list[str]:
        return [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, self._right, strict=True)
        ]

    def show(self, empty: str) -> None:
        """Print it on stdout; without rows, say ``empty`` on stderr."""
        if len(self._rows) == 1:
            click.echo(empty, err=True)
            return
        width = shutil.get_terminal_size().columns if on_terminal(1) else None
        click.echo("\n".join(self.lines(width)))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"
