"""Plain data: exactly what may be in it, what is said of the rest, and what is read."""

from __future__ import annotations

import datetime
import enum
import math
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgpack
import numpy
import pytest
from ampacity.protocol.errors import JobFailed, Malformed, NotPlainData
from ampacity.protocol.limits import DATA_DEPTH
from ampacity.protocol.plain import pack_plain, unpack_plain
from hypothesis import given
from hypothesis import strategies as st

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
plain = st.recursive(
    scalars | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(text | st.integers(), inner),
    max_leaves=30,
)


def nested(depth: int) -> Any:
    value: Any = 0
    for place in range(depth):
        value = [value] if place % 2 else {"a": value}
    return value


@given(plain)
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    again = unpack_plain(pack_plain(value))
    assert again == value
    assert repr(again) == repr(value)


def test_what_is_not_finite_and_names_of_files_travel_too() -> None:
    assert math.isnan(unpack_plain(pack_plain(math.nan)))
    assert unpack_plain(pack_plain("\udcff")) == "\udcff"
    assert unpack_plain(pack_plain(nested(DATA_DEPTH))) == nested(DATA_DEPTH)


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


_ITSELF: list[Any] = []
_ITSELF += [_ITSELF, {"again": _ITSELF}]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ((1, 2), "result is a tuple, no plain data (a list would be)"),
        ({"a": [0, 1, 2, {3}]}, 'result["a"][3] is a set, no plain data (a list would be)'),
        ([b"", {7: frozenset()}], "result[1][7] is a frozenset"),
        ([[1], [2, [datetime.date(2000, 1, 1)]]], "result[1][1][0] is a datetime.date, no"),
        (Path("/"), "pathlib.PosixPath, no plain data (its str() would be)"),
        (bytearray(b"x"), "result is a bytearray, no plain data (bytes would be)"),
        ({"c": Colour.RED}, f'result["c"] is a {__name__}.Colour, no plain data; '),
        (Text("x"), f"result is a {__name__}.Text, no"),
        (OrderedDict(), "result is a collections.OrderedDict, no"),
        ([print], "result[0] is a builtin_function_or_method, no"),
        ({"a": {(1, 2): 3}}, 'a key of result["a"] is a tuple; keys are str or int'),
        ({True: 1}, "a key of result is a bool; keys"),
        ({b"a": 1}, "a key of result is a bytes; keys"),
        ({'say "ä"\n': [None, ()]}, r'result["say \"\u00e4\"\n"][1] is a tuple'),
        (nested(DATA_DEPTH + 1), f"nested deeper than {DATA_DEPTH} levels"),
        (_ITSELF, f"nested deeper than {DATA_DEPTH} levels"),
        (["\ud800"], "cannot be packed: 'utf-8' codec can't encode"),
    ],
)
def test_what_is_none_is_named_with_its_place(value: Any, said: str) -> None:
    with pytest.raises(NotPlainData) as caught:
        pack_plain(value)
    assert said in str(caught.value)
    assert isinstance(caught.value, JobFailed)


def test_arrays_are_named() -> None:
    with pytest.raises(NotPlainData, match=r"result\[0\] is a numpy.ndarray.*\(its tolist\(\)"):
        pack_plain([numpy.zeros(3)])
    with pytest.raises(NotPlainData, match=r"result\['?.*is a numpy.float64.*\(its item\(\)"):
        pack_plain({"mean": numpy.float64(1)})


def test_a_place_deep_inside_is_told_in_short() -> None:
    value: Any = ()
    for _ in range(100):
        value = {"a long name of a field": value}
    with pytest.raises(NotPlainData) as caught:
        pack_plain(value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("value", [None, [1, 2], {"a": 1}, "x" * 300, 2.5, ValueError("x"), {1}])
@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_none(value: Any, protocol: int) -> None:
    with pytest.raises(Malformed):
        unpack_plain(pickle.dumps(value, protocol))


@pytest.mark.parametrize(
    "packed",
    [
        msgpack.packb(msgpack.Timestamp(1)),
        msgpack.packb({"at": msgpack.Timestamp(1)}),
        msgpack.packb(msgpack.ExtType(5, b"x")),
        msgpack.packb({b"a": 1}),
        msgpack.packb({None: 1}),
        msgpack.packb({1.5: 1}),
        b"\x91" * (DATA_DEPTH + 1) + b"\xc0",
        b"\x91" * 100_000,
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff" * 10,
        b"",
    ],
)
def test_what_else_may_be_sent_is_refused(packed: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_plain(packed)


@given(st.binary(max_size=200))
def test_any_bytes_are_plain_data_or_malformed(packed: bytes) -> None:
    try:
        value = unpack_plain(packed)
    except Malformed:
        return
    assert repr(unpack_plain(pack_plain(value))) == repr(value)
