"""Frames: lists of records packed with msgpack, checked when they are unpacked.

Records are positional (lists, not maps): a field's place is its name, and ``docs/protocol.md``
lists the places. A later version appends fields; a reader ignores what it does not know.
"""

from __future__ import annotations

from typing import Any

import msgpack

from .errors import Malformed

_packer = msgpack.Packer(use_bin_type=True)
pack = _packer.pack
"""Pack a value of None, bool, int, float, str, bytes, lists, tuples and maps."""


def unpack(data: bytes) -> Any:
    """Unpack what ``pack`` made; text must be UTF-8, map keys text or integers.

    Raises:
        Malformed: the bytes are no such value.
    """
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False, use_list=True)
    except (
        ValueError,
        TypeError,
        RecursionError,
        UnicodeDecodeError,
        msgpack.UnpackException,
    ) as e:
        raise Malformed(f"a frame cannot be unpacked: {e}") from None


def unpack_list(data: bytes) -> list[Any]:
    """Unpack a frame, which is a list.

    Raises:
        Malformed: the bytes are no packed list.
    """
    value = unpack(data)
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
