"""Commands become calls of the core, and the core's calls become commands."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from ampacity.coordinator.client_session import ClientSession
from ampacity.coordinator.uploads import Uploads
from ampacity.coordinator.worker_session import WorkerSession
from ampacity.protocol import commands, limits
from ampacity.protocol.errors import (
    AmpacityError,
    Disconnected,
    Malformed,
    NoSuchBlob,
    NoSuchGroup,
    NoSuchJob,
    NotAllowed,
    QueueFull,
    TooLarge,
)
from ampacity.protocol.ids import Attempt, ClientId, GroupId, JobId
from ampacity.protocol.jobs import (
    Assignment,
    BlobRef,
    Submission,
    pack_submissions,
    unpack_assignments,
)
from ampacity.protocol.late import LATE_SECONDS
from ampacity.protocol.outcomes import (
    Delivery,
    Ending,
    JobLog,
    Report,
    StreamLog,
    pack_log,
    pack_reports,
    unpack_deliveries,
)
from ampacity.protocol.ports import Accepted, Beginning, Ended, Holding, WorkerInfo
from twisted.internet.defer import Deferred
from twisted.protocols import amp

SESSION = b"s" * 16
SUBMISSION = Submission(b"spec", b"payload", "key", 0)
INFO = WorkerInfo(
    name="box",
    incarnation=b"i" * 16,
    slots=2,
    python="3.11",
    host="here",
    software="0.1.0",
    pid=99,
)


class Told(amp.CommandLocator):
    """The far side: remembers what it is told, and answers as the test says."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.wanted = True
        self.error: Exception | None = None

    def _take(self, name: str, value: Any, **answer: Any) -> dict[str, Any]:
        self.told.append((name, value))
        if self.error is not None:
            raise self.error
        return answer

    @commands.Delivered.responder
    def delivered(self, outcomes: bytes) -> dict[str, Any]:
        return self._take("delivered", unpack_deliveries(outcomes))

    @commands.Output.responder
    def output(self, job: int, stream: int, offset: int, data: bytes) -> dict[str, Any]:
        return self._take("output", (job, stream, offset, data), wanted=self.wanted)

    @commands.Assign.responder
    def assign(self, jobs: bytes) -> dict[str, Any]:
        return self._take("assign", unpack_assignments(jobs))

    @commands.EndAttempts.responder
    def end(self, attempts: Any) -> dict[str, Any]:
        return self._take("end", attempts)

    @commands.Retract.responder
    def retract(self, attempts: Any) -> dict[str, Any]:
        return self._take("retract", attempts)

    @commands.Reload.responder
    def reload(self) -> dict[str, Any]:
        return self._take("reload", None)

    @commands.AttachWorker.responder
    def attach(self, job: int, follow: bool) -> dict[str, Any]:
        log = JobLog(StreamLog(b"printed"))
        return self._take("attach", (job, follow), log=pack_log(log))


@attrs.define(eq=False)
class Wired:
    """A peer, and the session that serves it over there."""

    pair: Any
    core: Any
    peer: Told

    def call(self, command: Any, **arguments: Any) -> Any:
        return self.pair.result(self.pair.here.connection.call(command, **arguments))

    def tell(self, work: Any) -> list[tuple[str, Any]]:
        """What the peer was told meanwhile."""
        self.pair.pump()
        told, self.peer.told = self.peer.told, []
        return told


@pytest.fixture
def client(pair_of: Any, core: Any, blobs: Any) -> Wired:
    peer = Told()
    pair = pair_of(peer)
    connection = pair.there.connection
    connection.admit(ClientSession(core, blobs, connection, ClientId("me")))
    return Wired(pair, core, peer)


@pytest.fixture
def session(client: Wired) -> Wired:
    client.call(commands.OpenSession, session=SESSION)
    client.core.events.clear()
    return client


@pytest.fixture
def stranger(pair_of: Any, core: Any, blobs: Any) -> Wired:
    peer = Told()
    pair = pair_of(peer)
    connection = pair.there.connection
    connection.admit(WorkerSession(core, blobs, connection))
    return Wired(pair, core, peer)


@pytest.fixture
def worker(stranger: Wired) -> Wired:
    stranger.call(commands.Join, info=attrs.asdict(INFO), held=[])
    stranger.core.events.clear()
    return stranger


def submit(wired: Wired, *submissions: Submission) -> Any:
    frame = pack_submissions(submissions)
    return wired.call(commands.Submit, sequence=1, group=None, jobs=frame)


# -- a client -------------------------------------------------------------------------------------


def test_a_session_is_opened_once_a_connection(client: Wired) -> None:
    assert client.call(commands.OpenSession, session=SESSION) == {"next_sequence": 7}
    assert client.core.events == [("open_session", "me", SESSION)]
    with pytest.raises(NotAllowed):
        client.call(commands.OpenSession, session=SESSION)


@pytest.mark.parametrize("name", [b"", b"short", b"x" * 17])
def test_a_session_has_a_name_of_16_bytes(client: Wired, name: bytes) -> None:
    with pytest.raises(Malformed):
        client.call(commands.OpenSession, session=name)
    assert client.core.events == []


def test_nothing_goes_without_a_session(client: Wired) -> None:
    with pytest.raises(NotAllowed, match="opened first"):
        client.call(commands.Cancel, jobs=[1], queued_only=False)
    with pytest.raises(NotAllowed, match="opened first"):
        submit(client, SUBMISSION)
    assert client.core.events == []


def test_a_frame_is_submitted(session: Wired) -> None:
    session.core.answers["submit"] = Accepted(
        ids=((3, 2),), group=GroupId(5), missing=(b"d" * 32,), warning="nobody can"
    )
    answer = session.call(
        commands.Submit, sequence=4, group=2, jobs=pack_submissions([SUBMISSION] * 2)
    )
    assert answer == {"ids": [[3, 2]], "group": 5, "missing": [b"d" * 32], "warning": "nobody can"}
    assert session.core.events == [("submit", 4, [SUBMISSION] * 2, 2)]


def test_a_refused_frame(session: Wired) -> None:
    session.core.answers["submit"] = QueueFull("10 jobs wait")
    with pytest.raises(QueueFull, match="10 jobs wait"):
        submit(session, SUBMISSION)


@pytest.mark.parametrize("frame", [b"", b"x", b"\x90", b"\x92\x90\x91\x01", b"\x92\x91\x01\x90"])
def test_a_damaged_frame(session: Wired, frame: bytes) -> None:
    with pytest.raises(Malformed):
        session.call(commands.Submit, sequence=1, group=None, jobs=frame)
    assert session.core.events == []


@pytest.mark.parametrize(
    "submission",
    [
        SUBMISSION._replace(payload=b"x" * (limits.INLINE_LIMIT + 1)),
        SUBMISSION._replace(spec=b"x" * (limits.SPEC_BYTES + 1)),
        SUBMISSION._replace(key="k" * (limits.NAME_LENGTH + 1)),
    ],
)
def test_what_is_too_large_for_its_way_is_refused(session: Wired, submission: Submission) -> None:
    with pytest.raises(TooLarge):
        submit(session, submission)
    assert session.core.events == []


def test_too_many_jobs_in_a_frame(session: Wired) -> None:
    with pytest.raises(TooLarge):
        submit(session, *[SUBMISSION] * (limits.LARGE_FRAME_JOBS + 1))


def test_the_largest_job_fits_all_the_way(session: Wired, worker: Wired) -> None:
    session.core.answers["submit"] = Accepted()
    large = Submission(b"s" * limits.SPEC_BYTES, b"p" * limits.INLINE_LIMIT)
    submit(session, large)
    assignment = Assignment(JobId(1), Attempt(1, 1), large.spec, large.payload, ClientId("me"))
    worker.core.ports[-1].assign([assignment])
    assert worker.tell(None) == [("assign", [assignment])]


def test_the_other_questions(session: Wired) -> None:
    core = session.core
    core.answers.update(cancel={1: "queued"}, retry={1: 9}, watch=[5], reload_workers=3)
    core.answers.update(query={"a": [1]}, attach=(JobLog(StreamLog(b"x")), True))
    cancelled = session.call(commands.Cancel, jobs=[1, 2], queued_only=True)
    assert cancelled == {"states": {1: "queued"}}
    assert session.call(commands.Retry, jobs=[1]) == {"ids": {1: 9}}
    assert session.call(commands.Watch, jobs=[5]) == {"unknown": [5]}
    assert session.call(commands.ReloadWorkers) == {"workers": 3}
    answer = session.call(commands.Query, question="status", details={"limit": 3})
    assert answer == {"answer": {"a": [1]}}
    attached = session.call(commands.Attach, job=4, follow=True)
    assert attached == {"log": pack_log(JobLog(StreamLog(b"x"))), "live": True}
    assert session.call(commands.Detach, job=4) == {}
    assert session.call(commands.CloseGroup, group=1, size=2) == {}
    assert session.call(commands.Shutdown) == {}
    assert core.events == [
        ("cancel", [1, 2], True),
        ("retry", [1]),
        ("watch", [5]),
        ("reload_workers",),
        ("query", "status", {"limit": 3}),
        ("attach", 4, True),
        ("detach", 4),
        ("close_group", 1, 2),
        ("shutdown",),
    ]


@pytest.mark.parametrize("jobs", [None, 3, "all", {1: 2}, ["1"], [True], [1.0], [[1]]])
def test_jobs_are_named_by_numbers(session: Wired, jobs: Any) -> None:
    with pytest.raises(Malformed):
        session.call(commands.Retry, jobs=jobs)
    assert session.core.events == []


def test_a_question_may_not_name_all_the_jobs_of_the_world(session: Wired) -> None:
    with pytest.raises(TooLarge):
        session.call(commands.Watch, jobs=[1] * 100_001)


@pytest.mark.parametrize("details", [None, [], "x", {1: 2}])
def test_the_details_of_a_question_are_a_map(session: Wired, details: Any) -> None:
    with pytest.raises(Malformed):
        session.call(commands.Query, question="status", details=details)


def test_what_is_not_there_says_so(session: Wired) -> None:
    session.core.answers.update(query=NoSuchJob("no job 3"), close_group=NoSuchGroup())
    with pytest.raises(NoSuchJob, match="no job 3"):
        session.call(commands.Query, question="job", details={"job": 3})
    with pytest.raises(NoSuchGroup):
        session.call(commands.CloseGroup, group=1, size=0)


def test_deliveries_are_acknowledged_frame_by_frame(session: Wired) -> None:
    many = [Delivery(JobId(n), Ending.SUCCEEDED, b"x" * 2000) for n in range(1000)]
    done: list[Any] = []
    session.core.ports[-1].delivered(many).addCallback(done.append)
    assert done == []
    told = session.tell(None)
    assert [delivery for _name, frame in told for delivery in frame] == many
    assert len(told) > 2
    assert done == [None]


def test_deliveries_to_a_client_that_is_gone_fail(session: Wired) -> None:
    failed: list[Any] = []
    outcome = Delivery(JobId(1), Ending.FAILED, b"")
    session.core.ports[-1].delivered([outcome]).addErrback(failed.append)
    session.pair.there.transport.loseConnection()
    assert failed[0].check(Disconnected)


@pytest.mark.parametrize("wanted", [True, False])
def test_output_goes_to_the_client(session: Wired, wanted: bool) -> None:
    session.peer.wanted = wanted
    taken = session.core.ports[-1].output(JobId(1), 2, 7, b"text")
    assert session.pair.result(taken) is wanted
    assert session.peer.told == [("output", (1, 2, 7, b"text"))]


def test_output_over_a_lost_connection_fails(session: Wired) -> None:
    session.pair.there.transport.loseConnection()
    with pytest.raises(Disconnected):
        session.pair.result(session.core.ports[-1].output(JobId(1), 1, 0, b"x"))


@pytest.mark.parametrize("goodbye", [True, False])
def test_leaving_is_told_from_a_fault(session: Wired, goodbye: bool) -> None:
    if goodbye:
        session.call(commands.Goodbye)
    session.pair.there.transport.loseConnection()
    assert session.core.events == [("leave_session", SESSION, goodbye)]


def test_a_connection_without_a_session_leaves_nothing(client: Wired) -> None:
    client.pair.there.transport.loseConnection()
    assert client.core.events == []


def test_a_mistake_of_the_core_costs_one_answer(session: Wired, logged_errors: Any) -> None:
    session.core.answers["retry"] = RuntimeError("oops")
    with pytest.raises(AmpacityError, match="Retry failed"):
        session.call(commands.Retry, jobs=[1])
    assert logged_errors(RuntimeError)
    session.core.answers["watch"] = []
    assert session.call(commands.Watch, jobs=[]) == {"unknown": []}


def test_blobs_are_put_and_got(session: Wired) -> None:
    digest = b"d" * 32
    chunk = {"digest": digest, "size": limits.CHUNK_SIZE + 5}
    first = session.call(commands.PutChunk, offset=0, data=b"x" * limits.CHUNK_SIZE, **chunk)
    assert first == {"have": False}
    last = session.call(commands.PutChunk, offset=limits.CHUNK_SIZE, data=b"xxxxx", **chunk)
    assert last == {"have": True}
    got = session.call(commands.GetChunk, digest=digest, offset=limits.CHUNK_SIZE)
    assert got == {"data": b"xxxxx"}
    with pytest.raises(NoSuchBlob):
        session.call(commands.GetChunk, digest=b"e" * 32, offset=0)


@pytest.mark.parametrize(
    "chunk",
    [
        {"digest": b"short", "size": 3, "offset": 0, "data": b"abc"},
        {"digest": b"d" * 32, "size": -1, "offset": 0, "data": b""},
        {"digest": b"d" * 32, "size": 3, "offset": -3, "data": b"abc"},
        {"digest": b"d" * 32, "size": 3, "offset": 0, "data": b"abcd"},
        {"digest": b"d" * 32, "size": 3, "offset": 3, "data": b""},
        {"digest": b"d" * 32, "size": 10**6, "offset": 0, "data": b"abc"},
    ],
)
def test_chunks_that_do_not_fit(session: Wired, chunk: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        session.call(commands.PutChunk, **chunk)


# -- a worker -------------------------------------------------------------------------------------


def test_a_worker_joins_with_what_it_holds(stranger: Wired) -> None:
    stranger.core.answers["join"] = [Holding(JobId(1), Attempt(2, 3))]
    answer = stranger.call(commands.Join, info=attrs.asdict(INFO), held=[[1, 2, 3], [4, 5, 6, 7]])
    assert answer == {"name": "worker-1", "drop": [[1, 2, 3]]}
    held = [Holding(JobId(1), Attempt(2, 3)), Holding(JobId(4), Attempt(5, 6))]
    assert stranger.core.events == [("join", INFO, held)]


def test_a_connection_is_of_one_worker(worker: Wired) -> None:
    other = attrs.evolve(INFO, incarnation=b"j" * 16)
    with pytest.raises(NotAllowed, match="one worker"):
        worker.call(commands.Join, info=attrs.asdict(other), held=[])
    assert worker.core.events == []


def test_a_worker_that_is_about_to_leave_joins_again_with_no_slots(stranger: Wired) -> None:
    stranger.core.answers["join"] = []
    stranger.call(commands.Join, info=attrs.asdict(INFO), held=[])
    leaving = attrs.evolve(INFO, slots=0)
    for other in (INFO, attrs.evolve(leaving, incarnation=b"o" * 16)):
        with pytest.raises(NotAllowed):
            stranger.call(commands.Join, info=attrs.asdict(other), held=[])
    assert stranger.call(commands.Join, info=attrs.asdict(leaving), held=[])["drop"] == []
    assert stranger.core.events == [("join", INFO, []), ("join", leaving, [])]


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"name": "x" * 201},
        {"incarnation": b"short"},
        {"incarnation": "x" * 16},
        {"slots": -1},
        {"slots": 10**9},
        {"slots": True},
        {"slots": 2.0},
        {"python": 3.11},
        {"pid": None},
    ],
)
def test_a_worker_describes_itself_well(stranger: Wired, change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        stranger.call(commands.Join, info={**attrs.asdict(INFO), **change}, held=[])
    assert stranger.core.events == []


def test_a_later_version_may_say_more(stranger: Wired) -> None:
    stranger.call(commands.Join, info={**attrs.asdict(INFO), "gpus": 8}, held=[])
    assert stranger.core.events == [("join", INFO, [])]


@pytest.mark.parametrize("held", [None, 1, [1], [[1, 2]], [[1, 2, "3"]], [[True, 1, 1]], {}])
def test_what_it_holds_is_a_list_of_attempts(stranger: Wired, held: Any) -> None:
    with pytest.raises(Malformed):
        stranger.call(commands.Join, info=attrs.asdict(INFO), held=held)


def test_nothing_goes_before_it_has_joined(stranger: Wired) -> None:
    with pytest.raises(NotAllowed, match="joins first"):
        stranger.call(commands.Begun, attempts=[])
    with pytest.raises(NotAllowed, match="joins first"):
        stranger.call(commands.Finished, reports=pack_reports([]))


REPORT = Report(JobId(1), Attempt(2, 3), Ending.SUCCEEDED, 1.5, 0.25, b"body")


def test_its_events_reach_the_core(worker: Wired) -> None:
    worker.core.answers["output"] = False
    assert worker.call(commands.Begun, attempts=[[1, 2, 3, 1e9], [4, 5, 6, 1]]) == {}
    assert worker.call(commands.Finished, reports=pack_reports([REPORT])) == {}
    assert worker.call(commands.Returned, attempts=[[7, 8, 9]]) == {}
    assert worker.call(commands.WorkerState, state={"cpu": 1.0}) == {}
    assert worker.call(commands.Output, job=1, stream=2, offset=5, data=b"x") == {"wanted": False}
    assert worker.core.events == [
        (
            "begun",
            [Beginning(JobId(1), Attempt(2, 3), 1e9), Beginning(JobId(4), Attempt(5, 6), 1.0)],
        ),
        ("finished", [REPORT]),
        ("returned", [Holding(JobId(7), Attempt(8, 9))]),
        ("state", {"cpu": 1.0}),
        ("output", 1, 2, 5, b"x"),
    ]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (commands.Begun, {"attempts": [[1, 2, 3]]}),
        (commands.Begun, {"attempts": [[1, 2, 3, "now"]]}),
        (commands.Begun, {"attempts": [[1, 2, 3, float("nan")]]}),
        (commands.Returned, {"attempts": [[1, None, 3]]}),
        (commands.Finished, {"reports": b"\x91\x91\x01"}),
        (commands.WorkerState, {"state": [1]}),
        (commands.Output, {"job": 1, "stream": 3, "offset": 0, "data": b""}),
        (commands.Output, {"job": 1, "stream": 1, "offset": -1, "data": b""}),
    ],
)
def test_events_that_do_not_fit(worker: Wired, command: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        worker.call(command, **arguments)
    assert worker.core.events == []


def test_a_report_too_large_for_its_way_is_refused(worker: Wired) -> None:
    large = REPORT._replace(body=b"x" * limits.BODY_BYTES, log=b"x")
    with pytest.raises(TooLarge):
        worker.call(commands.Finished, reports=pack_reports([large]))


def test_reports_are_acknowledged_when_they_are_recorded(worker: Wired) -> None:
    recorded: Deferred[None] = Deferred()
    worker.core.answers["finished"] = recorded
    answered: list[Any] = []
    frame = pack_reports([REPORT])
    worker.pair.here.connection.call(commands.Finished, reports=frame).addCallback(answered.append)
    worker.pair.pump()
    assert answered == []
    recorded.callback(None)
    worker.pair.pump()
    assert answered == []  # it waits for something to go with
    worker.pair.clock.advance(LATE_SECONDS)
    worker.pair.pump()
    assert answered == [{}]


def test_assignments_go_in_frames(worker: Wired) -> None:
    many = [
        Assignment(JobId(n), Attempt(1, 1), b"spec", b"x" * 1000, ClientId("me"))
        for n in range(2000)
    ]
    worker.core.ports[-1].assign(many)
    told = worker.tell(None)
    assert [assignment for _name, frame in told for assignment in frame] == many
    assert max(len(frame) for _name, frame in told) <= limits.FRAME_JOBS


def test_who_takes_large_frames_gets_them(worker: Wired, session: Wired) -> None:
    jobs = [JobId(n) for n in range(300)]
    worker.pair.there.connection.frame_jobs = session.pair.there.connection.frame_jobs = 256
    assignments = [Assignment(n, Attempt(1, 1), b"spec", b"", ClientId("me")) for n in jobs]
    assigning, delivering = worker.core.ports[-2:]
    assigning.assign(assignments)
    assert [len(frame) for _name, frame in worker.tell(None)] == [256, 44]
    session.core.answers["submit"] = Accepted()
    submit(session, *[SUBMISSION] * 256)
    assert len(session.core.events[-1][-2]) == 256
    delivering.delivered([Delivery(n, Ending.SUCCEEDED, b"") for n in jobs])
    assert [len(frame) for _name, frame in session.tell(None)] == [256, 44]


def test_blob_payloads_are_assigned_by_their_hash(worker: Wired) -> None:
    ref = BlobRef(b"d" * 32, 10**9)
    assignment = Assignment(JobId(1), Attempt(1, 1), b"spec", ref, ClientId("me"))
    worker.core.ports[-1].assign([assignment])
    assert worker.tell(None) == [("assign", [assignment])]


def test_the_other_commands(worker: Wired) -> None:
    port = worker.core.ports[-1]
    port.end([Ended(JobId(1), Attempt(2, 3), "cancelled")])
    port.retract([Holding(JobId(4), Attempt(5, 6))])
    port.reload()
    assert worker.tell(None) == [
        ("end", [[1, 2, 3, "cancelled"]]),
        ("retract", [[4, 5, 6]]),
        ("reload", None),
    ]
    log = worker.pair.result(port.attach(JobId(1), True))
    assert log == JobLog(StreamLog(b"printed"))


def test_a_worker_that_takes_no_assignment_is_cut_off(worker: Wired) -> None:
    worker.peer.error = Malformed("what is this")
    worker.core.ports[-1].assign(
        [Assignment(JobId(1), Attempt(1, 1), b"spec", b"", ClientId("me"))]
    )
    worker.pair.pump()
    assert worker.pair.there.aborted
    assert worker.core.events == [("leave", "worker-1", False)]


def test_telling_a_worker_that_is_gone_is_no_error(worker: Wired) -> None:
    worker.pair.there.transport.loseConnection()
    worker.core.ports[-1].reload()
    assert worker.core.events == [("leave", "worker-1", False)]


def test_a_worker_that_leaves_for_good_is_left_once(worker: Wired) -> None:
    worker.call(commands.Goodbye)
    worker.pair.there.transport.loseConnection()
    assert worker.core.events == [("leave", "worker-1", True)]


def test_a_worker_may_not_submit_nor_a_client_report(worker: Wired, session: Wired) -> None:
    with pytest.raises(NotAllowed):
        submit(worker, SUBMISSION)
    with pytest.raises(NotAllowed):
        session.call(commands.Finished, reports=b"")


# -- bounds ---------------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    return {"a": nested(depth - 1)} if depth else 1


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (nested(4), None),
        (nested(5), Malformed),
        ({"cpu": float("nan")}, Malformed),
        ({"cpu": 1 << 63}, Malformed),
        ({"cpu": b"bytes"}, Malformed),
        ({1: 2}, Malformed),
        ({"lag": {"p50": 0.1}, "later": [1, "two", None, True]}, None),
        ({"long": "x" * limits.STATE_BYTES}, TooLarge),
    ],
)
def test_what_a_worker_may_say_of_its_state(worker: Wired, state: Any, error: Any) -> None:
    if error is None:
        worker.call(commands.WorkerState, state=state)
        assert worker.core.events == [("state", state)]
    else:
        with pytest.raises(error):
            worker.call(commands.WorkerState, state=state)
        assert worker.core.events == []


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"seconds": limits.MAX_SECONDS}, None),
        ({"seconds": limits.MAX_SECONDS * 1.1}, Malformed),
        ({"seconds": 1e308}, Malformed),
        ({"seconds": -1.0}, Malformed),
        ({"began": 1e300}, Malformed),
        ({"began": -5.0}, Malformed),
        ({"blobs": tuple(BlobRef(bytes(32), n) for n in range(16))}, None),
        ({"blobs": tuple(BlobRef(bytes(32), n) for n in range(17))}, TooLarge),
    ],
)
def test_what_a_report_may_say(worker: Wired, fields: Any, error: Any) -> None:
    frame = pack_reports([REPORT._replace(**fields)])
    if error is None:
        worker.call(commands.Finished, reports=frame)
        assert len(worker.core.events) == 1
    else:
        with pytest.raises(error):
            worker.call(commands.Finished, reports=frame)
        assert worker.core.events == []


def test_how_much_a_worker_may_list(worker: Wired, stranger: Wired) -> None:
    row = [1, 2, 3]
    worker.call(commands.Returned, attempts=[row] * limits.JOBS_A_QUESTION)
    assert len(worker.core.events) == 1
    too_many: list[list[Any]] = [[row], [[]]]
    for attempts in (few * (limits.JOBS_A_QUESTION + 1) for few in too_many):
        with pytest.raises((TooLarge, Malformed)):
            worker.call(commands.Returned, attempts=attempts)
    with pytest.raises(TooLarge):
        frame = pack_reports([REPORT] * (limits.LARGE_FRAME_JOBS + 1))
        worker.call(commands.Finished, reports=frame)
    assert len(worker.core.events) == 1


def test_uploads_are_bounded_at_the_door(session: Wired) -> None:
    session.core.uploads = Uploads(1 << 20, 1 << 20)
    chunk = {"digest": b"d" * 32, "offset": 0, "data": bytes(limits.CHUNK_SIZE)}
    with pytest.raises(TooLarge, match="the limit is 1048576"):
        session.call(commands.PutChunk, size=1 << 61, **chunk)
    session.call(commands.PutChunk, size=1 << 20, **chunk)
    with pytest.raises(QueueFull, match="no job refers to"):
        session.call(commands.PutChunk, size=1 << 20, **{**chunk, "digest": b"e" * 32})
