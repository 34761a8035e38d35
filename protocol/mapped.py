"""Reading a pickle from a file; its large buffers are mapped into memory where they lie.

An array that is mapped is there at once, and takes no memory that the system's cache of the file
does not take anyway: children that read the same one share it. Who writes to it writes to a copy
of the page that is his own. The file may be removed meanwhile; its room on the disk is free when
the last array from it is gone. Nobody writes to the files of values (``blobfiles``).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

from .buffers import LARGE, MARK, OPCODES, SIZE_OF_OPCODE
from .mounts import is_network, mounts_of_this_machine, nearest

MAPPED: Final = 32 * 1024 * 1024
"""Bytes of a file from which on it is mapped: each of them takes a file descriptor."""

_REST: Final = 4 * LARGE
"""Bytes besides what is mapped, at most: they are copied once more than need be."""

_FRAMED: Final = 2
"""Where pickles have the mark of a frame, but for those that buffers were put into."""

_BUFFERS: Final = {pickle.BYTEARRAY8: False, pickle.BINBYTES8: True}
"""By opcode, whether it is to be read only."""


def load(path: Path) -> Any:
    """Unpickle what a file holds; blocking.

    Raises whatever reading and unpickling raise.
    """
    with path.open("rb") as file:
        apart = _taken_apart(file, path)
        if apart is not None:
            rest, buffers = apart
            return pickle.loads(rest, buffers=buffers)  # noqa: S301  # the caller trusts the file
        file.seek(0)
        return pickle.load(file)  # noqa: S301  # the same


def _taken_apart(file: BinaryIO, path: Path) -> tuple[bytes, list[memoryview]] | None:
    """A pickle without its marked buffers, and these, mapped; None where that is of no use."""
    if os.fstat(file.fileno()).st_size < MAPPED:
        return None
    if file.read(_FRAMED + 1)[_FRAMED:] == pickle.FRAME:
        return None
    if not _is_local(path):  # what cannot be read any more would end this process
        return None
    with contextlib.suppress(OSError, ValueError):  # it cannot be mapped, or is no pickle
        whole = memoryview(_map(file.fileno()))
        return _split(whole, list(_marked(whole)))
    return None


def _is_local(path: Path) -> bool:
    mount = nearest(path.parent, mounts_of_this_machine())
    return mount is None or not is_network(mount.type)


def _map(descriptor: int) -> mmap.mmap:
    """Pages of our own, once they are written to. Room for all of them is not asked for."""
    flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)
    return mmap.mmap(descriptor, 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def _split(
    whole: memoryview, marked: list[tuple[int, int, bool]]
) -> tuple[bytes, list[memoryview]] | None:
    size = len(whole) - sum(end - begin for begin, end, _ in marked)
    if not marked or size > _REST:
        return None
    rest, buffers, written = bytearray(), [], 0
    for begin, end, read_only in marked:
        rest += whole[written : begin - SIZE_OF_OPCODE]
        rest += pickle.NEXT_BUFFER
        view = whole[begin:end]
        buffers.append(view.toreadonly() if read_only else view)
        written = end
    rest += whole[written:]
    return bytes(rest), buffers


class _Large(Exception):
    """An opcode with much data comes."""


class _Skimmed:
    """A pickle, for who goes through its opcodes, up to the next one with much data."""

    def __init__(self, whole: memoryview) -> None:
        self._whole = whole
        self.place = 0
        self.size = 0
        """Of the data of the opcode that ended it."""

    def tell(self) -> int:
        """As that of a file."""
        return self.place

    def read(self, size: int) -> bytes:
        """The same."""
        if size >= LARGE:
            self.size = size
            raise _Large
        data = bytes(self._whole[self.place : self.place + size])
        self.place += size
        return data

    def readline(self) -> bytes:
        """Nothing of what a pickler of today writes has lines."""
        raise ValueError("lines in a pickle")


def _marked(whole: memoryview) -> Iterator[tuple[int, int, bool]]:
    """Where the marked buffers begin and end, and whether they are to be read only.

    Raises:
        ValueError: it is no pickle, or one that nothing was put into.
    """
    skimmed, passed = _Skimmed(whole), 0
    while True:
        names = ["", ""]
        try:
            for opcode, _, _ in pickletools.genops(cast(IO[bytes], skimmed)):
                names = [names[1], opcode.name]
                if skimmed.place - passed > 2 * OPCODES:
                    raise ValueError("more opcodes than buffers are put between")
        except _Large:
            begin, end = skimmed.place, skimmed.place + skimmed.size
            code = bytes(whole[begin - SIZE_OF_OPCODE : begin - SIZE_OF_OPCODE + 1])
            if tuple(names) == MARK and code in _BUFFERS and end <= len(whole):
                yield begin, end, _BUFFERS[code]
            skimmed.place = end
            passed += skimmed.size
            continue
        return
