"""What each role is told of whose jobs, over a store in memory and one that keeps rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from ampacity.coordinator.permissions import COMMANDS, EVERYONE
from ampacity.protocol.errors import NoSuchGroup, NoSuchJob, NotAllowed
from ampacity.protocol.ids import JobId
from ampacity.protocol.jobs import BlobRef, JobSpec, Submission, pack_spec
from ampacity.protocol.outcomes import (
    Ending,
    ErrorText,
    JobLog,
    Outcome,
    Shown,
    StreamLog,
    pack_log,
    pack_outcome,
    unpack_outcome,
)
from ampacity.protocol.packing import pack
from ampacity.testing.row_store import Disk, RowStore

SECRET = b"xyzzy-secret"
TEXT = SECRET.decode()
VALUE = b"pickle " + SECRET

SUCCESS = pack_outcome(Outcome(value=VALUE, shown=Shown(True, "str", '"shown"')))
FAILURE = pack_outcome(
    Outcome(value=VALUE, error=ErrorText("ValueError", TEXT, f"Traceback {TEXT}"), tail=SECRET)
)
SPEC = JobSpec(
    kind="command",
    target=f"echo {TEXT}",
    name="shown name",
    env=(("TOKEN", TEXT),),
    folder=f"/home/{TEXT}",
    retries=1,
    backoff=0.001,
)


@attrs.define
class Scene:
    """A client ``a`` whose jobs 1 (succeeded), 2 (failed, after a retry) and 3 (waits) are those
    of group 1; a client ``b`` with job 4; an operator with job 5; a viewer."""

    house: Any
    a: Any
    b: Any
    operator: Any
    viewer: Any
    worker: Any

    def ask(self, port: Any, question: str, **details: Any) -> Any:
        return self.house.ask(port, question, **details)

    def listed(self, port: Any, **details: Any) -> list[int]:
        return [job["id"] for job in self.ask(port, "jobs", **details)["jobs"]]

    def selected(self, port: Any, **details: Any) -> list[list[int]]:
        ids: list[list[int]] = self.ask(port, "select", **details)["ids"]
        return ids

    def now(self, deferred: Any) -> Any:
        self.house.turn(100)
        return self.house.now(deferred)


@pytest.fixture(params=["memory", "rows"])
def scene(request: pytest.FixtureRequest, houses: Callable[..., Any]) -> Scene:
    house = houses(store=RowStore(Disk()) if request.param == "rows" else None)
    a, worker = house.client("a", client="a"), house.worker(slots=2)
    spec = pack_spec(SPEC)
    frame = [Submission(spec, SECRET, f"key {TEXT} {place}", place) for place in range(3)]
    a.session.submit(1, frame, 1)
    house.turn(5)
    log = pack_log(JobLog(StreamLog(SECRET)))
    worker.finish(1, body=SUCCESS, log=log)
    worker.finish(2, body=FAILURE, log=log, ending=Ending.FAILED)
    house.later(5)
    worker.finish(2, body=FAILURE, log=log, ending=Ending.FAILED)
    house.later(1)
    b, operator = house.client("b", client="b"), house.client("o", client="o", role="operator")
    house.sequence = 1
    house.submit(b)
    house.sequence = 1
    house.submit(operator)
    house.turn(5)
    return Scene(house, a, b, operator, house.client("v", client="v", role="viewer"), worker)


def refused(scene: Scene, kind: type[Exception], port: Any, question: str, **details: Any) -> str:
    with pytest.raises(kind) as raised:
        scene.ask(port, question, **details)
    return str(raised.value)


# -- whose jobs -----------------------------------------------------------------------------------


def test_lists_show_ones_own_and_others_where_they_are_asked_for(scene: Scene) -> None:
    assert scene.listed(scene.a) == [1, 2, 3]
    assert scene.listed(scene.operator) == [5]
    assert scene.listed(scene.operator, client="a") == [1, 2, 3]
    assert scene.listed(scene.operator, client=EVERYONE) == [1, 2, 3, 4, 5]
    assert scene.listed(scene.operator, client=EVERYONE, newest=True, limit=2) == [5, 4]
    assert scene.listed(scene.operator, client=EVERYONE, after=2, limit=2) == [3, 4]
    assert scene.listed(scene.operator, client=EVERYONE, name="shown name") == [1, 2, 3]
    assert scene.listed(scene.operator, client=EVERYONE, state="failed") == [2]
    assert scene.listed(scene.operator, client="nobody") == []
    assert scene.listed(scene.viewer) == [1, 2, 3, 4, 5]
    assert scene.listed(scene.viewer, client="b") == [4]


def test_selections_and_groups_as_well(scene: Scene) -> None:
    assert scene.selected(scene.operator, what="all") == [[5, 1]]
    assert scene.selected(scene.operator, what="all", client=EVERYONE) == [[1, 5]]
    assert scene.selected(scene.operator, what="range", first=2, last=9, client="a") == [[2, 2]]
    assert scene.selected(scene.operator, what="last", client="a") == [[3, 1]]
    assert scene.selected(scene.operator, what="group", group=1) == [[1, 3]]
    assert scene.selected(scene.operator, what="last-group", client=EVERYONE) == [[1, 3]]
    assert scene.listed(scene.operator, group=1) == [1, 2, 3]
    assert scene.selected(scene.viewer, what="failed") == [[2, 1]]
    assert scene.ask(scene.operator, "groups") == []
    (group,) = scene.ask(scene.operator, "groups", client=EVERYONE)
    assert (group["id"], group["client"]) == (1, "a")
    assert scene.ask(scene.operator, "group", group=1) == group
    assert scene.ask(scene.viewer, "groups") == [group]


def test_a_client_sees_its_own_jobs_only(scene: Scene) -> None:
    assert scene.listed(scene.b) == scene.listed(scene.b, client="b") == [4]
    for question in ("jobs", "groups", "select"):
        for whose in ("a", "nobody", EVERYONE):
            text = refused(scene, NotAllowed, scene.b, question, client=whose, what="all")
            assert text == (
                "a client sees its own jobs only; that takes a token of the role operator or viewer"
            )


def test_a_client_gets_for_anothers_job_what_it_gets_for_none(scene: Scene) -> None:
    b = scene.b.session
    for question in ("job", "result"):
        others = refused(scene, NoSuchJob, scene.b, question, job=1)
        assert others == refused(scene, NoSuchJob, scene.b, question, job=99)
    others = refused(scene, NoSuchGroup, scene.b, "group", group=1)
    assert others == refused(scene, NoSuchGroup, scene.b, "group", group=99)
    refused(scene, NoSuchGroup, scene.b, "jobs", group=1)
    refused(scene, NoSuchGroup, scene.b, "select", what="group", group=1)
    assert scene.now(b.cancel([1, 3, 99])) == {1: "unknown", 3: "unknown", 99: "unknown"}
    assert scene.now(b.forget([1, 3, 99])) == {1: "unknown", 3: "unknown", 99: "unknown"}
    assert scene.now(b.retry([1, 2, 99])) == {}
    assert scene.now(b.watch([1, 3, 99])) == [1, 3, 99]
    for job in (1, 3, 99):
        with pytest.raises(NoSuchJob):
            scene.now(b.attach(JobId(job), False))
    assert scene.b.frames == []
    assert scene.ask(scene.a, "job", job=3)["state"] == "sent"


# -- what an operator is told ---------------------------------------------------------------------


def test_others_values_are_withheld_from_an_operator(scene: Scene) -> None:
    for question in ("job", "result"):
        outcome = unpack_outcome(scene.ask(scene.operator, question, job=1)["body"])
        assert (outcome.value, outcome.withheld) == (None, True)
        assert outcome.shown == Shown(True, "str", '"shown"')
        outcome = unpack_outcome(scene.ask(scene.operator, question, job=2)["body"])
        assert (outcome.value, outcome.withheld) == (None, True)
        assert outcome.error is not None
        assert (outcome.error.message, outcome.tail) == (TEXT, SECRET)
        assert unpack_outcome(scene.ask(scene.a, question, job=1)["body"]).value == VALUE


def test_others_values_are_withheld_where_an_operator_waits(scene: Scene) -> None:
    assert scene.now(scene.operator.session.watch([1, 2, 4, 99])) == [99]
    bodies = {d.job: unpack_outcome(d.body) for frame in scene.operator.frames for d in frame}
    assert {job: (o.value, o.withheld) for job, o in bodies.items()} == {
        1: (None, True),
        2: (None, True),
    }
    scene.worker.finish(4, body=SUCCESS)
    scene.house.turn(3)
    assert scene.operator.jobs == [1, 2, 4]
    (delivery,) = scene.operator.frames[-1]
    assert unpack_outcome(delivery.body).withheld
    (delivery,) = scene.b.frames[-1]
    assert unpack_outcome(delivery.body).value == VALUE


def test_reading_and_hearing_of_others_jobs_takes_nothing(scene: Scene) -> None:
    house = scene.house
    house.driver.leave_session(scene.b.session.record.id, scene.b, True)
    house.turn(3)
    scene.worker.finish(4, body=SUCCESS)
    house.turn(3)
    scene.ask(scene.operator, "result", job=4)
    scene.now(scene.operator.session.watch([4]))
    house.turn(3)
    (job,) = scene.ask(scene.operator, "jobs", client="b")["jobs"]
    assert (job["state"], job["taken"], scene.operator.jobs) == ("succeeded", False, [4])
    back = house.client("b2", client="b")
    scene.ask(back, "result", job=4)
    assert scene.ask(back, "jobs")["jobs"][0]["taken"]


def test_an_operator_reads_what_others_jobs_have_printed(scene: Scene) -> None:
    log, live = scene.now(scene.operator.session.attach(JobId(1), False))
    assert (log.stdout.head, live) == (SECRET, False)


# -- what a viewer is told ------------------------------------------------------------------------


def test_a_viewer_is_told_states_and_nothing_of_what_is_worked_on(scene: Scene) -> None:
    told = [
        scene.ask(scene.viewer, question, **details)
        for question, details in (
            ("status", {}),
            ("workers", {}),
            ("jobs", {}),
            ("job", {"job": 1}),
            ("job", {"job": 2}),
            ("job", {"job": 3}),
            ("group", {"group": 1}),
            ("groups", {}),
            ("select", {"what": "all"}),
        )
    ]
    assert SECRET not in pack(told)
    assert SECRET in pack(scene.ask(scene.a, "job", job=2))
    job = told[4]
    assert (job["state"], job["name"], job["target"]) == ("failed", "shown name", "a command")
    assert not {"spec", "payload", "body", "payload_size"} & job.keys()
    assert "failed" in {what for _, what in job["story"]}


def test_a_viewer_may_do_nothing(scene: Scene) -> None:
    viewer, ref = scene.viewer.session, BlobRef(b"d" * 32, 1)
    before = scene.house.blobs.has(ref.digest)
    for call in (
        lambda: viewer.submit(0, [], None),
        lambda: viewer.close_group(1, 1),
        lambda: viewer.cancel([3]),
        lambda: viewer.retry([2]),
        lambda: viewer.forget([1]),
        lambda: viewer.watch([1]),
        lambda: viewer.attach(1, True),
        lambda: viewer.detach(1),
        lambda: viewer.put_blob(ref, None),
        lambda: viewer.get_blob(ref),
        lambda: viewer.query("result", {"job": 1}),
        viewer.reload_workers,
        lambda: viewer.drain_worker("w"),
        lambda: viewer.backup(None),
        viewer.shutdown,
    ):
        with pytest.raises(NotAllowed, match="a viewer may not ask"):
            scene.now(call())
    assert scene.house.blobs.has(ref.digest) == before
    assert scene.ask(scene.a, "job", job=3)["state"] == "sent"


def test_a_client_has_no_say_about_the_coordinator(scene: Scene) -> None:
    client = scene.a.session
    for call in (
        client.reload_workers,
        lambda: client.drain_worker("w"),
        lambda: client.backup(None),
        client.shutdown,
    ):
        with pytest.raises(NotAllowed, match="takes a token of the role operator"):
            scene.now(call())
    assert {name for name, roles in COMMANDS.items() if roles == {"operator"}} >= {
        b"ReloadWorkers",
        b"DrainWorker",
        b"Backup",
        b"Shutdown",
    }
