"""Large buffers beside a pickle while it is made, and inside again when it is written.

Pickle's protocol 5 takes buffers out of a pickle. They are put back piece by piece where its bytes
are written, so that what is read is the same as if the whole had been pickled at once, and no copy
of it ever stands in memory.
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

_FRAME = 9
"""Bytes of the mark of a frame, which is of use to who reads a pickle in small pieces only."""

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
    written, taken = 0, iter(views)
    for opcode, _, at in pickletools.genops(packed):
        if at is None:
            continue
        if opcode.name == "FRAME":
            yield packed[written:at]
            written = at + _FRAME
        elif opcode.name == "NEXT_BUFFER":
            view = next(taken)
            yield packed[written:at] + _opcode_of(view)
            yield of(view)
            written = at + 1
        elif opcode.name == "READONLY_BUFFER":  # said by the opcode of the bytes
            yield packed[written:at]
            written = at + 1
    yield packed[written:]


def _opcode_of(view: memoryview) -> bytes:
    code = pickle.BINBYTES8 if view.readonly else pickle.BYTEARRAY8
    return code + view.nbytes.to_bytes(8, "little")
