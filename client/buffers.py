"""Large buffers in a call: beside its pickle while it is made, inside again when it is written.

A pickle of a large array is a copy of it, and who looks for something in the pickle looks through
the array, too. So buffers are taken out (pickle's protocol 5 has that), copied once if they can
change, and put back piece by piece where the bytes are hashed and written, in a thread. What the
other side reads is the same as if the whole had been pickled at once.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from typing import Any

from ..protocol.buffers import LARGE, OPCODES, put_in

__all__ = ["LARGE", "Pieces", "dump"]


class Pieces:
    """Bytes that are not in one place."""

    __slots__ = ("_pieces", "_size")

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = tuple(pieces)
        self._size = sum(map(len, self._pieces))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


def dump(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, Pieces | None]:
    """The pickle of a call; or, where it has large buffers, the rest of it and the whole.

    Raises what pickling raises.
    """
    buffers: list[pickle.PickleBuffer] = []
    packed = pickle.dumps((_beside(args), kwargs), 5, buffer_callback=buffers.append)
    if not buffers:
        return packed, None
    whole = _together(packed, buffers)
    return (pickle.dumps((args, kwargs), 5) if whole is None else packed), whole


def _beside(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments whose large bytes are taken for buffers, too, but those that are there twice."""
    same = [id(arg) for arg in args]
    return tuple(
        pickle.PickleBuffer(arg)
        if type(arg) is bytes and len(arg) >= LARGE and same.count(id(arg)) == 1
        else arg
        for arg in args
    )


def _together(packed: bytes, buffers: list[pickle.PickleBuffer]) -> Pieces | None:
    """The pickle with its buffers inside; None where that is not worth it, or not possible."""
    if len(packed) > OPCODES:
        return None
    try:
        views = [buffer.raw() for buffer in buffers]
    except BufferError:  # one that is not contiguous
        return None
    if sum(view.nbytes for view in views) < LARGE:
        return None
    return Pieces(bytes(piece) for piece in put_in(packed, views, _copied))


def _copied(view: memoryview) -> bytes:
    """Bytes never change; whatever else is copied, since it may."""
    return view.obj if type(view.obj) is bytes else bytes(view)
