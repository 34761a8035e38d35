"""The details of a question, checked."""

from __future__ import annotations

from typing import Any, TypeGuard

from ..protocol.errors import Malformed
from ..protocol.limits import MAX_NUMBER

Details = dict[str, Any]


def is_id(number: object) -> TypeGuard[int]:
    """Whether something can be the number of a job."""
    return type(number) is int and 0 < number < 1 << 63


def number_or_none(details: Details, name: str) -> int | None:
    """A number that may be left out; none is larger than a store can look for.

    Raises:
        Malformed: it is something else.
    """
    value = details.get(name)
    if value is None or (type(value) is int and 0 <= value <= MAX_NUMBER):
        return value
    raise Malformed(f"{name} is a number from 0 to 2**62, not {value!r:.40}")


def at_most(details: Details, name: str, default: int, most: int) -> int:
    """A number from 1 to ``most``, or the default where it is left out."""
    value = number_or_none(details, name)
    return default if value is None else max(1, min(value, most))


def text_or_none(details: Details, name: str) -> str | None:
    """A text that may be left out.

    Raises:
        Malformed: it is something else.
    """
    value = details.get(name)
    if value is None or type(value) is str:
        return value
    raise Malformed(f"{name} is text, not {value!r:.40}")
