"""Types of arguments that stock AMP lacks: bytes of any length, and plain data.

A ``Frame`` is bytes that a sibling module packed; it spans as many 64 KiB values of the box as it
needs: ``jobs``, ``jobs.1``, ``jobs.2``, ... A ``Packed`` is a frame of plain data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.protocols import amp

from .errors import TooLarge
from .limits import LISTED, PACKED_LISTS
from .packing import pack, unpack

_VALUE = 0xFFFF


class Frame(amp.Argument):
    """Bytes of any length (up to the box's limit), over several keys of a box."""

    def __init__(self, optional: bool = False) -> None:
        super().__init__(optional)  # type: ignore[no-untyped-call]  # Twisted's own is untyped

    def toBox(self, name: bytes, strings: dict[bytes, bytes], objects: Any, proto: Any) -> None:
        data = self.toString(objects[_python_name(name)])
        strings[name] = data[:_VALUE]
        for place, start in enumerate(range(_VALUE, len(data), _VALUE), 1):
            strings[name + b".%d" % place] = data[start : start + _VALUE]

    def fromBox(self, name: bytes, strings: dict[bytes, bytes], objects: Any, proto: Any) -> None:
        objects[_python_name(name)] = self.fromString(gathered(name, strings))

    def toString(self, value: bytes) -> bytes:
        return value

    def fromString(self, data: bytes) -> Any:
        return data


class Packed(Frame):
    """Plain data (None, bool, numbers, text, bytes, lists, maps with text keys).

    A question's may be bounded: in bytes, which is ``TooLarge``, in the lists inside, and in what
    one of these holds.
    """

    def __init__(
        self,
        optional: bool = False,
        most: int | None = None,
        lists: int = PACKED_LISTS,
        longest: int = LISTED,
    ) -> None:
        super().__init__(optional)
        self._most = most
        self._lists = lists
        self._longest = longest

    def toString(self, value: Any) -> bytes:
        return pack(value)

    def fromString(self, data: bytes) -> Any:
        if self._most is not None and len(data) > self._most:
            raise TooLarge(f"{len(data)} bytes of data; the limit is {self._most}")
        return unpack(data, self._lists, self._longest)


def gathered(name: bytes, strings: Mapping[bytes, bytes]) -> bytes:
    """A value that may take several keys of a box."""
    parts = [strings[name]]
    while (part := strings.get(name + b".%d" % len(parts))) is not None:
        parts.append(part)
    return b"".join(parts)


def _python_name(name: bytes) -> str:
    return name.decode("ascii")
