"""Large buffers beside a pickle while it is made, and inside again when it is written.

Pickle's protocol 5 takes buffers out of a pickle. They are put back piece by piece where its bytes
are written, so that what is read is the same as if the whole had been pickled at once, and no copy
of it ever stands in memory.

A large one is marked, and begins at an even place in the file: who reads the file may map it into
memory instead (``mapped``), and who knows nothing of marks reads over them.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Iterator, Sequence
from typing import IO

LARGE = 1 << 20
"""Bytes of buffers from which they are worth it."""

OPCODES = 1 << 16
"""Bytes of a pickle that are gone through one by one, at most."""

_REPLACED = {"FRAME": 9, "NEXT_BUFFER": 1, "READONLY_BUFFER": 1}
"""Bytes of the opcodes that do not stay: the mark of a frame, of use to who reads a pickle in small
pieces only; a buffer beside it; and that this one is read only, which the opcode of bytes says."""

ALIGNED = 64
"""Bytes: where in a file a marked buffer may begin. What computes with an array wants so much."""

MARK = ("SHORT_BINBYTES", "POP")
"""The opcodes right before a marked buffer: filling, which comes and goes. No pickler writes them
in this order."""

_SIZE_OF_MARK = 3
"""Bytes, besides the filling."""

SIZE_OF_OPCODE = 9
"""Bytes of the opcode of a buffer, with its size."""

Piece = bytes | memoryview

_WRITTEN = 1 << 18
"""Bytes that are written at once: for more, the page cache looks for memory in larger pieces, which
takes a virtual machine up to six times as long."""


def write_in_parts(file: IO[bytes], data: Piece) -> None:
    """Write bytes of any length to a file."""
    view = memoryview(data)
    for at in range(0, view.nbytes, _WRITTEN):
        file.write(view[at : at + _WRITTEN])


def put_in(
    packed: bytes, views: Sequence[memoryview], of: Callable[[memoryview], Piece]
) -> Iterator[Piece]:
    """The pieces of a pickle, without the marks of frames, and the buffers in their places, each
    as ``of`` makes it."""
    place = written = 0  # in what is made, and in what it is made of
    taken = iter(views)
    for opcode, _, at in pickletools.genops(packed):
        size = _REPLACED.get(opcode.name)
        if at is None or size is None:
            continue
        piece = packed[written:at]
        written = at + size
        if opcode.name == "NEXT_BUFFER":
            view = next(taken)
            piece += _opcodes_of(view, place + len(piece))
            yield piece
            yield of(view)
            place += len(piece) + view.nbytes
        else:
            yield piece
            place += len(piece)
    yield packed[written:]


def _opcodes_of(view: memoryview, place: int) -> bytes:
    code = pickle.BINBYTES8 if view.readonly else pickle.BYTEARRAY8
    opcode = code + view.nbytes.to_bytes(8, "little")
    if view.nbytes < LARGE or type(view.obj) in (bytes, bytearray):  # they shall come back as such
        return opcode
    filling = -(place + _SIZE_OF_MARK + SIZE_OF_OPCODE) % ALIGNED
    return pickle.SHORT_BINBYTES + bytes((filling,)) + bytes(filling) + pickle.POP + opcode
