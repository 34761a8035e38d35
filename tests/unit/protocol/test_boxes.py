"""Boxes come out whole however their bytes come in, and never grow beyond their bounds."""

from __future__ import annotations

import pytest
from ampacity.protocol.boxes import BoxReader
from ampacity.protocol.errors import TooLarge
from ampacity.protocol.limits import BOX_KEYS
from twisted.protocols.amp import AmpBox

BOX = AmpBox({b"_command": b"Ping", b"_ask": b"1"})


def read(reader: BoxReader, *pieces: bytes) -> list[AmpBox]:
    return [box for piece in pieces for box, _size in reader.read(piece)]


def test_many_boxes_in_one_piece() -> None:
    assert read(BoxReader(1000), BOX.serialize() * 3) == [BOX] * 3


def test_one_box_in_single_bytes() -> None:
    data = BOX.serialize()
    assert read(BoxReader(1000), *(data[i : i + 1] for i in range(len(data)))) == [BOX]


def test_what_is_forgotten_is_held_no_longer() -> None:
    reader, value = BoxReader(1000), b"x" * 300
    read(reader, AmpBox({b"a": value}).serialize()[:-2], b"\0\3ke")
    assert reader._box == {b"a": value}
    reader.forget()
    assert not reader._box
    assert read(reader, BOX.serialize()) == [BOX]


def test_the_size_counts_every_byte_of_the_box() -> None:
    assert [size for _box, size in BoxReader(1000).read(BOX.serialize())] == [len(BOX.serialize())]


def test_an_empty_box_is_a_box() -> None:
    assert read(BoxReader(1000), b"\0\0") == [AmpBox()]


def test_an_empty_value_is_no_end() -> None:
    box = AmpBox({b"a": b"", b"b": b"x"})
    assert read(BoxReader(1000), box.serialize()) == [box]


def test_a_key_over_255_bytes_is_told_before_it_is_here() -> None:
    with pytest.raises(TooLarge, match="not AMP"):
        read(BoxReader(100_000), b"GET / HTTP/1.1\r\n")


def test_a_box_over_the_bound_is_told_by_the_length_of_the_value_alone() -> None:
    with pytest.raises(TooLarge, match="more than 100 bytes"):
        read(BoxReader(100), b"\0\1a\xff\xff")


def test_many_small_values_are_counted_together() -> None:
    pair = b"\0\1a\0\x0a0123456789"
    reader = BoxReader(100)
    assert read(reader, pair * 6) == []
    with pytest.raises(TooLarge):
        read(reader, pair)


def test_too_many_keys() -> None:
    reader = BoxReader(1 << 20)
    assert read(reader, b"\0\1a\0\0" * BOX_KEYS) == []
    with pytest.raises(TooLarge, match="keys"):
        read(reader, b"\0\1a")


def test_the_count_of_keys_begins_anew_with_each_box() -> None:
    box = b"\0\1a\0\0" * BOX_KEYS + b"\0\0"
    assert read(BoxReader(1 << 20), box * 2) == [AmpBox({b"a": b""})] * 2


def test_the_bound_can_be_changed_between_two_boxes() -> None:
    large = AmpBox({b"a": b"x" * 200})
    reader = BoxReader(100)
    boxes = []
    for box, _size in reader.read(BOX.serialize() + large.serialize()):
        reader.most_bytes = 1000
        boxes.append(box)
    assert boxes == [BOX, large]
