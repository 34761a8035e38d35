"""What is packed comes back; rubbish is told as such; boxes come out as they went in."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
from ampacity.protocol import fields
from ampacity.protocol.boxes import BoxReader
from ampacity.protocol.errors import Malformed, TooLarge
from ampacity.protocol.frames import batches
from ampacity.protocol.ids import Attempt, ClientId, JobId
from ampacity.protocol.jobs import (
    Assignment,
    BlobRef,
    JobSpec,
    Submission,
    pack_assignments,
    pack_spec,
    pack_submissions,
    unpack_assignments,
    unpack_spec,
    unpack_submissions,
)
from ampacity.protocol.limits import FRAME_BYTES, FRAME_JOBS, MAX_NUMBER
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
)
from ampacity.protocol.packing import (
    pack,
    pack_arguments,
    unpack,
    unpack_arguments,
    unpack_list,
    unpack_map,
)
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols.amp import AmpBox

from .amounts import examples

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
some_text = st.none() | text
counts = st.integers(0, 2**63)
seconds = st.floats(0, 1e12)
refs = st.builds(BlobRef, st.binary(min_size=32, max_size=32), counts)
payloads = st.binary(max_size=40) | refs
attempts = st.builds(Attempt, counts, counts)
jobs = counts.map(JobId)

specs = st.builds(
    JobSpec,
    kind=st.sampled_from(["import", "value", "command"]),
    target=text,
    function=st.none() | refs,
    ships=st.lists(refs, max_size=3).map(tuple),
    arguments=st.sampled_from(["pickle", "json"]),
    name=some_text,
    timeout=st.none() | seconds,
    deadline=st.none() | seconds,
    host=text,
    folder=some_text,
    cwd=some_text,
    env=st.lists(st.tuples(text, text), max_size=3).map(tuple),
    orphans=st.sampled_from(["keep", "cancel"]),
    python=some_text,
    attach=st.booleans(),
    show=st.sampled_from(["short", "full"]),
    path=st.lists(text, max_size=3).map(tuple),
)
submissions = st.builds(
    Submission,
    st.sampled_from([b"", b"one", b"another"]),
    payloads,
    some_text,
    st.none() | st.integers(0, MAX_NUMBER),
)
assignments = st.builds(
    Assignment,
    jobs,
    attempts,
    st.sampled_from([b"one", b"another"]),
    payloads,
    st.sampled_from(["me", "you"]).map(ClientId),
)
outcomes = st.builds(
    Outcome,
    value=st.none() | payloads,
    shown=st.none() | st.builds(Shown, st.booleans(), text, text),
    error=st.none() | st.builds(ErrorText, text, text, text),
    exit_code=st.none() | st.integers(-256, 255),
    evidence=st.none()
    | st.builds(
        Evidence, text, text, st.none() | counts, some_text, st.none() | counts, st.none(), text
    ),
    tail=st.binary(max_size=40),
)
streams = st.builds(StreamLog, st.binary(max_size=20), counts, st.binary(max_size=20))
logs = st.builds(JobLog, streams, streams)
endings = st.sampled_from(Ending)
reports = st.builds(
    Report,
    jobs,
    attempts,
    endings,
    st.none() | seconds,
    seconds,
    st.binary(max_size=40),
    st.lists(refs, max_size=2).map(tuple),
    st.binary(max_size=20),
)
deliveries = st.builds(Delivery, jobs, endings, st.binary(max_size=40))

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | text
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.integers(-5, 5) | text, inner, max_size=5)
    ),
    max_leaves=12,
)

FORMS: list[tuple[Any, Callable[[Any], bytes], Callable[[bytes], Any]]] = [
    (specs, pack_spec, unpack_spec),
    (st.lists(submissions, max_size=6), pack_submissions, unpack_submissions),
    (st.lists(assignments, max_size=6), pack_assignments, unpack_assignments),
    (outcomes, pack_outcome, unpack_outcome),
    (logs, pack_log, unpack_log),
    (st.lists(reports, max_size=4), pack_reports, unpack_reports),
    (st.lists(deliveries, max_size=6), pack_deliveries, unpack_deliveries),
]
UNPACKERS = [unpack for _strategy, _pack, unpack in FORMS]
UNPACKERS += [unpack_list, unpack_map, unpack, unpack_arguments]

# drawn and not parametrized: pytest-twisted wraps the inner test of Hypothesis once an item
forms = st.sampled_from(FORMS)
unpackers = st.sampled_from(UNPACKERS)
often = examples(300)


@often
@given(form=forms, data=st.data())
def test_what_is_packed_comes_back(form: Any, data: st.DataObject) -> None:
    strategy, pack_it, unpack_it = form
    value = data.draw(strategy)
    assert unpack_it(pack_it(value)) == value


@given(first=specs, second=specs)
def test_equal_specs_and_no_others_are_equal_bytes(first: JobSpec, second: JobSpec) -> None:
    again = unpack_spec(pack_spec(first))
    assert pack_spec(again) == pack_spec(first)
    assert (pack_spec(first) == pack_spec(second)) == (first == second)


@often
@given(unpack_it=unpackers, data=st.binary(max_size=60))
def test_rubbish_is_malformed(unpack_it: Callable[[bytes], Any], data: bytes) -> None:
    try:
        unpack_it(data)
    except Malformed as e:
        assert len(str(e)) < 1000


RUBBISH = [
    *(b"\x91" * 5000, b"\xdd\xff\xff\xff\xff", b"\xc7\x00\x05", b"\xc1"),
    *(b"\xd6\xff\x00\x00\x00\x00", b"\x81\x90\x90", b"\xc0\xc0"),
]


@pytest.mark.parametrize("unpack_it", UNPACKERS)
@pytest.mark.parametrize("data", RUBBISH)
def test_known_rubbish_is_malformed(unpack_it: Callable[[bytes], Any], data: bytes) -> None:
    if unpack_it in (unpack, unpack_arguments) and data[0] == 0xD6:
        return  # msgpack's own time stamp
    with pytest.raises(Malformed):
        unpack_it(data)


@often
@given(unpack_it=unpackers, value=plain)
def test_well_packed_rubbish_is_malformed_too(
    unpack_it: Callable[[bytes], Any], value: Any
) -> None:
    with contextlib.suppress(Malformed):
        unpack_it(pack(value))


@often
@given(form=forms, data=st.data())
def test_a_damaged_field_is_malformed_or_of_its_type(form: Any, data: st.DataObject) -> None:
    """One field anywhere is replaced: what is still taken can be packed again."""
    strategy, pack_it, unpack_it = form
    packed = pack_it(data.draw(strategy))
    if not packed:
        return
    damaged = pack(_replace_one(data, unpack(packed)))
    try:
        taken = unpack_it(damaged)
    except Malformed:
        return
    pack_it(taken)


def _replace_one(data: st.DataObject, value: Any) -> Any:
    if type(value) is not list or not value or data.draw(st.booleans()):
        return data.draw(plain)
    place = data.draw(st.integers(0, len(value) - 1))
    return [*value[:place], _replace_one(data, value[place]), *value[place + 1 :]]


@often
@given(form=forms, data=st.data())
def test_a_cut_frame_is_malformed(form: Any, data: st.DataObject) -> None:
    strategy, pack_it, unpack_it = form
    packed = pack_it(data.draw(strategy))
    cut = packed[: data.draw(st.integers(0, max(len(packed) - 1, 0)))]
    if cut:
        with pytest.raises(Malformed):
            unpack_it(cut)


@given(value=plain)
def test_plain_data_comes_back(value: Any) -> None:
    packed = pack(value)
    assert pack(unpack(packed)) == packed
    assert pack_arguments(unpack_arguments(packed)) == packed


@given(number=st.integers(-(10**60), 10**60))
def test_integers_of_any_size_are_arguments(number: int) -> None:
    assert unpack_arguments(pack_arguments([number])) == [number]


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0, -math.inf, True])
@pytest.mark.parametrize("field", ["timeout", "deadline"])
def test_a_spec_takes_real_seconds_only(field: str, number: float) -> None:
    spec = JobSpec(kind="import", target="a:b", **{field: number})  # type: ignore[arg-type]
    with pytest.raises(Malformed, match=field):
        unpack_spec(pack_spec(spec))


@given(report=reports, number=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_report_takes_real_times_only(report: Report, number: float) -> None:
    for wrong in (report._replace(began=number), report._replace(seconds=number)):
        with pytest.raises(Malformed):
            unpack_reports(pack_reports([wrong]))


def test_a_later_version_may_append_fields() -> None:
    spec = JobSpec(kind="import", target="a:b")
    assert unpack_spec(pack([*unpack(pack_spec(spec)), "later"])) == spec
    outcome = Outcome(tail=b"x", evidence=Evidence(), shown=Shown(True, "int", "1"))
    fields = unpack(pack_outcome(outcome))
    fields[1].append("later")
    fields[4].append("later")
    assert unpack_outcome(pack([*fields, False, False, "later"])) == outcome
    frames = (
        (pack_deliveries, unpack_deliveries, Delivery(JobId(1), Ending.FAILED, b"")),
        (pack_reports, unpack_reports, Report(JobId(1), Attempt(1, 1), Ending.LOST, None, 0, b"")),
    )
    for pack_it, unpack_it, record in frames:
        (row,) = unpack(pack_it([record]))  # type: ignore[list-item]
        assert unpack_it(pack([[*row, "later"]])) == [record]


def test_a_spec_stands_once_in_a_frame() -> None:
    spec = b"s" * 1000
    frame = pack_submissions([Submission(spec, b"")] * 100)
    assert len(frame) < 1000 + 100 * 8


# -- boxes ----------------------------------------------------------------------------------------

keys = st.binary(min_size=1, max_size=255)
boxes = st.dictionaries(keys, st.binary(max_size=300), min_size=1, max_size=6).map(AmpBox)


@given(sent=st.lists(boxes, max_size=5), cuts=st.lists(st.integers(0, 4000), max_size=8))
def test_boxes_come_out_as_they_went_in(sent: list[AmpBox], cuts: list[int]) -> None:
    data = b"".join(box.serialize() for box in sent)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = BoxReader(1 << 16)
    got = [
        box
        for start, stop in itertools.pairwise(edges)
        for box, _size in reader.read(data[start:stop])
    ]
    assert got == sent


@given(data=st.lists(st.binary(max_size=300), max_size=20), most=st.integers(0, 500))
def test_no_bytes_make_the_reader_hold_more_than_it_may(data: list[bytes], most: int) -> None:
    reader = BoxReader(most)
    try:
        for piece in data:
            for box, size in reader.read(piece):
                assert size <= most + 2
                assert sum(len(k) + len(v) for k, v in box.items()) <= size
            assert len(reader._rest) <= most + 2
    except TooLarge:
        pass


@given(data=st.binary(max_size=2000), cut=st.integers(1, 700))
def test_a_frame_argument_spans_values(data: bytes, cut: int) -> None:
    original, fields._VALUE = fields._VALUE, cut
    try:
        strings: dict[bytes, bytes] = {}
        fields.Frame().toBox(b"jobs", strings, {"jobs": data}, None)
        assert all(len(value) <= cut for value in strings.values())
        objects: dict[str, bytes] = {}
        fields.Frame().fromBox(b"jobs", strings, objects, None)
        assert objects == {"jobs": data}
    finally:
        fields._VALUE = original


@given(sizes=st.lists(st.integers(0, FRAME_BYTES * 2), max_size=60))
def test_batches_keep_order_and_bounds(sizes: list[int]) -> None:
    got = list(batches(sizes, lambda size: size))
    assert [size for batch in got for size in batch] == sizes
    assert all(batch and sum(batch[:-1]) < FRAME_BYTES for batch in got)


def test_batches_of_many_small_records() -> None:
    got = list(batches(range(FRAME_JOBS * 2 + 1), lambda _: 1))
    assert [len(batch) for batch in got] == [FRAME_JOBS, FRAME_JOBS, 1]
    assert list(batches([], lambda _: 1)) == []
