"""How people name jobs: ``17``, ``3-9``, ``g3``, ``last``, ``failed``, ``all``; one's own only."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..protocol.errors import NoSuchGroup
from ..protocol.ids import GroupId, JobId, parse_group

if TYPE_CHECKING:
    from .connection import Link

FORMS = "an id (17), a range (3-9), a group (g3), last, failed or all"

_NUMBERS = re.compile(r"([1-9][0-9]{0,17})(?:-([1-9][0-9]{0,17}))?")
_PAGE = 10_000


class Selection(NamedTuple):
    """One selector: the question that finds its jobs."""

    text: str
    what: str
    """As ``Query("select")`` names it, or ``id``."""
    first: int = 0
    last: int = 0

    def details(self) -> dict[str, Any]:
        """The details of ``Query("select")``, without ``after`` and ``limit``."""
        if self.what == "group":
            return {"what": "group", "group": self.first}
        if self.what == "range":
            return {"what": "range", "first": self.first, "last": self.last}
        return {"what": self.what}


def parse(text: str) -> Selection:
    """One selector.

    Raises:
        click.UsageError: it is none.
    """
    if text in ("last", "failed", "all"):
        return Selection(text, text)
    if text.startswith("g"):
        return Selection(text, "group", _group(text))
    found = _NUMBERS.fullmatch(text)
    if found is None:
        raise click.UsageError(f"{text!r:.60} selects no jobs: give {FORMS}")
    first, last = found.groups()
    if last is None:
        return Selection(text, "id", int(first), int(first))
    if int(last) < int(first):
        raise click.UsageError(
            f"the range {text} ends before it begins; did you mean {last}-{first}?"
        )
    return Selection(text, "range", int(first), int(last))


def _group(text: str) -> GroupId:
    try:
        return parse_group(text)
    except ValueError:
        raise click.UsageError(f"{text!r:.60} selects no jobs: give {FORMS}") from None


def parse_all(texts: Sequence[str]) -> list[Selection]:
    """Several selectors; a comma separates as well as a space.

    Raises:
        click.UsageError: one is none, or there is none at all.
    """
    words = [word for text in texts for word in text.split(",") if word]
    if not words:
        raise click.UsageError(f"name the jobs: {FORMS}")
    return [parse(word) for word in words]


async def pages(link: Link, selections: Sequence[Selection]) -> AsyncIterator[list[JobId]]:
    """The selected jobs' ids, page by page, each selector's in order.

    Raises:
        NoSuchGroup: there is no such group.
    """
    for selection in selections:
        if selection.what == "id":
            yield [JobId(selection.first)]
            continue
        async for page in _pages_of(link, selection):
            yield page


async def _pages_of(link: Link, selection: Selection) -> AsyncIterator[list[JobId]]:
    after = None
    while True:
        try:
            answer = await link.query("select", **selection.details(), after=after, limit=_PAGE)
        except NoSuchGroup:
            raise NoSuchGroup(f"there is no group {selection.text}, or it was forgotten") from None
        ids = [JobId(first + k) for first, count in answer["ids"] for k in range(count)]
        if ids:
            yield ids
        after = answer["next"]
        if after is None:
            return
