"""Whether a write-ahead log of SQLite is whole, before SQLite reads it.

SQLite takes the first frame that does not fit its checksum for the end of the log, for that is what
a power cut leaves. So a bit that flips in the middle would take back commits, and mix their pages
with later ones that are in the file already. The difference can be told: every commit is synced
before the next one is written, so a power cut cannot leave a damaged frame before a commit that is
followed by another one.

The format is that of https://sqlite.org/fileformat2.html#the_write_ahead_log.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_LITTLE, _BIG = 0x377F0682, 0x377F0683
_MASK = 0xFFFFFFFF
_SECTOR = 512

Sums = tuple[int, int]


class _Frame(NamedTuple):
    """The head of a frame, which holds one page."""

    page: int
    size: int
    """Pages of the database after a commit; 0: the commit goes on in the next frame."""
    salt: Sums
    sums: Sums


def damage(log: Path) -> str:
    """Blocking: what is damaged in a log that its process has left behind, or nothing."""
    try:
        data = memoryview(log.read_bytes())
    except FileNotFoundError:
        return ""
    head = data[: _HEADER.size]
    if len(head) < _HEADER.size or not any(head):
        return ""
    magic, _, page_size, _, *salt, first, second = _HEADER.unpack(head)
    order = {_LITTLE: "<", _BIG: ">"}.get(magic)
    if order is None or checksum(head[:24], (0, 0), order) != (first, second):
        return "the head of its log does not fit its checksum"
    number = _first_that_does_not_fit(data, page_size, (salt[0], salt[1]), (first, second), order)
    if _is_followed_by_commits(data, page_size, (salt[0], salt[1]), number):
        return f"frame {number + 1} of its log does not fit its checksum, and commits follow it"
    return ""


def checksum(data: memoryview, sums: Sums, order: str) -> Sums:
    """SQLite's sum over pairs of 32-bit words, beginning with another one."""
    first, second = sums
    for one, other in struct.iter_unpack(f"{order}2I", data):
        first = (first + one + second) & _MASK
        second = (second + other + first) & _MASK
    return first, second


def _frame(data: memoryview, page_size: int, number: int) -> _Frame | None:
    """A frame, from 0; None where there are no more."""
    start = _HEADER.size + number * (_FRAME.size + page_size)
    if start + _FRAME.size + page_size > len(data):
        return None
    page, size, *rest = _FRAME.unpack_from(data, start)
    return _Frame(page, size, (rest[0], rest[1]), (rest[2], rest[3]))


def _first_that_does_not_fit(
    data: memoryview, page_size: int, salt: Sums, sums: Sums, order: str
) -> int:
    number = 0
    while (frame := _frame(data, page_size, number)) is not None and frame.salt == salt:
        start = _HEADER.size + number * (_FRAME.size + page_size)
        sums = checksum(data[start : start + 8], sums, order)
        page = start + _FRAME.size
        sums = checksum(data[page : page + page_size], sums, order)
        if sums != frame.sums:
            break
        number += 1
    return number


def _is_followed_by_commits(data: memoryview, page_size: int, salt: Sums, number: int) -> bool:
    """Whether frames of this log come after a whole commit that is not to be trusted.

    What is left of an older log has another salt. Where the head of a frame lies across two sectors
    of the disk, it may be half of this log and half of an older one: then it tells of no commit.
    """
    committed = False
    while (frame := _frame(data, page_size, number)) is not None:
        if frame.salt == salt:
            if committed:
                return True
            start = _HEADER.size + number * (_FRAME.size + page_size)
            committed = frame.size != 0 and start % _SECTOR <= _SECTOR - _FRAME.size
        number += 1
    return False
