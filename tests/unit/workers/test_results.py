"""Results and exceptions made ready to travel."""

from __future__ import annotations

import hashlib
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.limits import INLINE_LIMIT, SHOWN_SHORT, TRACEBACK_LIMIT
from ampacity.workers.results import Sink, clean, describe, pickle_error, pickle_into, show


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        ("a\nb", '"a\\nb"'),
        ([1.5, {"a": [None]}], '[1.5, {"a": [null]}]'),
    ],
)
def test_plain_data_is_shown_exactly(value, text):
    assert show(value, False)[::2] == (True, text)


@pytest.mark.parametrize("value", [(1,), {1: 2}, float("nan"), b"x", {1}, [(1,)]])
def test_other_values_are_shown_by_their_repr(value):
    assert not show(value, False).exact


def test_integers_too_long_for_decimals():
    assert show(1 << 20_000, True).text.startswith("0x1000")


def test_long_texts_are_cut():
    shown = show("x" * 5000, False)
    assert not shown.exact and len(shown.text) <= SHOWN_SHORT
    assert show("x" * 5000, True).exact
    assert len(show(list(range(10**6)), False).text) <= SHOWN_SHORT


def test_long_bytes_are_cut_before_they_are_text():
    for value in (bytes(100_000), bytearray(100_000), [bytes(100_000)], {1: bytearray(100_000)}):
        tracemalloc.start()
        shown = show(value, False)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert not shown.exact and len(shown.text) <= SHOWN_SHORT
        assert peak < 50_000


def test_a_repr_that_raises():
    class Bad:
        def __repr__(self):
            raise RuntimeError

    assert "RuntimeError" in show(Bad(), True).text or "Bad" in show(Bad(), True).text


def test_text_can_always_be_sent():
    assert clean("a\udcffb") == "a\\udcffb"
    assert show("\udcff", False).text.encode()


def test_a_large_value_is_hashed_while_it_is_written(tmp_path):
    data = bytes(range(256)) * 40_000
    for value in (data, bytearray(data), memoryview(data)):
        sink = Sink(tmp_path / "value")
        sink.write(b"head")
        sink.write(value)
        assert sink.close()[0] == BlobRef(hashlib.sha256(b"head" + data).digest(), len(data) + 4)
        assert (tmp_path / "value").read_bytes() == b"head" + data


def test_small_values_stay_in_memory_and_large_ones_are_spilled(tmp_path):
    sink = Sink(tmp_path / "value")
    sink.write(b"abc")
    assert sink.close() == (b"abc", None)
    data = b"x" * (INLINE_LIMIT + 1)
    sink = Sink(tmp_path / "value")
    sink.write(data[:10])
    sink.write(memoryview(data[10:]))
    ref, path = sink.close()
    assert ref == BlobRef(hashlib.sha256(data).digest(), len(data))
    assert (tmp_path / "value").read_bytes() == data
    assert path == str(tmp_path / "value")


def test_exceptions_are_pickled_where_that_works(tmp_path):
    assert pickle.loads(pickle_error(KeyError("a"), False, tmp_path)).args == ("a",)
    assert pickle_error(ValueError(lambda: None), False, tmp_path) is None
    assert pickle_error(ValueError("x" * 100_000), False, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_long_tracebacks_keep_both_ends():
    try:
        raise ValueError("x" * 200_000)
    except ValueError as e:
        text = describe(e)
    assert len(text.message) == TRACEBACK_LIMIT
    assert len(text.traceback) <= TRACEBACK_LIMIT
    assert text.traceback.startswith("Traceback")


class Array:
    """Pickled as numpy's arrays are."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Array, (pickle.PickleBuffer(self.data),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and (type(self.data), self.data) == (
            type(other.data),
            other.data,
        )


BIG = bytes(range(256)) * 36_000

VALUES: list[Any] = [
    Array(bytearray(BIG)),
    [Array(BIG), "between", Array(bytearray(BIG)), Array(b"small")],
    [Array(bytearray(BIG)), [*range(40_000)]],
    [[*range(40_000)], Array(bytearray(BIG))],
    [*range(40_000)],
    BIG,
    [BIG, bytearray(BIG)],
    Array(b"small"),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_large_buffers_arrive_as_if_the_whole_had_been_pickled_at_once(
    tmp_path: Path, value: Any
) -> None:
    sink = Sink(tmp_path / "value")
    pickle_into(sink, value, by_value=False)
    packed, path = sink.close()
    data = packed if isinstance(packed, bytes) else Path(path or "").read_bytes()
    assert pickle.loads(data) == value
    if isinstance(packed, BlobRef):
        assert packed == BlobRef(hashlib.sha256(data).digest(), len(data))
