"""Frames: lists of records packed with msgpack, checked when they are unpacked.

Records are positional (lists, not maps): a field's place is its name, and
``docs/reference/protocol.md`` lists the places. A later version appends fields; a reader ignores
what it does not know.
"""

from __future__ import annotations

from typing import Any

import msgpack

from .errors import Malformed, NotPackable
from .limits import LISTED, PACKED_LISTS

_SMALL = 8192
"""Bytes that may be unpacked without counting: they cannot hold more lists than this."""

_packer = msgpack.Packer(use_bin_type=True)
pack = _packer.pack
"""Pack a value of None, bool, int, float, str, bytes, lists, tuples and maps."""


def unpack(data: bytes, most: int = PACKED_LISTS, longest: int = LISTED) -> Any:
    """Unpack what ``pack`` made; text must be UTF-8, map keys text or integers.

    An empty list is one byte here and 64 in memory: ``most`` bounds how many lists and maps there
    may be, and ``longest`` what one of them may hold, which is known before anything is unpacked.

    Raises:
        Malformed: the bytes are no such value, or there is too much in it.
    """
    try:
        if len(data) <= _SMALL:
            return msgpack.unpackb(data, ext_hook=_no_extension, strict_map_key=False)
        return _unpack_counted(data, most, longest)
    except (
        ValueError,
        TypeError,
        RecursionError,
        UnicodeDecodeError,
        msgpack.UnpackException,
    ) as e:
        raise Malformed(f"a frame cannot be unpacked: {e}") from None


def _unpack_counted(data: bytes, most: int, longest: int) -> Any:
    left = most

    def count(value: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"it has more than {most} lists and maps")
        return value

    return msgpack.unpackb(
        data,
        ext_hook=_no_extension,
        strict_map_key=False,
        list_hook=count,
        object_hook=count,
        max_array_len=longest,
        max_map_len=longest,
    )


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"an extension type, {code}, has no meaning here")


def unpack_list(data: bytes, most: int = PACKED_LISTS) -> list[Any]:
    """Unpack a frame, which is a list.

    Raises:
        Malformed: the bytes are no packed list, or there is too much in it.
    """
    value = unpack(data, most)
    if type(value) is not list:
        raise Malformed(f"a frame must be a list, not {type(value).__name__}")
    return value


def unpack_map(data: bytes) -> dict[str, Any]:
    """Unpack a packed map with text keys.

    Raises:
        Malformed: the bytes are no such map.
    """
    value = unpack(data)
    if type(value) is not dict or not all(type(key) is str for key in value):
        raise Malformed("a map with text keys was expected")
    return value


_LARGE_INTEGER = 1


def _beyond_64_bits(value: Any) -> msgpack.ExtType:
    if type(value) is not int:
        raise TypeError(f"{type(value).__name__} is no plain data")
    size = value.bit_length() // 8 + 1
    return msgpack.ExtType(_LARGE_INTEGER, value.to_bytes(size, "big", signed=True))


def _extended(code: int, data: bytes) -> int:
    if code != _LARGE_INTEGER:
        raise ValueError(f"an unknown extension type, {code}")
    return int.from_bytes(data, "big", signed=True)


def new_argument_packer() -> msgpack.Packer:
    """What packs for ``unpack_arguments``. It keeps as much memory as it has ever needed."""
    return msgpack.Packer(
        use_bin_type=True, default=_beyond_64_bits, unicode_errors="surrogateescape"
    )


_argument_packer = new_argument_packer()


def pack_arguments(value: Any) -> bytes:
    """Pack a call's plain arguments, or a command's words, for the child.

    Unlike ``pack`` it takes integers of any size, and file names that are no UTF-8, in the form
    that ``os.fsdecode`` gives them.

    Raises:
        NotPackable: there is something in it that is no plain data.
    """
    try:
        return _argument_packer.pack(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as e:
        _argument_packer.reset()
        raise NotPackable(str(e)) from None


def unpack_arguments(data: bytes) -> Any:
    """Unpack what ``pack_arguments`` made.

    Raises:
        Malformed: the bytes are no such value.
    """
    try:
        return msgpack.unpackb(
            data, ext_hook=_extended, strict_map_key=False, unicode_errors="surrogateescape"
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as e:
        raise Malformed(f"arguments cannot be unpacked: {e}") from None
