"""Arguments and answers of commands, between Python's values and the bytes of a box.

The same on the wire as ``amp.Command`` makes it, in one pass: a box of a job or two is mostly what
is around them, and AMP makes a class, three maps and a sorted list of it on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from struct import Struct
from typing import Any, Final, NamedTuple

from twisted.protocols import amp

from .errors import TooLarge
from .fields import Frame, gathered

_VALUE: Final = 0xFFFF
_length = Struct(">H").pack
END: Final = b"\0\0"


def _key(name: bytes) -> bytes:
    return _length(len(name)) + name


_ASK, _ANSWER, _COMMAND = _key(amp.ASK), _key(amp.ANSWER), _key(amp.COMMAND)


class _Field(NamedTuple):
    name: str
    wire_name: bytes
    key: bytes
    kind: Any
    optional: bool
    more: bytes | None
    """The second key of what may take several values of the box."""


class Form:
    """What the arguments of one command, or its answer, consist of."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[bytes, amp.Argument]]) -> None:
        self._fields = [
            _Field(
                name.decode("ascii"),
                name,
                _key(name),
                kind,
                bool(kind.optional),
                name + b".1" if isinstance(kind, Frame) else None,
            )
            for name, kind in fields
        ]

    def write(self, values: Mapping[str, Any]) -> bytes:
        """The keys and values of a box.

        Raises:
            KeyError: one is missing.
            TypeError: there is one more.
            TooLarge: one is too long, and of no kind that may be.
        """
        if len(values) > len(self._fields):
            raise TypeError(f"{', '.join(values)}: more than there is in a box")
        parts: list[bytes] = []
        for name, wire_name, key, kind, optional, more in self._fields:
            value = values.get(name) if optional else values[name]
            if value is None and optional:
                continue
            data = kind.toString(value)
            if len(data) <= _VALUE:
                parts += (key, _length(len(data)), data)
            elif more is None:
                raise TooLarge(f"a value for {name!r} is too long for one box")
            else:
                parts += _spread(wire_name, data)
        return b"".join(parts)

    def read(self, box: Mapping[bytes, bytes]) -> dict[str, Any]:
        """The values in a box, by their names.

        Raises:
            KeyError: one is missing; and whatever the parsers of values raise.
        """
        values: dict[str, Any] = {}
        for name, wire_name, _, kind, optional, more in self._fields:
            if optional and wire_name not in box:
                values[name] = None
                continue
            data = box[wire_name]
            if more is not None and more in box:
                data = gathered(wire_name, box)
            values[name] = kind.fromString(data)
        return values


def _spread(name: bytes, data: bytes) -> Iterator[bytes]:
    """A long value, as several of a box, with their keys."""
    for place, start in enumerate(range(0, len(data), _VALUE)):
        part = data[start : start + _VALUE]
        yield _key(name + b".%d" % place if place else name)
        yield _length(len(part))
        yield part


class Forms(NamedTuple):
    """Both directions of a command."""

    head: bytes
    """Its name, as in a box that asks."""
    arguments: Form
    answer: Form


@cache
def forms_of(command: type[amp.Command]) -> Forms:
    """How a command is asked and answered."""
    name: Any = command.commandName
    head = _COMMAND + _length(len(name)) + name
    return Forms(head, Form(command.arguments), Form(command.response))


def question(command: type[amp.Command], tag: bytes, arguments: Mapping[str, Any]) -> bytes:
    """The bytes of a box that asks; raises as ``Form.write`` does."""
    head, form, _ = forms_of(command)
    return b"".join((_ASK, _length(len(tag)), tag, head, form.write(arguments), END))


def answer(tag: bytes, values: bytes) -> bytes:
    """The bytes of a box that answers."""
    return b"".join((_ANSWER, _length(len(tag)), tag, values, END))


def error(tag: bytes, code: bytes, text: str) -> bytes:
    """The bytes of a box that answers an error."""
    told = text.encode("utf-8", "replace")[:_VALUE]
    keys = ((amp.ERROR, tag), (amp.ERROR_CODE, code), (amp.ERROR_DESCRIPTION, told))
    return b"".join([_key(key) + _length(len(value)) + value for key, value in keys]) + END
