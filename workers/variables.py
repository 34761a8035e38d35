"""Environment variables that change with every job."""

from __future__ import annotations

import ctypes
import os
from typing import Any

_LONGEST = 64


def environment() -> Any:
    """The raw environment: comparing it costs a microsecond, decoding it fifty."""
    return getattr(os.environ, "_data", os.environ)


def _find_putenv() -> Any:
    try:
        putenv = ctypes.PyDLL(None).putenv
    except (OSError, AttributeError):
        return None
    putenv.argtypes = [ctypes.c_void_p]
    return putenv


_putenv = _find_putenv()


class Variable:
    """One variable, in memory of its own.

    What ``os.putenv`` is given, the C library keeps for ever, text by text: a child that runs
    millions of jobs would grow with each of them.
    """

    def __init__(self, name: str) -> None:
        self._name = os.fsencode(name)
        self._head = self._name + b"="
        self._text = ctypes.create_string_buffer(len(self._head) + _LONGEST)
        self._address = ctypes.addressof(self._text)

    def set(self, value: bytes, kept: dict[bytes, bytes]) -> None:
        """Set it for C, for Python, and in ``kept``; past the encoding that ``os.environ`` does.
        A job may have put another text in its place, so its place is taken each time."""
        if _putenv is None or len(value) >= _LONGEST:
            os.putenv(self._name, value)
        else:
            self._text.value = self._head + value
            _putenv(self._address)
        environment()[self._name] = kept[self._name] = value
