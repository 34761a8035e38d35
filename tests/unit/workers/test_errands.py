"""The boxes of a child, packed and read by hand, are AMP's."""

from __future__ import annotations

import pytest
from ampacity.protocol.errors import Malformed
from ampacity.protocol.packing import pack
from ampacity.workers.errands import BoxReader, Done, job_done
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols.amp import AmpBox, parseString


def done(number, body):
    return Done(number, 1.0, 2.0, 1, body, [], True, 0)


@given(
    st.lists(st.integers(0, 200) | st.sampled_from([65_400, 65_535, 65_536, 200_000]), max_size=4),
    st.integers(1, 70_000),
)
def test_any_cutting_gives_the_boxes(sizes, step):
    other = AmpBox({b"_answer": b"1", b"stop": b""}).serialize()
    expected = []
    data = b""
    for number, size in enumerate(sizes):
        expected += [done(number, b"x" * size), other]
        data += job_done(expected[-2]) + other
    reader = BoxReader()
    found = []
    for start in range(0, len(data), max(step, len(data) // 50)):
        found += reader.feed(data[start : start + max(step, len(data) // 50)])
    assert found == expected


def test_a_report_is_an_amp_box():
    for size in (10, 100_000):
        (box,) = parseString(job_done(done(1, b"y" * size)))
        assert box[b"_command"] == b"JobDone"
        assert pack(tuple(done(1, b"y" * size))) == b"".join(
            box[key] for key in sorted(box) if key.startswith(b"done")
        )


def test_a_damaged_report_is_malformed():
    whole = pack(tuple(done(1, b"")))
    for damaged in (b"\xc1" * len(whole), pack([1, 2]).ljust(len(whole), b"\0"), pack([1, 2])):
        box = job_done(done(1, b"")).replace(
            len(whole).to_bytes(2, "big") + whole, len(damaged).to_bytes(2, "big") + damaged
        )
        with pytest.raises(Malformed):
            BoxReader().feed(box)
