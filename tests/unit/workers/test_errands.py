"""The boxes between agent and child, packed and read by hand, are AMP's."""

from __future__ import annotations

import pytest
from ampacity.protocol.errors import Malformed
from ampacity.protocol.packing import pack
from ampacity.workers.errands import (
    JOBS_DONE,
    RUN_JOBS,
    BoxReader,
    Done,
    JobsDone,
    RunJobs,
    jobs_done,
    unpack_done,
    unpack_reports,
)
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.protocols.amp import AMP, AmpBox, parseString

SIZES = st.integers(0, 200) | st.sampled_from([65_400, 65_535, 65_536, 200_000])


def done(number, body):
    return Done(number, 1.0, 2.0, 1, body, [], True, 0, False)


def box(stop, *reports):
    return jobs_done(stop, len(reports), b"".join(pack(tuple(report)) for report in reports))


@given(st.lists(SIZES, max_size=4), st.integers(1, 70_000))
def test_any_cutting_gives_the_boxes(sizes, step):
    other = AmpBox({b"_answer": b"1", b"stop": b""}).serialize()
    expected = []
    data = b""
    for number, size in enumerate(sizes):
        report = done(number, b"x" * size)
        expected += [(True, JobsDone("", [report])), (False, other)]
        data += box("", report) + other
    reader = BoxReader(JOBS_DONE)
    step = max(step, len(data) // 50)
    found = []
    for start in range(0, len(data), step):
        for is_report, part in reader.feed(data[start : start + step]):
            found.append((is_report, unpack_done(part) if is_report else part))
    assert found == expected


@pytest.mark.parametrize("size", [10, 100_000])
def test_reports_are_an_amp_box(size):
    reports = [done(1, b"y" * size), done(2, b"")]
    (parsed,) = parseString(box(None, *reports))
    assert parsed[b"_command"] == b"JobsDone"
    value = b"".join(parsed[key] for key in sorted(parsed) if key.startswith(b"done"))
    assert unpack_done(value) == JobsDone(None, reports)


@pytest.mark.parametrize("size", [0, 10, 65_535, 65_536, 300_000])
def test_a_batch_is_what_stock_amp_sends(size):
    transport = StringTransport()
    amp = AMP()
    amp.makeConnection(transport)
    amp.callRemote(RunJobs, batch=b"b" * size)
    assert transport.value() == RUN_JOBS.pack(b"b" * size)
    assert BoxReader(RUN_JOBS).feed(transport.value()) == [(True, b"b" * size)]


def test_reports_that_stand_behind_each_other():
    reports = [done(number, b"body") for number in range(1, 40)]
    assert unpack_reports(39, b"".join(pack(tuple(report)) for report in reports)) == reports


def test_damaged_reports_are_malformed():
    for damaged in (b"\xc1", b"", pack({}), pack([]), pack([3]), pack([None, [1, 2]])):
        with pytest.raises(Malformed):
            unpack_done(damaged)
    with pytest.raises(Malformed):
        unpack_reports(2, pack(tuple(done(1, b""))))


GOOD = [1, 1.0, 2.0, 1, b"", [[b"d" * 32, 5, "/path"]], True, 0, False]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "1"), (0, None), (1, 1), (1, float("nan")), (2, float("inf")), (3, 99), (3, []),
        (4, "body"), (5, None), (5, [1]), (5, [[b"short", 5, "/path"]]), (5, [[b"d" * 32, 5, 7]]),
        (6, 1), (7, None), (8, 0),
    ],
)  # fmt: skip
def test_reports_that_make_no_sense_are_malformed(place, value):
    report = list(GOOD)
    assert unpack_done(pack([None, report])).done[0].blobs == GOOD[5]
    report[place] = value
    with pytest.raises(Malformed):
        unpack_done(pack([None, report]))


def test_a_number_of_reports_that_cannot_be_is_malformed():
    for count in (100, 1 << 40):
        with pytest.raises(Malformed):
            unpack_reports(count, pack(GOOD))
