"""The answers to questions, and whose jobs they are about."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.protocol.errors import Malformed, NoSuchGroup, NoSuchJob
from ampacity.protocol.ids import JobId
from ampacity.protocol.jobs import JobSpec, Submission, pack_spec, unpack_spec
from ampacity.protocol.outcomes import Ending


@pytest.fixture
def busy(house: Any) -> tuple[Any, Any, Any]:
    """1 and 2 have failed, 4 was cancelled, the worker has 3, 5 and 6, and 7 of another client."""
    client, worker = house.client(), house.worker(slots=3)
    spec = pack_spec(JobSpec(kind="import", target="m:f", name="frames"))
    frame = [Submission(spec, b"payload", None, place) for place in range(6)]
    client.session.submit(1, frame, 1)
    house.turn()
    client.session.cancel([JobId(4)])
    house.turn()
    worker.finish(1, 2, ending=Ending.FAILED)
    house.turn()
    house.sequence = 1
    house.submit(house.client("t", client="other"))
    house.driver._taken.settle()
    house.turn()
    return house, client, worker


def ids(answer: Any) -> list[int]:
    return [job["id"] for job in answer["jobs"]]


def test_status(busy: Any) -> None:
    house, client, _ = busy
    house.clock.advance(1)
    status = house.ask(client, "status")
    assert (status["queued"], status["sent"], status["running"]) == (0, 4, 0)
    assert status["ended"] == {
        "succeeded": 0,
        "failed": 2,
        "timed out": 0,
        "cancelled": 1,
        "crashed": 0,
    }
    assert (status["submitted"], status["workers"], status["slots"]) == (7, 1, 3)
    assert status["busy"] == 3
    assert status["store"] == house.driver.store_id
    assert status["rate"] > 0
    assert status["memory"] > 0


def test_workers(busy: Any) -> None:
    house, client, worker = busy
    worker.events.state({"cpu": 0.5})
    (told,) = house.ask(client, "workers")
    assert told["name"] == "w"
    assert (told["held"], told["slots"], told["failed"]) == (4, 3, 2)
    assert told["load"] == {"cpu": 0.5}
    assert told["state"] == "connected"
    house.driver.leave("w", worker, False)
    assert house.ask(client, "workers")[0]["state"] == "away"


def test_jobs_are_listed_in_pages(busy: Any) -> None:
    house, client, _ = busy
    first = house.ask(client, "jobs", limit=4)
    assert (ids(first), first["next"]) == ([1, 2, 3, 4], 4)
    second = house.ask(client, "jobs", limit=4, after=4)
    assert (ids(second), second["next"]) == ([5, 6], None)
    newest = house.ask(client, "jobs", limit=2, newest=True)
    assert (ids(newest), newest["next"]) == ([6, 5], 5)
    assert ids(house.ask(client, "jobs", limit=9, newest=True, after=5)) == [4, 3, 2, 1]


def test_jobs_are_listed_by_state_name_and_group(busy: Any) -> None:
    house, client, _ = busy
    assert ids(house.ask(client, "jobs", state="failed")) == [1, 2]
    assert ids(house.ask(client, "jobs", state="failed", newest=True)) == [2, 1]
    assert ids(house.ask(client, "jobs", state="sent")) == [3, 5, 6]
    assert ids(house.ask(client, "jobs", state="queued")) == []
    assert ids(house.ask(client, "jobs", name="frames", group=1)) == [1, 2, 3, 4, 5, 6]
    assert ids(house.ask(client, "jobs", name="other")) == []
    with pytest.raises(Malformed):
        house.ask(client, "jobs", state="lazy")


def test_a_summary(busy: Any) -> None:
    house, client, _ = busy
    (summary,) = house.ask(client, "jobs", limit=1)["jobs"]
    assert summary == {
        "id": 1,
        "client": "local",
        "name": "frames",
        "kind": "import",
        "target": "m:f",
        "state": "failed",
        "group": 1,
        "place": 0,
        "worker": "w",
        "submitted": 1000.0,
        "began": 1.0,
        "ended": 1000.0,
        "seconds": 0.001,
        "attempts": 1,
        "losses": 0,
        "failures": 0,
        "retries": 0,
        "resume": None,
        "taken": True,
        "waiting": None,
        "key": None,
        "retried": None,
        "retry_of": None,
    }


def test_why_a_job_waits(house: Any) -> None:
    client = house.client()
    house.submit(client)
    (summary,) = house.ask(client, "jobs")["jobs"]
    assert summary["waiting"] == "no worker is connected"


def test_one_job(busy: Any) -> None:
    house, client, _ = busy
    job = house.ask(client, "job", job=1)
    assert job["body"] == b"body1"
    assert (job["payload"], job["payload_size"]) == (b"payload", 7)
    assert unpack_spec(job["spec"]).name == "frames"
    assert [text for _, text in sorted(job["story"], key=str)]
    assert {text for _, text in job["story"]} == {"submitted", "sent w", "began w", "failed"}
    assert house.ask(client, "job", job=3)["body"] == b""


def test_the_result_of_a_job(busy: Any) -> None:
    house, client, _ = busy
    assert house.ask(client, "result", job=2) == {
        "state": "failed",
        "ending": int(Ending.FAILED),
        "body": b"body2",
        "name": "frames",
        "group": 1,
        "place": 1,
    }
    assert house.ask(client, "result", job=3)["ending"] is None


def test_others_jobs_and_groups_are_not_there(busy: Any) -> None:
    house, _, _ = busy
    other = house.client("u", client="other")
    assert ids(house.ask(other, "jobs")) == [7]
    for question in ("job", "result"):
        for job in (1, 99, None, "1"):
            with pytest.raises(NoSuchJob):
                house.ask(other, question, job=job)
    for question in ("group", "jobs"):
        with pytest.raises(NoSuchGroup):
            house.ask(other, question, group=1)
    assert house.ask(other, "groups") == []
    stranger = house.client("x", client="stranger")
    assert house.ask(stranger, "select", what="all") == {"ids": [], "next": None}


def test_groups(busy: Any) -> None:
    house, client, _ = busy
    group = house.ask(client, "group", group=1)
    assert group == {
        "id": 1,
        "client": "local",
        "name": "frames",
        "size": None,
        "closed": False,
        "states": {"sent": 3, "failed": 2, "cancelled": 1},
        "submitted": 1000.0,
        "first": 1,
        "last": 6,
    }
    assert house.ask(client, "groups", limit=5) == [group]


def test_selections(busy: Any) -> None:
    house, client, _ = busy

    def select(**details: Any) -> Any:
        answer = house.ask(client, "select", **details)
        return answer["ids"], answer["next"]

    assert select(what="all") == ([[1, 6]], None)
    assert select(what="all", limit=4) == ([[1, 4]], 4)
    assert select(what="all", limit=4, after=4) == ([[5, 2]], None)
    assert select(what="failed") == ([[1, 2]], None)
    assert select(what="last") == ([[6, 1]], None)
    assert select(what="range", first=2, last=4) == ([[2, 3]], None)
    assert select(what="range", first=2, last=4, after=2) == ([[3, 2]], None)
    assert select(what="group", group=1) == ([[1, 6]], None)
    assert select(what="last-group") == ([[1, 6]], None)
    for what in ("group", "last-group"):
        with pytest.raises(NoSuchGroup):
            house.ask(house.client("u", client="other"), "select", what=what, group=1)
    with pytest.raises(Malformed):
        select(what="some")


def test_a_long_list_pauses(house: Any) -> None:
    client = house.client()
    house.submit(client, 10_000)
    house.turn()
    answer = client.session.query("jobs", {"name": "nobody's"})
    assert not answer.called
    house.step(3)
    assert house.waits(answer)
    house.step(5)
    assert house.now(answer) == {"jobs": [], "next": None}


def test_a_question_that_nobody_knows(house: Any) -> None:
    with pytest.raises(Malformed):
        house.ask(house.client(), "weather")


def test_what_has_not_begun_has_not_run(busy: Any) -> None:
    house, client, _ = busy
    assert house.ask(client, "job", job=5)["seconds"] is None
    assert house.ask(client, "job", job=1)["seconds"] is not None


def test_what_was_run_again(busy: Any) -> None:
    house, client, _ = busy
    again = client.session.retry([JobId(1)])
    house.turn()
    assert house.now(again) == {1: 8}
    first, retry = (house.ask(client, "job", job=number) for number in (1, 8))
    assert (first["retried"], first["retry_of"]) == (8, None)
    assert (retry["retried"], retry["retry_of"]) == (None, 1)
    assert (retry["group"], retry["place"]) == (first["group"], first["place"])
    assert house.ask(client, "select", what="failed")["ids"] == [[2, 1]]
    assert house.ask(client, "select", what="all")["ids"] == [[1, 6], [8, 1]]
    known = house.ask(client, "group", group=1)
    assert (known["size"], sum(known["states"].values())) == (None, 6)
    assert known["states"]["failed"] == 1


def test_a_group_has_the_latest_job_of_each_place(busy: Any) -> None:
    house, client, _ = busy
    client.session.retry([JobId(1), JobId(4)])
    house.turn()
    asked: dict[str, Any] = {"what": "group", "group": 1}
    assert house.ask(client, "select", **asked)["ids"] == [[8, 1], [2, 2], [9, 1], [5, 2]]
    assert house.ask(client, "select", what="last-group")["ids"][0] == [8, 1]
    found, after = [], None
    while True:
        page = house.ask(client, "select", limit=1, after=after, **asked)
        found += [first for first, _ in page["ids"]]
        after = page["next"]
        if after is None:
            break
    assert found == [8, 2, 3, 9, 5, 6]
