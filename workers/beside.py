"""Pickling a result whose large buffers, as those of arrays, are not copied for it."""

from __future__ import annotations

import pickle
from typing import Any, Protocol

from ..protocol.buffers import LARGE, OPCODES, put_in


class Writable(Protocol):
    """Where a pickle goes."""

    def write(self, data: Any) -> int: ...


class _TooMuch(Exception):
    """There are large buffers, and much besides."""


class _Rest:
    """A pickle without its large buffers, as long as it is short; a long one without any goes to
    its sink as it comes."""

    def __init__(self, sink: Writable) -> None:
        self._sink = sink
        self._parts: list[bytes] = []
        self._size = 0
        self._views: list[memoryview] = []

    def write(self, data: Any) -> int:
        """Take what a pickler writes."""
        if self._size > OPCODES:
            return self._sink.write(data)
        count = memoryview(data).nbytes
        self._size += count
        if self._size <= OPCODES:
            self._parts.append(bytes(data))
        elif self._views:
            raise _TooMuch
        else:
            for part in (*self._parts, data):
                self._sink.write(part)
        return count

    def is_inside(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether a buffer goes into the pickle; else it is put there at the end."""
        if self._size > OPCODES:
            return True
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if view.nbytes >= LARGE:
            self._views.append(view)
            return False
        return True

    def end(self) -> None:
        """Write what was kept back."""
        if self._size > OPCODES:
            return
        if not self._views:  # nearly always: going through a pickle takes longer than making it
            for part in self._parts:
                self._sink.write(part)
            return
        for piece in put_in(b"".join(self._parts), self._views, memoryview):
            self._sink.write(piece)


def dump_beside(sink: Writable, value: Any) -> bool:
    """Pickle to a sink; False, with nothing written, where that has to be done in the usual way.

    Raises what pickling raises.
    """
    rest = _Rest(sink)
    try:
        pickle.Pickler(rest, protocol=5, buffer_callback=rest.is_inside).dump(value)
    except _TooMuch:
        return False
    rest.end()
    return True
