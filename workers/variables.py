"""The environment of a child's jobs: two variables that change with each of them."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from typing import Any

_LONGEST = 64


def _raw(environ: Any) -> dict[bytes, bytes]:
    """What ``os.environ`` holds: comparing that costs a microsecond, decoding it fifty."""
    raw: dict[bytes, bytes] = getattr(environ, "_data", environ)
    return raw


def _find_putenv() -> Any:
    try:
        putenv = ctypes.PyDLL(None).putenv
    except (OSError, AttributeError):
        return None
    putenv.argtypes = [ctypes.c_void_p]
    return putenv


_putenv = _find_putenv()


class Variable:
    """One variable, in memory of its own, which is set by writing there.

    What ``os.putenv`` is given, the C library keeps for ever, text by text: a child that runs
    millions of jobs would grow with each of them.
    """

    __slots__ = ("_address", "_head", "_text", "name")

    def __init__(self, name: str) -> None:
        self.name = os.fsencode(name)
        self._head = self.name + b"="
        self._text = ctypes.create_string_buffer(len(self._head) + _LONGEST)
        self._address = ctypes.addressof(self._text)

    def write(self, value: bytes) -> None:
        """Set it, if it is in its place."""
        if _putenv is None:
            os.putenv(self.name, value)
        else:
            self._text.value = self._head + value[: _LONGEST - 1]

    def take_place(self) -> None:
        """Be the variable that the C library finds under this name."""
        if _putenv is not None:
            _putenv(self._address)


class Environment:
    """The environment as it shall be before each job.

    A job that has changed nothing through ``os`` costs no look at it.
    """

    def __init__(self) -> None:
        self._environ = os.environ
        self._raw = _raw(os.environ)
        self._before = dict(self._raw)
        self._variables = Variable("AMPACITY_JOB_ID"), Variable("AMPACITY_ATTEMPT")
        self._touched = True
        os.putenv = self._noting(os.putenv)
        os.unsetenv = self._noting(os.unsetenv)

    def _noting(self, function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def noted(*args: Any) -> None:
            self._touched = True
            function(*args)

        return noted

    def say(self, job: bytes, attempt: bytes) -> None:
        """Say who runs."""
        raw, before = self._raw, self._before
        number, which = self._variables
        number.write(job)
        raw[number.name] = before[number.name] = job
        if self._touched or before.get(which.name) != attempt or raw.get(which.name) != attempt:
            which.write(attempt)
            raw[which.name] = before[which.name] = attempt
        if self._touched:
            self._touched = False
            for variable in self._variables:
                variable.take_place()

    def restore(self) -> None:
        """Undo what a job did to it."""
        if os.environ is not self._environ:
            os.environ = self._environ  # noqa: B003  # a job has put another object there
            self._touched = True
        if self._touched and self._raw != self._before:
            self._put_back()

    def _put_back(self) -> None:
        now: Any = os.environ
        encode, decode = now.encodekey, now.decodevalue
        before = {os.fsdecode(key): decode(value) for key, value in self._before.items()}
        for name in [name for name in now if encode(name) not in self._before]:
            del now[name]
        for name, value in before.items():
            if now.get(name) != value:
                now[name] = value
