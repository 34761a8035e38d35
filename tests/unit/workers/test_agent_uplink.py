"""The uplink: what goes out in which frame, and what survives a connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.commands import Finished, GetChunk, Output, PutChunk, WorkerState
from ampacity.protocol.connection import Connection
from ampacity.protocol.errors import CoordinatorLost, Disconnected, NotAllowed, TooLarge
from ampacity.protocol.ids import Attempt, ClientId, JobId
from ampacity.protocol.jobs import Assignment, BlobRef, JobSpec, pack_spec
from ampacity.protocol.limits import FRAME_JOBS, FRAMES_IN_FLIGHT, OUTPUT_CHUNK, OUTPUT_IN_FLIGHT
from ampacity.protocol.outcomes import Ending, Report, unpack_outcome, unpack_reports
from ampacity.protocol.pace import GATHER
from ampacity.protocol.ports import Beginning, Holding
from ampacity.workers.backlog import Backlog
from ampacity.workers.blobcache import BlobCache
from ampacity.workers.uplink import Uplink
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure


class Wire(Connection):
    """A connection that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, dict[str, Any], Deferred[dict[str, Any]]]] = []
        self.lost = None
        self.aborted = False

    def call(self, command: Any, **arguments: Any) -> Deferred[dict[str, Any]]:
        answer: Deferred[dict[str, Any]] = Deferred()
        self.asked.append((command, arguments, answer))
        return answer

    def abort(self) -> None:
        self.aborted = True

    def names(self) -> list[str]:
        return [command.__name__ for command, _, _ in self.asked]

    def reports(self) -> list[list[int]]:
        """The jobs in each ``Finished`` frame."""
        return [
            [report.job for report in unpack_reports(arguments["reports"])]
            for command, arguments, _ in self.asked
            if command is Finished
        ]

    def answer(self, place: int, **values: Any) -> None:
        self.asked[place][2].callback(values)

    def lose(self, uplink: Uplink) -> None:
        """As AMP does it: the open questions fail first."""
        self.lost = Failure(Disconnected())
        for _, _, answer in self.asked:
            if not answer.called:
                answer.errback(Disconnected())
        uplink.disconnected()


class Blobs(BlobFolder):
    """A folder of blobs that has some, and takes everything."""

    def __init__(self) -> None:
        self.there: dict[bytes, BlobRef] = {}

    def has(self, digest: bytes) -> bool:
        return digest in self.there

    def file(self, ref: BlobRef) -> Path:
        return Path("/blobs") / ref.digest.hex()

    def write(self, ref: BlobRef, offset: int, data: bytes, sender: Any = None) -> Deferred[bool]:
        self.there[ref.digest] = ref
        return succeed(True)

    def remove(self, digest: bytes) -> Deferred[None]:
        del self.there[digest]
        return succeed(None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def uplink(clock: Clock, blobs: Blobs, tmp_path: Path) -> Uplink:
    backlog = Backlog(tmp_path / "reports", maybeDeferred)
    return Uplink(clock, BlobCache(blobs, limit=1000), maybeDeferred, backlog)


@pytest.fixture
def wire(uplink: Uplink) -> Wire:
    wire = Wire()
    uplink.connected(wire)
    return wire


def attempt(number: int = 1) -> Attempt:
    return Attempt(1, number)


def report(job: int, body: bytes = b"", log: bytes = b"") -> Report:
    return Report(JobId(job), attempt(), Ending.SUCCEEDED, 1.0, 0.5, body, (), log)


def holding(job: int) -> Holding:
    return Holding(JobId(job), attempt())


def beginning(job: int) -> Beginning:
    return Beginning(JobId(job), attempt(), 7.0)


def fired(deferred: Deferred[Any]) -> list[Any]:
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results


# -- frames ---------------------------------------------------------------------------------------


def test_the_first_reports_go_at_once_and_others_of_the_moment_in_one_frame(
    uplink: Uplink, wire: Wire, clock: Clock
) -> None:
    recorded = [fired(uplink.finished([report(n), report(n + 1)])) for n in (1, 3, 5)]
    assert wire.reports() == [[1, 2]]
    clock.advance(GATHER)
    assert wire.reports() == [[1, 2], [3, 4, 5, 6]]
    assert recorded == [[], [], []]
    wire.answer(0)
    assert recorded == [[None], [], []]
    wire.answer(1)
    assert recorded == [[None], [None], [None]]


def test_who_has_answered_waits_for_nothing(uplink: Uplink, wire: Wire) -> None:
    for n in range(3):
        uplink.finished([report(n)])
        assert wire.reports()[-1] == [n]
        wire.answer(n)


def test_an_answer_ends_the_moment(uplink: Uplink, wire: Wire) -> None:
    uplink.finished([report(1)])
    uplink.finished([report(2)])
    wire.answer(0)
    assert wire.reports() == [[1], [2]]


def test_a_beginning_is_said_before_an_end_and_not_beside_it(
    uplink: Uplink, wire: Wire, clock: Clock
) -> None:
    uplink.begun([beginning(1), beginning(2)])
    uplink.returned([holding(3)])
    uplink.finished([report(1)])
    clock.advance(0)
    assert wire.names() == ["Begun", "Returned", "Finished"]
    assert wire.asked[0][1] == {"attempts": [[2, 1, 1, 7.0]]}
    assert wire.asked[1][1] == {"attempts": [[3, 1, 1]]}


def test_a_full_frame_does_not_wait_for_the_end_of_the_turn(uplink: Uplink, wire: Wire) -> None:
    uplink.finished([report(n) for n in range(FRAME_JOBS)])
    assert wire.reports() == [list(range(FRAME_JOBS))]


def test_a_coordinator_that_takes_large_frames_gets_them(uplink: Uplink) -> None:
    wire = Wire()
    wire.frame_jobs = 256
    uplink.connected(wire)
    uplink.finished([report(n) for n in range(300)])
    assert wire.reports() == [list(range(256)), list(range(256, 300))]


def test_a_frame_is_closed_by_its_bytes_too(uplink: Uplink, wire: Wire, clock: Clock) -> None:
    uplink.finished([report(n, body=bytes(300_000)) for n in range(5)])
    clock.advance(0)
    assert wire.reports() == [[0, 1], [2, 3], [4]]


def test_so_many_frames_are_unanswered_at_most(uplink: Uplink, wire: Wire, clock: Clock) -> None:
    for n in range(FRAMES_IN_FLIGHT + 5):
        uplink.finished([report(n)])
        clock.advance(GATHER)
    assert len(wire.asked) == FRAMES_IN_FLIGHT
    wire.answer(0)
    assert wire.reports()[-1] == list(range(FRAMES_IN_FLIGHT, FRAMES_IN_FLIGHT + 5))


def test_no_reports_are_recorded_at_once(uplink: Uplink) -> None:
    assert fired(uplink.finished([])) == [None]


# -- connections that come and go -----------------------------------------------------------------


def test_what_was_not_answered_goes_out_again_in_its_order(
    uplink: Uplink, wire: Wire, clock: Clock
) -> None:
    first = fired(uplink.finished([report(1)]))
    clock.advance(0)
    second = fired(uplink.finished([report(2)]))
    clock.advance(0)
    wire.lose(uplink)
    uplink.finished([report(3)])
    clock.advance(1)
    assert uplink.reported() == [holding(1), holding(2), holding(3)]
    again = Wire()
    uplink.connected(again)
    assert again.reports() == [[1, 2, 3]]
    again.answer(0)
    assert (first, second) == ([None], [None])
    assert uplink.reported() == []


def test_a_late_answer_of_a_lost_connection_counts_for_nothing(
    uplink: Uplink, wire: Wire, clock: Clock
) -> None:
    recorded = fired(uplink.finished([report(1)]))
    clock.advance(0)
    uplink.disconnected()
    uplink.connected(Wire())
    wire.answer(0)
    assert recorded == []


def test_a_beginning_that_may_not_have_been_heard_is_said_again(
    uplink: Uplink, wire: Wire, clock: Clock
) -> None:
    uplink.begun([beginning(1), beginning(2)])
    clock.advance(0)
    uplink.finished([report(2)])
    wire.lose(uplink)
    again = Wire()
    uplink.connected(again)
    assert again.names() == ["Begun", "Finished"]
    assert again.asked[0][1] == {"attempts": [[1, 1, 1, 7.0]]}


def test_reports_that_are_not_wanted_are_dropped(uplink: Uplink, wire: Wire, clock: Clock) -> None:
    wire.lose(uplink)
    dropped, kept = fired(uplink.finished([report(1)])), fired(uplink.finished([report(2)]))
    uplink.begun([beginning(3)])
    uplink.returned([holding(4)])
    uplink.drop([holding(1), holding(3), holding(4)])
    again = Wire()
    uplink.connected(again)
    assert again.names() == ["Finished"]
    assert again.reports() == [[2]]
    assert (dropped, kept) == ([None], [])


def test_nothing_of_an_old_store_is_kept(uplink: Uplink, wire: Wire, clock: Clock) -> None:
    recorded = fired(uplink.finished([report(1)]))
    clock.advance(0)
    wire.lose(uplink)
    uplink.begun([beginning(2)])
    printed = fired(uplink.output(JobId(2), 1, 0, b"words"))
    fetched = fired(uplink.fetch(BlobRef(b"f" * 32, 5)))
    uplink.forget()
    assert recorded == [None]
    assert printed == [False]
    assert fetched[0].check(CoordinatorLost)
    again = Wire()
    uplink.connected(again)
    assert again.asked == []


def test_a_connection_where_nothing_is_understood_is_ended(
    uplink: Uplink, wire: Wire, clock: Clock
) -> None:
    uplink.finished([report(1)])
    clock.advance(0)
    wire.asked[0][2].errback(NotAllowed())
    assert wire.aborted
    assert uplink.reported() == [holding(1)]


def test_one_report_that_is_refused_does_not_keep_the_others(
    uplink: Uplink, wire: Wire, clock: Clock, logged_errors: Any
) -> None:
    huge = fired(uplink.finished([report(1), report(2, log=bytes(8000)), report(3)]))
    clock.advance(0)
    wire.asked[0][2].errback(TooLarge("a report may take 7999 bytes"))
    assert wire.reports()[1:] == [[1], [2], [3]]
    wire.answer(1)
    wire.answer(3)
    wire.asked[2][2].errback(TooLarge("a report may take 7999 bytes"))
    assert wire.reports()[4:] == [[2]]
    (short,) = unpack_reports(wire.asked[4][1]["reports"])
    assert (short.job, short.ending, short.log) == (2, Ending.FAILED, b"")
    error = unpack_outcome(short.body).error
    assert error is not None
    assert "7999" in error.message
    wire.answer(4)
    assert huge == [None]
    assert len(logged_errors(TooLarge)) == 2


def test_flushed_when_everything_is_answered(uplink: Uplink, wire: Wire, clock: Clock) -> None:
    assert fired(uplink.flushed()) == [None]
    uplink.finished([report(1)])
    flushed = fired(uplink.flushed())
    clock.advance(0)
    assert flushed == []
    wire.answer(0)
    assert flushed == [None]


def test_after_the_end_nothing_is_sent(uplink: Uplink, wire: Wire, clock: Clock) -> None:
    recorded = [fired(uplink.finished([report(n)])) for n in (1, 2)]
    uplink.stop()
    assert recorded == [[None], [None]]
    assert clock.getDelayedCalls() == []
    assert wire.reports() == [[1]]


def test_the_state_is_told_now_or_never(uplink: Uplink, wire: Wire) -> None:
    uplink.state({"cpu": 0.5})
    assert wire.asked[0][:2] == (WorkerState, {"state": {"cpu": 0.5}})
    wire.lose(uplink)
    uplink.state({"cpu": 0.6})
    again = Wire()
    uplink.connected(again)
    assert again.asked == []


# -- output ---------------------------------------------------------------------------------------


def test_output_is_cut_in_pieces_and_waits_for_a_slow_listener(uplink: Uplink, wire: Wire) -> None:
    pieces = OUTPUT_IN_FLIGHT + 2
    data = bytes(range(256)) * (pieces * OUTPUT_CHUNK // 256)
    taken = fired(uplink.output(JobId(1), 1, 5, data))
    assert wire.names() == ["Output"] * OUTPUT_IN_FLIGHT
    for place in range(pieces):
        assert taken == []
        wire.answer(place, wanted=True)
    assert taken == [True]
    assert b"".join(arguments["data"] for _, arguments, _ in wire.asked) == data
    offsets = [arguments["offset"] for _, arguments, _ in wire.asked]
    assert offsets == [5 + place * OUTPUT_CHUNK for place in range(pieces)]


def test_output_keeps_its_order_over_a_new_connection(uplink: Uplink, wire: Wire) -> None:
    taken = [fired(uplink.output(JobId(1), 1 + n % 2, n, b"%d" % n)) for n in range(4)]
    wire.answer(0, wanted=True)
    wire.lose(uplink)
    again = Wire()
    uplink.connected(again)
    names = ("stream", "offset", "data")
    sent = [tuple(arguments[name] for name in names) for _, arguments, _ in again.asked]
    assert sent == [(2, 1, b"1"), (1, 2, b"2"), (2, 3, b"3")]
    for place in range(3):
        again.answer(place, wanted=True)
    assert taken == [[True]] * 4


def test_nobody_listens(uplink: Uplink, wire: Wire) -> None:
    taken = [fired(uplink.output(JobId(1), 1, n, b"%d" % n)) for n in range(20)]
    other = fired(uplink.output(JobId(2), 1, 0, b"other"))
    wire.answer(0, wanted=False)
    assert taken == [[False]] * 20
    for place in range(1, OUTPUT_IN_FLIGHT):
        wire.answer(place, wanted=False)
    wire.answer(OUTPUT_IN_FLIGHT, wanted=True)
    assert other == [True]


def test_the_output_of_one_job_does_not_wait_for_another(uplink: Uplink, wire: Wire) -> None:
    for _ in range(OUTPUT_IN_FLIGHT + 1):
        uplink.output(JobId(1), 1, 0, b"much")
    uplink.output(JobId(2), 1, 0, b"little")
    assert [arguments["job"] for _, arguments, _ in wire.asked] == [1] * OUTPUT_IN_FLIGHT + [2]
    assert {command for command, _, _ in wire.asked} == {Output}


# -- blobs ----------------------------------------------------------------------------------------


def ref(letter: str, size: int = 400) -> BlobRef:
    return BlobRef(letter.encode() * 32, size)


def fetch(uplink: Uplink, wire: Wire, wanted: BlobRef) -> Any:
    got = fired(uplink.fetch(wanted))
    if not got:
        wire.answer(len(wire.asked) - 1, data=bytes(wanted.size))
    return got[0]


def assignment(job: int, payload: BlobRef, **spec: Any) -> Assignment:
    packed = pack_spec(JobSpec(kind="import", target="a:b", **spec))
    return Assignment(JobId(job), attempt(), packed, payload, ClientId("local"))


def test_a_blob_is_fetched_once(uplink: Uplink, wire: Wire) -> None:
    paths = [fetch(uplink, wire, ref("a")) for _ in range(2)]
    assert paths == [Path("/blobs") / (b"a" * 32).hex()] * 2
    assert wire.names() == ["GetChunk"]


def test_a_fetch_goes_on_over_the_next_connection(uplink: Uplink, wire: Wire) -> None:
    got = fired(uplink.fetch(ref("a")))
    wire.lose(uplink)
    again = Wire()
    uplink.connected(again)
    assert again.asked[0][0] is GetChunk
    again.answer(0, data=bytes(400))
    assert len(got) == 1


def test_the_least_recently_used_blob_goes_first(uplink: Uplink, wire: Wire, blobs: Blobs) -> None:
    for letter in "aba":
        fetch(uplink, wire, ref(letter))
    fetch(uplink, wire, ref("c"))
    assert sorted(blobs.there) == [b"a" * 32, b"c" * 32]


def test_blobs_in_use_stay_until_their_attempts_are_over(
    uplink: Uplink, wire: Wire, blobs: Blobs
) -> None:
    uplink.assigned([assignment(1, ref("a")), assignment(2, ref("b"), ships=(ref("a"),))])
    uplink.assigned([assignment(3, ref("d"))])
    for letter in "abcd":
        fetch(uplink, wire, ref(letter))
    assert sorted(blobs.there) == [b"a" * 32, b"b" * 32, b"d" * 32]
    uplink.finished([report(1)])
    assert b"a" * 32 in blobs.there  # job 2 has it, too
    uplink.returned([holding(2)])
    assert sorted(blobs.there) == [b"b" * 32, b"d" * 32]
    uplink.drop([holding(3)])
    fetch(uplink, wire, ref("e"))
    assert sorted(blobs.there) == [b"d" * 32, b"e" * 32]


def test_a_result_is_sent_from_its_file_which_is_taken(
    uplink: Uplink, wire: Wire, tmp_path: Path
) -> None:
    file = tmp_path / "result"
    file.write_bytes(bytes(400))
    stored = fired(uplink.store(ref("r"), file))
    wire.lose(uplink)
    assert file.exists()
    again = Wire()
    uplink.connected(again)
    assert again.asked[0][0] is PutChunk
    again.answer(0, have=True)
    assert stored == [None]
    assert not file.exists()
