"""Anything where a frame should be: it is refused in one way, or it is what it says it is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from ampacity.protocol.errors import Malformed, NotPlainData, TooLarge
from ampacity.protocol.ids import Attempt, ClientId, JobId
from ampacity.protocol.jobs import (
    Assignment,
    BlobRef,
    JobSpec,
    Submission,
    check_spec,
    pack_assignments,
    pack_spec,
    pack_submissions,
    unpack_assignments,
    unpack_spec,
    unpack_submissions,
)
from ampacity.protocol.outcomes import (
    Delivery,
    Ending,
    ErrorText,
    Evidence,
    JobLog,
    Outcome,
    Report,
    Shown,
    StreamLog,
    pack_deliveries,
    pack_log,
    pack_outcome,
    pack_reports,
    unpack_deliveries,
    unpack_log,
    unpack_outcome,
    unpack_reports,
    without_value,
)
from ampacity.protocol.packing import pack_arguments, unpack, unpack_arguments, unpack_map
from ampacity.protocol.plain import pack_plain, unpack_plain
from hypothesis import example, given
from hypothesis import strategies as st

from .amounts import examples

# -- good ones to begin with: what is refused for its first field tells nothing of the others ------

REF = BlobRef(b"d" * 32, 5)
SPEC = JobSpec(
    kind="import",
    target="m:f",
    function=REF,
    ships=(REF,),
    name="n",
    timeout=1.0,
    env=(("A", "b"),),
    path=("/p",),
    retry_on=("m.E",),
    max_losses=1,
)
OUTCOME = Outcome(
    value=b"v",
    shown=Shown(True, "int", "1"),
    error=ErrorText("m.E", "m", "t"),
    exit_code=1,
    evidence=Evidence("w", "h", 1, "SIGKILL", 2, 3, "r"),
    tail=b"t",
    withheld=True,
    data=True,
)
REPORT = Report(JobId(1), Attempt(1, 2), Ending.FAILED, 1.0, 2.0, b"b", (REF,), b"l")
GOOD: list[tuple[Any, Callable[[Any], bytes], Callable[[bytes], Any]]] = [
    (SPEC, pack_spec, unpack_spec),
    (OUTCOME, pack_outcome, unpack_outcome),
    (JobLog(StreamLog(b"a", 1, b"b"), StreamLog()), pack_log, unpack_log),
    ([REPORT, REPORT], pack_reports, unpack_reports),
    ([Delivery(JobId(1), Ending.CRASHED, b"b")] * 2, pack_deliveries, unpack_deliveries),
    (
        [Submission(b"s", b"p", "k", 0), Submission(b"t", REF)],
        pack_submissions,
        unpack_submissions,
    ),
    (
        [
            Assignment(JobId(1), Attempt(1, 1), b"s", REF, ClientId("c")),
            Assignment(JobId(2), Attempt(1, 1), b"s", b"p", ClientId("d")),
        ],
        pack_assignments,
        unpack_assignments,
    ),
]
forms = st.sampled_from(GOOD)

numbers = st.sampled_from([0, 1, -1, 255, 2**31, 2**62, 2**63, 2**64 - 1, -(2**63)])
floats = st.floats() | st.sampled_from([float("nan"), float("inf"), -0.0, 1e308])
leaves = (
    st.none() | st.booleans() | numbers | floats | st.binary(max_size=40)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)  # fmt: skip
anything = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(numbers | st.text("ab", max_size=2), inner)
    ),
    max_leaves=20,
)


def taken(pack_it: Callable[[Any], bytes], unpack_it: Callable[[bytes], Any], data: bytes) -> Any:
    """What is made of bytes, None of rubbish; what is taken can be told on, and is the same."""
    try:
        value = unpack_it(data)
    except (Malformed, TooLarge) as e:
        assert len(str(e)) < 1000
        return None
    packed = pack_it(value)
    assert pack_it(unpack_it(packed)) == packed
    return value


@examples(150)
@given(form=forms, data=st.data())
def test_other_bytes_in_a_frame(form: Any, data: st.DataObject) -> None:
    """Bytes changed, left out, put in, said twice."""
    good, pack_it, unpack_it = form
    frame = bytearray(pack_it(good))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(frame)))
        until = at + data.draw(st.integers(0, 6))
        frame[at:until] = data.draw(st.binary(max_size=6) | st.just(bytes(frame[at:until] * 2)))
    taken(pack_it, unpack_it, bytes(frame))


@examples(150)
@given(form=forms, data=st.data())
def test_other_values_in_a_frame(form: Any, data: st.DataObject) -> None:
    """Fields of another type, records that stand twice, fields more and fewer, at any depth."""
    good, pack_it, unpack_it = form
    value = unpack(pack_it(good))
    for _ in range(data.draw(st.integers(1, 3))):
        value = _changed(data, value)
    got = taken(pack_it, unpack_it, msgpack.packb(value))
    if isinstance(got, JobSpec):
        try:
            check_spec(got)
        except TooLarge as e:
            assert len(str(e)) < 200


def _changed(data: st.DataObject, value: Any) -> Any:
    if type(value) is not list or not value or data.draw(st.integers(0, 4)) == 0:
        return data.draw(anything)
    at = data.draw(st.integers(0, len(value) - 1))
    match data.draw(st.sampled_from(["in", "twice", "without", "more"])):
        case "twice":
            return [*value[: at + 1], *value[at:]]
        case "without":
            return value[:at] + value[at + 1 :]
        case "more":
            return [*value, data.draw(anything)]
        case _:
            return [*value[:at], _changed(data, value[at]), *value[at + 1 :]]


@examples(60)
@given(
    form=forms,
    depth=st.integers(0, 3000),
    opening=st.sampled_from([b"\x91", b"\x81\xa0", b"\x81\x01", b"\xdc\0\1", b"\xdd\0\0\0\1"]),
    inner=leaves,
    closed=st.booleans(),
)
def test_nested_to_any_depth(
    form: Any, depth: int, opening: bytes, inner: Any, closed: bool
) -> None:
    _, pack_it, unpack_it = form
    data = opening * depth + (msgpack.packb(inner) if closed else b"")
    taken(pack_it, unpack_it, data)
    for reader in (unpack, unpack_map, unpack_arguments, unpack_plain):
        try:
            reader(data)
        except (Malformed, TooLarge) as e:
            assert len(str(e)) < 1000


SUBMISSIONS = GOOD[5]


@examples(100)
@given(form=forms, value=anything, bare=st.booleans())
@example(form=SUBMISSIONS, value=[[b"s"], [{}]], bare=True)  # a map as a record: KeyError
@example(form=SUBMISSIONS, value=[[b"s"], [{0: 1, b"p": 1, "k": 1, 1: 1}]], bare=True)  # was taken
def test_any_value_as_a_frame_or_as_a_record(form: Any, value: Any, bare: bool) -> None:
    good, pack_it, unpack_it = form
    if not bare:
        frame = unpack(pack_it(good))
        frame[-1] = value
        value = frame
    taken(pack_it, unpack_it, msgpack.packb(value))


LENGTHS = [b"\xdd", b"\xdf", b"\xc6", b"\xdb"]


@examples(60)
@given(
    form=forms,
    mark=st.sampled_from(LENGTHS),
    length=st.integers(0, 2**32 - 1),
    rest=st.binary(max_size=9000),
)
def test_lengths_that_lie(form: Any, mark: bytes, length: int, rest: bytes) -> None:
    _, pack_it, unpack_it = form
    taken(pack_it, unpack_it, mark + struct.pack(">I", length) + rest)


@examples(100)
@given(body=st.binary(max_size=60) | anything.map(msgpack.packb))
def test_of_a_body_nobody_gets_the_value(body: bytes) -> None:
    left = without_value(body)
    assert unpack_outcome(left).value is None


# -- plain data -----------------------------------------------------------------------------------


class Text(str):
    __slots__ = ()


things = st.recursive(
    leaves
    | st.integers(-(10**40), 10**40)
    | st.builds(object)
    | st.builds(Text)
    | st.complex_numbers()
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3) | numbers | st.booleans(), inner, max_size=4)
    ),
    max_leaves=12,
)


@examples(100)
@given(value=things)
def test_a_result_is_plain_data_or_is_told_not_to_be(value: Any) -> None:
    try:
        packed = pack_plain(value)
    except NotPlainData as e:
        assert len(str(e)) < 2000
        return
    assert pack_plain(unpack_plain(packed)) == packed


@examples(100)
@given(data=st.binary(max_size=60) | things.map(repr).map(str.encode) | anything.map(msgpack.packb))
def test_plain_data_of_anybody(data: bytes) -> None:
    for reader in (unpack_plain, unpack_arguments):
        try:
            value = reader(data)
        except Malformed:
            continue
        assert pack_arguments(unpack_arguments(pack_arguments(value))) == pack_arguments(value)


@pytest.mark.parametrize("levels", [255, 256, 257, 5000])
def test_plain_data_has_a_depth(levels: int) -> None:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    if levels <= 256:
        assert unpack_plain(pack_plain(value)) == value
    else:
        with pytest.raises(NotPlainData, match="deeper than 256"):
            pack_plain(value)
