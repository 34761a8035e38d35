"""What stands on a command line: our options, the target, and the job's own words.

Two marks are recognised before any option is parsed: ``:::``, after which come the items of a
``map``, and a ``--`` that stands before any target, after which comes a command. Our options come
before the target; everything after it is the job's, word for word, so ``-5`` is an argument.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

import click

from ..protocol.errors import NotPackable
from ..protocol.packing import pack_arguments

Mode = Literal["auto", "text", "json"]
MODES: tuple[Mode, ...] = ("auto", "text", "json")

ITEMS = ":::"


class Words(NamedTuple):
    """A command line, taken apart."""

    options: list[str]
    """Our own options, for click."""
    command: bool
    """The words are a command's, not a function's."""
    words: list[str]
    """The target with its arguments, or the command."""
    items: list[str] | None
    """What stands after ``:::``; None where there is none."""


def split(argv: Sequence[str], valued: Collection[str], items: bool) -> Words:
    """Take a sub-command's words apart. ``valued`` are the options that take a value.

    Raises:
        click.UsageError: there is a second ``:::``.
    """
    left, right = _cut_items(argv) if items else (list(argv), None)
    place = 0
    while place < len(left):
        word = left[place]
        if word == "--":
            return Words(left[:place], True, left[place + 1 :], right)
        if not word.startswith("-") or word == "-":
            break
        place += 2 if word in valued else 1
    return Words(left[:place], False, left[place:], right)


def _cut_items(argv: Sequence[str]) -> tuple[list[str], list[str] | None]:
    if ITEMS not in argv:
        return list(argv), None
    place = list(argv).index(ITEMS)
    items = list(argv[place + 1 :])
    if ITEMS in items:
        raise click.UsageError(
            "there is a second ':::'; one list of items is all that map takes. "
            "Make the pairs beforehand and give them with --jsonl and --star."
        )
    return list(argv[:place]), items


def value_of(word: str, mode: Mode) -> Any:
    """A word as the value that the function gets: finite JSON where it is that, else text.

    Raises:
        click.UsageError: ``mode`` is ``json``, and it is no finite JSON.
    """
    if mode == "text":
        return word
    try:
        return parse_json(word)
    except ValueError as e:
        if mode == "json":
            raise click.UsageError(f"{word!r:.80} is not JSON: {e}") from None
        return word


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, or holds what another process cannot get: an infinite number,
            half of a surrogate pair.
    """
    try:
        value = json.loads(text, parse_constant=_not_finite)
        _check(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def _not_finite(name: str) -> Any:
    raise ValueError(f"{name} is not a finite number")


def _check(value: Any) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("it holds a number beyond what a float can be")
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, list):
        for part in value:
            _check(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            _check(key)
            _check(part)


_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def check_target(word: str) -> str:
    """A target, ``module:function``.

    Raises:
        click.UsageError: it is written differently.
    """
    if _TARGET.fullmatch(word) is None:
        raise click.UsageError(
            f"{word!r:.80} is no target: a function is written module:function, as math:factorial; "
            "a command comes after --, as in: ampacity run -- ls -l"
        )
    return word


def keywords(pairs: Sequence[str], mode: Mode) -> dict[str, Any]:
    """``--kw name=value`` options as keyword arguments.

    Raises:
        click.UsageError: one is no such pair, or a name stands twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, word = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--kw takes name=value, as in --kw seed=7, not {pair!r:.80}")
        if name in found:
            raise click.UsageError(f"--kw gives {name} twice")
        found[name] = value_of(word, mode)
    return found


def payload(args: Sequence[Any], kwargs: dict[str, Any]) -> bytes:
    """The payload of a call with plain data, for ``JobSpec(arguments="json")``.

    Raises:
        click.UsageError: a value cannot be packed.
    """
    try:
        return pack_arguments([list(args), kwargs])
    except NotPackable as e:
        raise click.UsageError(f"an argument cannot be packed for the job: {e}") from None


def command_payload(words: Sequence[str]) -> bytes:
    """The payload of a command.

    Raises:
        click.UsageError: a word cannot be packed.
    """
    try:
        return pack_arguments(list(words))
    except NotPackable as e:
        raise click.UsageError(f"a word of the command cannot be packed: {e}") from None


_PLACES = re.compile(r"\{(?:|\.|/|//|/\.)\}")


def fill(words: Sequence[str], item: str) -> list[str]:
    """A command with an item put in its places; without any place, the item comes last.

    ``{}`` is the item, ``{.}`` without its extension, ``{/}`` its last part, ``{//}`` its folder,
    ``{/.}`` its last part without extension.
    """
    forms = _forms(item)
    filled = [_PLACES.sub(lambda found: forms[found.group()], word) for word in words]
    return filled if any(_PLACES.search(word) for word in words) else [*filled, item]


def _forms(item: str) -> dict[str, str]:
    last = item.rstrip("/").rpartition("/")[2] or item
    return {
        "{}": item,
        "{.}": _without_extension(item),
        "{/}": last,
        "{//}": str(PurePosixPath(item).parent),
        "{/.}": _without_extension(last),
    }


def _without_extension(text: str) -> str:
    return re.sub(r"(?<=[^/])\.[^/.]+\Z", "", text)


def spread(item: Any) -> tuple[list[Any], dict[str, Any]]:
    """What ``--star`` makes of an item: an array's values, or an object's keyword arguments.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(item, list):
        return item, {}
    if isinstance(item, dict):
        return [], item
    raise ValueError("--star spreads arrays and objects, and this item is neither")
