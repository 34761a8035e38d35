"""Large buffers travel beside the pickle of a call, and arrive as if they were in it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from ampacity.client.buffers import LARGE, Pieces
from ampacity.client.calls import pack_arguments
from ampacity.client.functions import travelling
from ampacity.protocol.errors import NotPackable


class Array:
    """Pickled as numpy's arrays are."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Array, (pickle.PickleBuffer(self.data),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and bytes(self.data) == bytes(other.data)


def several(*args: Any, **kwargs: Any) -> None: ...


def pieces_of(*args: Any, **kwargs: Any) -> Pieces:
    payload, by_value = pack_arguments(travelling(several), args, kwargs)
    assert not by_value
    assert isinstance(payload, Pieces)
    assert len(payload) == len(b"".join(payload))
    return payload


CALLS: list[Any] = [
    ((b"x" * LARGE,), {}),
    ((1, b"x" * LARGE, "text", b"y" * 2 * LARGE), {"more": [1, 2]}),
    ((Array(bytearray(b"x" * LARGE)),), {}),
    ((Array(b"x" * LARGE), Array(bytearray(b"y" * LARGE)), ["z"] * 100), {}),
    (("before" * 5_000,), {"array": Array(bytearray(b"x" * LARGE)), "same": [[]] * 5}),
    ((b"small", Array(bytearray(LARGE)), Array(bytearray(10))), {}),
]


@pytest.mark.parametrize("read", [pickle.loads, pickle._loads], ids=["C", "Python"])  # type: ignore[attr-defined]  # the strict one
@pytest.mark.parametrize("call", CALLS, ids=range(len(CALLS)))
def test_what_is_read_is_what_was_sent(call: Any, read: Any) -> None:
    args, kwargs = call
    packed = b"".join(pieces_of(*args, **kwargs))
    found = read(packed)
    assert found == call
    for one, sent in zip(found[0], args, strict=True):
        assert type(one) is type(sent)
        if isinstance(sent, Array):
            assert type(one.data) is type(sent.data)


def test_bytes_are_not_copied_and_what_may_change_is() -> None:
    fixed, changing = b"x" * LARGE, bytearray(b"y" * LARGE)
    pieces = pieces_of(fixed, Array(changing))
    changing[:] = bytes(LARGE)
    assert any(piece is fixed for piece in pieces)
    assert pickle.loads(b"".join(pieces))[0][1].data == b"y" * LARGE


def test_bytes_given_twice_arrive_as_one_object() -> None:
    fixed = b"x" * LARGE
    payload, _ = pack_arguments(travelling(several), (fixed, fixed))
    assert type(payload) is bytes
    (one, other), _ = pickle.loads(payload)
    assert one is other


@pytest.mark.parametrize(
    "argument",
    [b"small", Array(bytearray(100)), ["many"] * 100_000 + [Array(bytearray(LARGE))]],
    ids=["bytes", "array", "many others"],
)
def test_what_is_not_worth_it_is_pickled_as_ever(argument: Any) -> None:
    payload, by_value = pack_arguments(travelling(several), (argument,))
    assert isinstance(payload, bytes)
    assert not by_value
    assert pickle.loads(payload)[0][0] == argument


def test_a_buffer_in_stripes_cannot_be_packed_as_ever() -> None:
    stripes = Array(memoryview(bytearray(4 * LARGE))[::2])
    with pytest.raises(NotPackable, match="contiguous"):
        pack_arguments(travelling(several), (stripes,))


def test_a_large_value_travels_in_pieces(pool: Any, clock: Any, coordinator: Any) -> None:
    data = b"x" * LARGE
    job = pool.submit(len, data)
    clock.turn()
    coordinator.run()
    found: list[int] = []
    job.result().addCallback(found.append)
    assert found == [LARGE]
