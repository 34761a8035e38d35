"""The items of a ``map``: from the command line, from lines, from a file of JSON lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import click

from .arguments import command_payload, fill, parse_json, payload, spread, value_of
from .failures import Unusable, say
from .specs import Wanted


class Item(NamedTuple):
    """One item as it was given, and its job's payload."""

    item: Any
    payload: bytes


class Source(Protocol):
    """Where items come from."""

    total: int | None
    """How many there are, where it is known."""

    async def take(self, most: int) -> Sequence[Any]:
        """The next ones, not yet checked; none at the end."""


class Listed:
    """Items from the command line."""

    def __init__(self, items: Sequence[str]) -> None:
        self._items = items
        self._next = 0
        self.total: int | None = len(items)

    async def take(self, most: int) -> Sequence[str]:
        taken = self._items[self._next : self._next + most]
        self._next += len(taken)
        return taken


class Lines:
    """Items from stdin or a file, a line each, read as they are wanted."""

    total: int | None = None

    def __init__(self, reactor: Any, fd: int, skip_blank: bool) -> None:
        from .streams import InputLines

        self._lines = InputLines(reactor, fd)
        self._skip_blank = skip_blank
        self.number = 0
        """Lines read so far."""

    async def take(self, most: int) -> Sequence[tuple[int, bytes]]:
        """Lines with their numbers, from 1."""
        while lines := await self._lines.take(most):
            numbered = list(enumerate(lines, self.number + 1))
            self.number += len(lines)
            wanted = [(n, line) for n, line in numbered if line.strip() or not self._skip_blank]
            if wanted:
                return wanted
        return []


class Items:
    """Takes items from a source and makes payloads of them."""

    def __init__(self, wanted: Wanted, source: Source, jsonl: str | None, star: bool) -> None:
        if star and wanted.command:
            raise click.UsageError(
                "--star spreads an item over a function's arguments; this is a command"
            )
        self.source = source
        self._wanted = wanted
        self._jsonl = jsonl
        self._star = star
        self._fixed = (
            [] if wanted.command else [value_of(word, wanted.mode) for word in wanted.fixed]
        )
        self._count = 0

    async def take(self, most: int) -> tuple[list[Item], click.UsageError | None]:
        """The next items; with an error, the first that does not fit: it ends the input."""
        items: list[Item] = []
        for raw in await self.source.take(most):
            try:
                items.append(self._item(raw))
            except click.UsageError as e:
                return items, e
            self._count += 1
        return items, None

    def _item(self, raw: Any) -> Item:
        if isinstance(raw, str):
            return self._made(self._value(raw, f"item {self._count}"), raw)
        number, line = raw
        text = os.fsdecode(line.removesuffix(b"\r"))
        where = f"line {number} of {self._jsonl or 'stdin'}"
        return self._made(self._value(text, where), text)

    def _value(self, text: str, where: str) -> Any:
        if self._jsonl is None and self._wanted.mode != "json":
            return text if self._wanted.command else value_of(text, self._wanted.mode)
        try:
            return parse_json(text)
        except ValueError as e:
            raise Unusable(f"{where} is not JSON: {text!r:.80}: {e}") from None

    def _made(self, value: Any, text: str) -> Item:
        if self._wanted.command:
            word = value if isinstance(value, str) else text
            return Item(word, command_payload(fill(self._wanted.words, word)))
        args, kwargs = self._spread(value, text) if self._star else ([value], {})
        return Item(value, payload([*self._fixed, *args], {**self._wanted.kwargs, **kwargs}))

    def _spread(self, value: Any, text: str) -> tuple[list[Any], dict[str, Any]]:
        try:
            return spread(value)
        except ValueError as e:
            raise Unusable(f"{e}: {text!r:.80}") from None


def source_of(reactor: Any, items: Sequence[str] | None, jsonl: str | None) -> Source:
    """The source that a command line names.

    Raises:
        click.UsageError: it names two, or a file that cannot be read.
    """
    if items is not None:
        if jsonl is not None:
            raise click.UsageError("items come after ::: or from --jsonl, not from both")
        return Listed(items)
    if jsonl is not None and jsonl != "-":
        return Lines(reactor, _opened(Path(jsonl)), skip_blank=True)
    if sys.stdin is None or sys.stdin.closed:
        raise click.UsageError("there are no items: give them after :::, by --jsonl, or on stdin")
    if sys.stdin.isatty():
        say("reading items from the terminal, one a line; Ctrl-D ends them")
    return Lines(reactor, sys.stdin.fileno(), skip_blank=jsonl is not None)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as e:
        raise click.UsageError(f"--jsonl {path}: it cannot be read: {e.strerror}") from None
