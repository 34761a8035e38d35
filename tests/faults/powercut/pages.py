"""Where in an SQLite file is what rows are found by: ids, keys, and the pointers of its trees."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

INTERIOR_INDEX, INTERIOR_TABLE, LEAF_INDEX, LEAF_TABLE = 0x02, 0x05, 0x0A, 0x0D

Places = dict[str, list[int]]
"""Offsets of bytes, by what they are: ``ids`` of rows, ``keys`` above them, ``children``,
``cells`` (the places of a page's cells), ``headers`` of pages, ``entries`` of indexes,
``free`` (the list of free pages)."""


def places(path: Path) -> Places:
    """Those of a closed file."""
    with closing(sqlite3.connect(path)) as connection:
        roots = [row[0] for row in connection.execute("SELECT rootpage FROM sqlite_master")]
    return _Walk(path.read_bytes()).places([1, *roots])


class _Walk:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = int.from_bytes(data[16:18], "big")
        self._found: defaultdict[str, list[int]] = defaultdict(list)

    def places(self, roots: list[int]) -> Places:
        pages = list(roots)
        while pages:
            pages += self._page(pages.pop())
        self._found["headers"] += range(100)
        trunk = self._number(32)
        while trunk:
            at = (trunk - 1) * self._size
            self._found["free"] += range(at, at + 8 + 4 * self._number(at + 4))
            trunk = self._number(at)
        return dict(self._found)

    def _number(self, at: int, size: int = 4) -> int:
        return int.from_bytes(self._data[at : at + size], "big")

    def _varint(self, at: int) -> range:
        """The bytes of a number."""
        end = at
        while self._data[end] & 0x80 and end < at + 8:
            end += 1
        return range(at, end + 1)

    def _page(self, number: int) -> Iterator[int]:
        """One page of a tree; its children."""
        start = (number - 1) * self._size
        header = start + (100 if number == 1 else 0)
        kind, cells = self._data[header], self._number(header + 3, 2)
        above = kind in (INTERIOR_TABLE, INTERIOR_INDEX)
        pointers = header + (12 if above else 8)
        self._found["headers"] += range(header, header + 8)
        self._found["cells"] += range(pointers, pointers + 2 * cells)
        if above:
            self._found["children"] += range(header + 8, header + 12)
            yield self._number(header + 8)
        for at in range(pointers, pointers + 2 * cells, 2):
            cell = start + self._number(at, 2)
            if above:
                self._found["children"] += range(cell, cell + 4)
                yield self._number(cell)
                cell += 4
            self._cell(kind, cell)

    def _cell(self, kind: int, cell: int) -> None:
        found, first = self._found, self._varint(cell)
        if kind == INTERIOR_TABLE:
            found["keys"] += first
        elif kind == LEAF_TABLE:
            found["ids"] += self._varint(first.stop)
        else:
            size = self._data[cell] if len(first) == 1 else 40
            found["entries"] += range(cell, first.stop + min(size, 40))
