"""Plain tables: columns as wide as they need to be, and no wider than the terminal."""

from __future__ import annotations

import shutil
import unicodedata

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
        widths = [max(columns(row[k]) for row in rows) for k in range(len(self._right))]
        lines = ["  ".join(self._cells(row, widths)).rstrip() for row in rows]
        return lines if width is None else [_cut(line, width) for line in lines]

    def _cells(self, row: list[str], widths: list[int]) -> list[str]:
        return [
            _padding(cell, width) + cell if right else cell + _padding(cell, width)
            for cell, width, right in zip(row, widths, self._right, strict=True)
        ]

    def show(self, empty: str) -> None:
        """Print it on stdout; without rows, say ``empty`` on stderr."""
        if len(self._rows) == 1:
            click.echo(empty, err=True)
            return
        width = shutil.get_terminal_size().columns if on_terminal(1) else None
        click.echo("\n".join(self.lines(width)))


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: of East Asian writing, two a character."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _padding(cell: str, width: int) -> str:
    return " " * (width - columns(cell))


def _cut(text: str, width: int) -> str:
    if columns(text) <= width:
        return text
    kept, room = 0, max(width - 1, 0)
    for character in text:
        room -= _width(character)
        if room < 0:
            break
        kept += 1
    return text[:kept] + "…"
