"""Records by column: what is no record is refused, what is appended is left out."""

from __future__ import annotations

from itertools import repeat
from typing import NamedTuple

import pytest
from ampacity.protocol.columns import all_of, columns, tuples
from ampacity.protocol.errors import Malformed
from ampacity.protocol.ids import Attempt
from ampacity.protocol.jobs import attempts


class Pair(NamedTuple):
    first: int
    second: str


def test_records_by_column() -> None:
    assert [*columns([[1, "a"], [2, "b"]], 2)] == [(1, 2), ("a", "b")]


def test_no_records_have_empty_columns() -> None:
    assert [*columns([], 3)] == [(), (), ()]


def test_fields_of_a_later_version_are_left_out() -> None:
    assert [*columns([[1, "a", None], [2, "b"]], 2)] == [(1, 2), ("a", "b")]


@pytest.mark.parametrize("records", [[[1]], [[1, 2], [1]], [(1, 2)], [[1, 2], None], ["ab"]])
def test_what_is_no_record_is_refused(records: list[object]) -> None:
    with pytest.raises(Malformed):
        columns(records, 2)


def test_named_tuples_from_columns() -> None:
    made = tuples(Pair, (1, 2), repeat("a"))
    assert made == [Pair(1, "a"), Pair(2, "a")]
    assert {type(pair) for pair in made} == {Pair}


def test_types_are_told_apart_exactly() -> None:
    assert all_of((1, 2), int)
    assert not all_of((1, True), int)
    assert all_of((), int)


def test_equal_attempts_are_one_object() -> None:
    first, second = attempts((7, 8), (1, 1), (2, 2))
    assert first == Attempt(1, 2) and first is second
    one, other, again = attempts((7, 8, 9), (1, 1, 1), (1, 2, 1))
    assert (one, other) == (Attempt(1, 1), Attempt(1, 2)) and one is again
