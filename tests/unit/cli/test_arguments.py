"""What stands on a command line."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from ampacity.cli.arguments import (
    Words,
    check_target,
    command_payload,
    fill,
    keywords,
    parse_json,
    payload,
    split,
    spread,
    value_of,
)
from ampacity.protocol.packing import unpack_arguments
from hypothesis import given
from hypothesis import strategies as st

VALUED = {"--name", "--kw"}


def test_options_end_at_the_target() -> None:
    taken = split(["--name", "x", "--wait", "math:fabs", "-5", "--wait"], VALUED, False)
    assert taken == Words(["--name", "x", "--wait"], False, ["math:fabs", "-5", "--wait"], None)


def test_a_command_comes_after_two_dashes() -> None:
    taken = split(["--name=x", "--", "sh", "-c", "exit 3", "--"], VALUED, False)
    assert taken == Words(["--name=x"], True, ["sh", "-c", "exit 3", "--"], None)


def test_two_dashes_after_the_target_are_an_argument() -> None:
    assert split(["m:f", "--", "x"], VALUED, False).words == ["m:f", "--", "x"]


def test_an_options_value_is_not_the_target() -> None:
    assert split(["--kw", "a:b=1", "m:f"], VALUED, False).words == ["m:f"]
    assert split(["--name", "--", "m:f"], VALUED, False).options == ["--name", "--"]


def test_items_come_after_three_colons() -> None:
    taken = split(["m:f", "1", ":::", "-a", "--", "b"], VALUED, True)
    assert taken == Words([], False, ["m:f", "1"], ["-a", "--", "b"])
    assert split(["m:f", ":::"], VALUED, True).items == []


def test_three_colons_mean_nothing_to_run() -> None:
    assert split(["--", "echo", ":::", "x"], VALUED, False).words == ["echo", ":::", "x"]


def test_a_second_list_of_items_is_refused() -> None:
    with pytest.raises(click.UsageError, match="second ':::'"):
        split(["m:f", ":::", "a", ":::", "b"], VALUED, True)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('"5"', "5"),
        ("[1, {}]", [1, {}]),
        ("text", "text"),
        ("", ""),
        ("1_000", "1_000"),
        ("NaN", "NaN"),
        ("[Infinity]", "[Infinity]"),
        ("1e999", "1e999"),
        ('"\\ud800"', '"\\ud800"'),
        ("[" * 100_000, "[" * 100_000),
        (str(2**200), 2**200),
    ],
)
def test_arguments_are_finite_json_or_text(word: str, value: Any) -> None:
    assert value_of(word, "auto") == value
    assert type(value_of(word, "auto")) is type(value)


def test_the_mode_fixes_it() -> None:
    assert value_of("5", "text") == "5"
    assert value_of("5", "json") == 5
    with pytest.raises(click.UsageError, match="'x' is not JSON"):
        value_of("x", "json")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_json_arrives(value: Any) -> None:
    word = json.dumps(value)
    assert unpack_arguments(payload([parse_json(word)], {})) == [[value], {}]


@given(st.binary())
def test_any_file_name_arrives(name: bytes) -> None:
    word = name.decode("utf-8", "surrogateescape")
    assert unpack_arguments(command_payload(["ls", word])) == ["ls", word]


def test_keywords() -> None:
    assert keywords(["a=1", "b=x=y", "c="], "auto") == {"a": 1, "b": "x=y", "c": ""}
    for bad in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(click.UsageError, match="--kw"):
            keywords(bad, "auto")


def test_targets() -> None:
    assert check_target("a.b:C.d") == "a.b:C.d"
    for bad in ("math", "math:", ":f", "a-b:c", "a:b:c", "1a:b", "math:fact orial"):
        with pytest.raises(click.UsageError, match="is no target"):
            check_target(bad)


@pytest.mark.parametrize(
    ("words", "item", "filled"),
    [
        (["convert", "{}", "{.}.png"], "a/b.jpg", ["convert", "a/b.jpg", "a/b.png"]),
        (["x", "{/}", "{//}", "{/.}"], "a/b.tar.gz", ["x", "b.tar.gz", "a", "b.tar"]),
        (["x", "{//}"], "b", ["x", "."]),
        (["x", "{.}", "{/.}"], ".hidden", ["x", ".hidden", ".hidden"]),
        (["x", "{.}"], "a.b/c", ["x", "a.b/c"]),
        (["echo"], "it em", ["echo", "it em"]),
        (["x{}y{}"], "{.}", ["x{.}y{.}"]),
        (["{}"], "$(rm)", ["$(rm)"]),
    ],
)
def test_the_places_of_an_item(words: list[str], item: str, filled: list[str]) -> None:
    assert fill(words, item) == filled


def test_star() -> None:
    assert spread([1, 2]) == ([1, 2], {})
    assert spread({"a": 1}) == ([], {"a": 1})
    with pytest.raises(ValueError, match="neither"):
        spread(5)
