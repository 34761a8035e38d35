"""How people name jobs."""

from __future__ import annotations

from typing import Any

import click
import pytest
from ampacity.cli.selectors import Selection, pages, parse, parse_all
from twisted.internet.defer import Deferred, succeed


def test_forms() -> None:
    assert parse("17") == Selection("17", "id", 17, 17)
    assert parse("3-9") == Selection("3-9", "range", 3, 9)
    assert parse("g3") == Selection("g3", "group", 3)
    assert [parse(text).what for text in ("last", "failed", "all")] == ["last", "failed", "all"]


@pytest.mark.parametrize("text", ["0", "x", "g", "g0", "3-", "-3", "3-x", "1.5", "G3", "", "²"])
def test_what_selects_nothing(text: str) -> None:
    with pytest.raises(click.UsageError, match="selects no jobs"):
        parse(text)


def test_a_range_backwards() -> None:
    with pytest.raises(click.UsageError, match="did you mean 3-9"):
        parse("9-3")


def test_several() -> None:
    assert [one.text for one in parse_all(["17,18", "g3"])] == ["17", "18", "g3"]
    with pytest.raises(click.UsageError, match="name the jobs"):
        parse_all([])


class Answers:
    """A link that answers from a list."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def query(self, question: str, **details: Any) -> Deferred[Any]:
        self.asked.append(details)
        return succeed(self.answers.pop(0))


def collect(link: Answers, *texts: str) -> list[list[int]]:
    async def all_pages() -> list[list[int]]:
        return [list(page) async for page in pages(link, parse_all(texts))]  # type: ignore[arg-type]

    found: list[list[int]] = []
    Deferred.fromCoroutine(all_pages()).addCallback(found.extend)
    return found


def test_pages() -> None:
    link = Answers({"ids": [[3, 2], [9, 1]], "next": 9}, {"ids": [[12, 1]], "next": None})
    assert collect(link, "5", "g3") == [[5], [3, 4, 9], [12]]
    assert [asked["after"] for asked in link.asked] == [None, 9]
    assert link.asked[0]["what"] == "group"
    assert link.asked[0]["group"] == 3


def test_an_empty_page_is_left_out() -> None:
    assert collect(Answers({"ids": [], "next": None}), "all") == []
