"""Many records of one shape, taken apart and put together by column.

A frame has tens of records, each with a handful of fields: a line of Python for each field of each
record is most of what a frame costs. By column, the loops are the interpreter's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, TypeVar

from .errors import Malformed

_Record = TypeVar("_Record", bound=tuple[Any, ...])

Column = tuple[Any, ...]


def columns(records: Sequence[Any], fields: int) -> Sequence[Column]:
    """The first so many fields of records that are lists; a later version may append to them.

    Raises:
        Malformed: one is no list, or has fewer.
    """
    if not records:
        return [()] * fields
    if set(map(type, records)) != {list}:
        raise Malformed("a record is a list")
    lengths = set(map(len, records))
    if min(lengths) < fields:
        raise Malformed(f"a record has {fields} fields or more, this one {min(lengths)}")
    if lengths != {fields}:
        records = [record[:fields] for record in records]
    return tuple(zip(*records, strict=True))


def tuples(kind: type[_Record], *fields: Iterable[Any]) -> list[_Record]:
    """Named tuples from the columns of their fields, every field given; some may be endless."""
    return named(kind, zip(*fields, strict=False))


def named(kind: type[_Record], rows: Iterable[tuple[Any, ...]]) -> list[_Record]:
    """Named tuples from plain ones that have every field."""
    # the kind's own constructor is a function of Python's
    return list(map(tuple.__new__, repeat(kind), rows))


def all_of(column: Iterable[Any], *types: type) -> bool:
    """Whether every value is of one of these very types."""
    return set(map(type, column)).issubset(types)
