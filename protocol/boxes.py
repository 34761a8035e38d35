"""The bytes of AMP boxes, taken apart as they arrive, with a bound on each box.

A box is pairs of key and value, each behind its length in two bytes, and ends with a length of 0
where a key would be. What is held of an unfinished box is never more than ``most_bytes``.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.protocols.amp import AmpBox

from .errors import TooLarge
from .limits import BOX_KEYS

_MAX_KEY = 255
_new = AmpBox.__new__


class BoxReader:
    """Bytes in any pieces in, whole boxes with their sizes in bytes out.

    ``most_bytes`` and ``most_keys`` may be changed between two boxes.
    """

    __slots__ = ("_box", "_key", "_keys", "_rest", "_size", "most_bytes", "most_keys")

    def __init__(self, most_bytes: int, most_keys: int = BOX_KEYS) -> None:
        self.most_bytes = most_bytes
        self.most_keys = most_keys
        self._rest = b""
        self._begin()

    def _begin(self) -> None:
        self._box = _new(AmpBox)  # without its ``__init__``, which takes long to do nothing
        self._key: bytes | None = None
        self._keys = self._size = 0

    def forget(self) -> None:
        """Let go of a box that will not be whole."""
        self._rest = b""
        self._begin()

    def read(self, data: bytes) -> Iterator[tuple[AmpBox, int]]:
        """The boxes that are whole with these bytes. Whoever stops early has lost the rest.

        Raises:
            TooLarge: a key is longer than AMP allows, or the box has too many keys or bytes, even
                if the end of it has not arrived.
        """
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at, end = 0, len(data)
        box, key, keys, size = self._box, self._key, self._keys, self._size
        # a box of a frame has ten parts: the state of this is local, and all of it in one loop
        while end - at >= 2:
            length = data[at] << 8 | data[at + 1]
            if length == 0 and key is None:
                self._begin()
                yield box, size + 2
                at += 2
                box, keys, size = self._box, 0, 0
                continue
            if size + length > self.most_bytes:
                raise TooLarge(f"more than {self.most_bytes} bytes in one box")
            if key is None:
                self._check_key(length, keys)
            stop = at + 2 + length
            if stop > end:
                break
            part = data[at + 2 : stop]
            size += length + 2
            if key is None:
                key = part
                keys += 1
            else:
                box[key] = part
                key = None
            at = stop
        self._box, self._key, self._keys, self._size = box, key, keys, size
        self._rest = data[at:]

    def _check_key(self, length: int, keys: int) -> None:
        if length > _MAX_KEY:
            raise TooLarge(f"a key of {length} bytes: this is not AMP")
        if keys >= self.most_keys:
            raise TooLarge(f"more than {self.most_keys} keys in one box")
