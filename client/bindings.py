"""Whether a packed function is still what it was: what it refers to, and how to see it change.

A function of a script is packed with the constants and functions of the script that it uses. They
may be bound anew at any time, so the packed form is used again only while every one of them is the
same object, of a kind that cannot change inside.
"""

from __future__ import annotations

import builtins
import dis
import operator
import sys
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any
from weakref import ref as weak

_FIXED = (str, bytes, int, float, complex, bool, type(None))
_ABSENT: Any = object()

Importable = Callable[[Any], str | None]
"""Under which name any process can import this object, or None."""


def global_names(code: CodeType) -> Iterator[str]:
    """The names outside of a function that it and the functions inside of it use."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"):
            yield str(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from global_names(constant)


class _Uncertain(Exception):
    """It refers to something whose change could not be seen."""


class Bindings:
    """What a function refers to, other functions of its program included. Keeps none alive."""

    __slots__ = ("_functions", "_importable", "_parts")

    def __init__(self, function: FunctionType, importable: Importable) -> None:
        """Raises ValueError: changes of what it refers to could not be seen."""
        self._importable = importable
        self._functions: set[int] = set()
        self._parts: list[_Part] = []
        try:
            self._add(function)
        except _Uncertain:
            raise ValueError from None
        self._functions.clear()

    def hold(self) -> bool:
        """Whether all is as it was."""
        return all(part.holds() for part in self._parts)

    def _add(self, function: FunctionType) -> None:
        if id(function) in self._functions:
            return
        self._functions.add(id(function))
        self._parts.append(_Part(function, self._known))

    def _known(self, value: Any) -> Callable[[], Any]:
        """What gives the object again, for as long as it lives."""
        if _is_fixed(value):
            return lambda: value
        if isinstance(value, ModuleType) and sys.modules.get(value.__name__) is value:
            return weak(value)
        if isinstance(value, FunctionType | BuiltinFunctionType | type):
            if self._importable(value) is None:
                if not isinstance(value, FunctionType):
                    raise _Uncertain
                self._add(value)
            return weak(value)
        raise _Uncertain


class _Part:
    """One of the functions."""

    __slots__ = ("_cells", "_code", "_defaults", "_function", "_globals")

    def __init__(self, function: FunctionType, known: Callable[[Any], Callable[[], Any]]) -> None:
        if function.__dict__ or function.__kwdefaults__:
            raise _Uncertain
        if not _is_fixed(function.__defaults__):
            raise _Uncertain
        self._function = weak(function)
        self._code = function.__code__
        self._defaults = function.__defaults__
        self._cells = _contents(function)
        if not _is_fixed(self._cells):
            raise _Uncertain
        self._globals: list[tuple[str, Callable[[], Any]]] = []
        space = function.__globals__
        for name in {*global_names(function.__code__)}:
            if name in space:
                self._globals.append((name, known(space[name])))
            elif hasattr(builtins, name):
                self._globals.append((name, _absent))
            else:
                raise _Uncertain  # nobody knows what the name will stand for

    def holds(self) -> bool:
        function = self._function()
        if (
            function is None
            or function.__code__ is not self._code
            or function.__defaults__ is not self._defaults
            or function.__dict__
            or function.__kwdefaults__
        ):
            return False
        space = function.__globals__
        for name, known in self._globals:
            if space.get(name, _ABSENT) is not known():
                return False
        return not self._cells or all(map(operator.is_, _contents(function), self._cells))


def _contents(function: FunctionType) -> tuple[Any, ...]:
    try:
        return tuple(cell.cell_contents for cell in function.__closure__ or ())
    except ValueError:  # one is empty as yet
        return (_ABSENT,)


def _absent() -> Any:
    """A built-in name: it is none of the module's own."""
    return _ABSENT


def _is_fixed(value: Any) -> bool:
    """Whether nothing inside can change."""
    if type(value) is tuple:
        return all(map(_is_fixed, value))
    return type(value) in _FIXED
