"""The statements of a store, compiled once for its database.

Many rows go to the driver in one statement, in a few fixed numbers of rows, so that each is
prepared once: the driver takes the interpreter's lock again after every statement, and a busy
reactor can make it wait for that each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Table,
    bindparam,
    column,
    delete,
    insert,
    select,
    update,
    values,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from .rows import Row

ROWS: Final = (64, 8, 1)
"""Rows of one statement."""

IDS: Final = 64
"""Ids that one statement asks for."""


class Statement:
    """SQL text, and its parameters in their order."""

    __slots__ = ("_given", "names", "sql")

    def __init__(self, clause: ClauseElement, dialect: Dialect) -> None:
        compiled = clause.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        self.sql = compiled.string
        self.names: Sequence[str] = compiled.positiontup or ()
        self._given = compiled.params

    def with_values(self, **values: Any) -> Row:
        """The parameters, from their values by name; those that the clause itself holds, too."""
        given = self._given | values
        return tuple(given[name] for name in self.names)


class ManyRows:
    """A statement for any number of rows, from its text for one."""

    __slots__ = ("_texts",)

    def __init__(self, clause: ClauseElement, dialect: Dialect) -> None:
        text = Statement(clause, dialect).sql
        before, values_, rest = text.partition("VALUES (")
        row, _, after = rest.partition(")")
        self._texts = [
            (many, before + values_ + row + ")" + f", ({row})" * (many - 1) + after)
            for many in ROWS
        ]

    def parts(self, rows: Sequence[Row]) -> Iterator[tuple[str, list[Any]]]:
        """The statements that write these rows, and their parameters."""
        start, count = 0, len(rows)
        for many, text in self._texts:
            while count - start >= many:
                yield text, list(chain.from_iterable(rows[start : start + many]))
                start += many


def inserted(table: Table, names: Sequence[str]) -> ClauseElement:
    """New rows, of these columns."""
    return insert(table).values({name: bindparam(name) for name in names})


def updated(table: Table, names: Sequence[str], key: str = "id") -> ClauseElement:
    """Rows of these columns instead of those with the same ``key``."""
    given = values(*[column(name, table.c[name].type) for name in names], name="given")
    rows = given.data([tuple(bindparam(f"row_{name}") for name in names)]).cte("given")
    changes = {name: rows.c[name] for name in names if name != key}
    return update(table).values(changes).where(table.c[key] == rows.c[key])


def deleted(table: Table, *names: str) -> ClauseElement:
    """The rows that have these values."""
    return delete(table).where(*[table.c[name] == bindparam(name) for name in names])


def one_of(ids: Column[Any]) -> ColumnElement[bool]:
    """Whether a column has one of the next ``IDS`` parameters."""
    return ids.in_([bindparam(f"{ids.name}_{n:02}") for n in range(IDS)])


def slices(ids: Sequence[Any]) -> Iterator[list[Any]]:
    """Ids in the numbers that ``one_of`` takes; the last one is repeated to fill it."""
    for start in range(0, len(ids), IDS):
        part = list(ids[start : start + IDS])
        yield part + part[-1:] * (IDS - len(part))


def selected(table: Table, *names: str) -> Select[Any]:
    """These columns, or all of them."""
    return select(*[table.c[name] for name in names] or table.c)
