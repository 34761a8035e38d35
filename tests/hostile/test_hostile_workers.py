"""A worker that lies: about jobs it never had, about attempts of old, about itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack

from . import peers
from .ground import Ground
from .handmade import (
    LOST,
    assigned,
    delivered,
    finish,
    outcome,
    put,
    refused,
    report,
    spec,
    submit,
)
from .peers import Peer, Refusal, information, joined

MOST = 2**62
BIG = 2**64 - 1
"""More than a database can look for."""

REFUSED = ("MALFORMED", "TOO_LARGE")


@contextmanager
def running(ground: Ground) -> Iterator[tuple[Peer, Peer, list[Any]]]:
    """A client, a worker, and a job of the one that runs on the other: ``[job, term, number]``."""
    with peers.client(ground) as client, peers.worker(ground) as worker:
        (job,) = submit(client, (spec(), b"payload"))
        yield client, worker, assigned(worker, job)


def state_of(client: Peer, job: int) -> Any:
    return client.data("Query", "answer", question="job", details={"job": job})["state"]


def test_reports_of_jobs_that_it_never_had(ground: Ground) -> None:
    """They are acknowledged, so that they end, and change nothing."""
    with running(ground) as (client, _, (job, term, number)):

        def attack() -> None:
            with peers.worker(ground, slots=0) as liar:
                finish(liar, report(job, term, number, body=outcome(b"false")))
                finish(liar, report(job, term, number + 1), report(job, term + 1, number))
                finish(liar, *[report(one, term, 1) for one in range(1, 65)])
                finish(liar, report(MOST, MOST, MOST), report(-1, -1, -1), report(0, 0, 0))
                liar.ask("Begun", attempts=[[job, term, number, 1.0]])
                liar.ask("Returned", attempts=[[job, term, number], [-1, -1, -1]])
                beyond(liar)
                output = {"job": job, "stream": 1, "offset": 0, "data": b"false\n"}
                assert liar.ask("Output", **output)[b"wanted"] == b"False"

        ground.endures(attack)
        assert state_of(client, job) in ("sent", "running")


def beyond(liar: Peer) -> None:
    """Numbers that no job can have, everywhere."""
    for one in (BIG, 2**63, -(2**63)):
        rows = [[one, one, one]]
        output = {"job": one, "stream": 1, "offset": 0, "data": b"x"}
        for command, fields in (
            ("Finished", {"reports": msgpack.packb([report(one, one, one)])}),
            ("Begun", {"attempts": [[*rows[0], 1.0]]}),
            ("Returned", {"attempts": rows}),
            ("Output", output),
        ):
            try:
                liar.ask(command, **fields)
            except Refusal as refusal:
                assert refusal.code in REFUSED, refusal


def test_an_old_attempt_and_one_that_is_reported_twice(ground: Ground) -> None:
    def attack() -> None:
        with running(ground) as (client, worker, (job, term, number)):
            worker.ask("Returned", attempts=[[job, term, number]])
            again = assigned(worker, job)
            assert again != [job, term, number]
            finish(worker, report(job, term, number, body=outcome(b"of the old one")))
            finish(worker, report(*again, body=outcome(b"right")))
            finish(worker, report(*again, body=outcome(b"once more")))
            finish(worker, report(*again, LOST), report(*again, 2))
            ((ended, ending, body),) = delivered(client)
            assert (ended, ending) == (job, 1)
            assert msgpack.unpackb(body)[0] == b"right"
            assert state_of(client, job) == "succeeded"

    ground.endures(attack)


INFORMATION: dict[str, Any] = {
    "no map": [1],
    "nothing": {},
    "a short incarnation": information(incarnation=b"x"),
    "too many slots": information(slots=10**9),
    "fewer than none": information(slots=-1),
    "a truth as slots": information(slots=True),
    "a process number beyond all": information(pid=BIG),
    "a number as name": information(name=5),
    "a name of a megabyte": information(name="n" * 1_000_000),
    "a host of a megabyte": information(host="h" * 1_000_000),
    "software of a megabyte": information(software="s" * 1_000_000),
    "a Python of a megabyte": information(python="p" * 1_000_000),
}


def test_lies_about_itself(ground: Ground) -> None:
    with peers.admitted_worker(ground) as worker:
        for info in INFORMATION.values():
            refused(lambda info=info: worker.ask("Join", info=info, held=[]), *REFUSED)
        worker.ask("Ping")


def test_held_attempts_that_nobody_knows(ground: Ground) -> None:
    """Some are to be dropped, and more than a worker may name are refused."""

    def attack() -> None:
        with peers.admitted_worker(ground) as worker:
            held = [[number, 1, 1] for number in range(1, 200_001)]
            refused(lambda: worker.ask("Join", info=information(slots=0), held=held), *REFUSED)
            box = worker.ask("Join", info=information(slots=0), held=held[:20_000])
            assert len(msgpack.unpackb(joined(box, "drop"))) > 15_000

    ground.endures(attack, 0.1)


HELD = [5, "x", [[]], [[1]], [["a", 1, 1]], [[1, True, 1]], [[1, 1, None]], {"a": 1}]


def test_lists_of_attempts_that_are_none(ground: Ground) -> None:
    with peers.worker(ground, slots=0) as worker:

        def attack() -> None:
            for bad in HELD:
                for command in ("Begun", "Returned"):
                    refused(lambda c=command, b=bad: worker.ask(c, attempts=b), "MALFORMED")
            for time in (float("nan"), float("inf"), "now", None):
                bad_time = [[1, 1, 1, time]]
                refused(lambda b=bad_time: worker.ask("Begun", attempts=b), "MALFORMED")

        ground.endures(attack, 0.3)


REPORTS: list[list[Any]] = [
    report("1", 1, 1),
    report(1, None, 1),
    report(1, 1, True),
    report(1, 1, 1, 99),
    report(1, 1, 1, "succeeded"),
    report(1, 1, 1, began=float("nan")),
    report(1, 1, 1, seconds=float("inf")),
    report(1, 1, 1, seconds=None),
    report(1, 1, 1, body="text"),
    report(1, 1, 1, log=None),
    report(1, 1, 1, again=1),
    report(1, 1, 1, blobs=[[b"x", 1]]),
    report(1, 1, 1, blobs=7),
    [1, 1, 1],
    [],
]


def test_reports_that_are_none(ground: Ground) -> None:
    with peers.worker(ground, slots=0) as worker:

        def attack() -> None:
            for bad in REPORTS:
                refused(lambda b=bad: finish(worker, b), "MALFORMED")
            refused(lambda: finish(worker, report(1, 1, 1, body=b"x" * 6_300_000)), "TOO_LARGE")

        ground.endures(attack, 0.3)


ODD: dict[str, dict[str, Any]] = {
    "times beyond all": {"began": 1e308, "seconds": 1e308},
    "times before all": {"began": -1e308, "seconds": -1e308},
    "a body that is none": {"body": b"\xc1" * 1000},
    "a body of another form": {"body": msgpack.packb({"a": 1})},
    "a value that is not there": {"blobs": [[b"x" * 32, 5]], "body": outcome([b"x" * 32, 5])},
    "a size beyond all": {"blobs": [[b"x" * 32, BIG]], "body": outcome([b"x" * 32, BIG])},
    "a log that is none": {"log": b"\xff" * 1000},
    "nested": {"body": b"\x91" * 1000 + b"\xc0"},
    "an ending that jobs do not have": {"ending": LOST},
    "ended by nobody": {"ending": 4},
    "crashed": {"ending": 5},
}


def test_odd_ends_of_its_own_job(ground: Ground) -> None:
    """A worker may say what it likes of a job that it runs. Everybody can look at that job then."""
    jobs = []
    with peers.local(ground) as client, peers.worker(ground) as worker:
        for name, odd in ODD.items():
            (job,) = submit(client, (spec(max_losses=0, name=name, orphans="keep"), b""))
            held = assigned(worker, job)
            more = {key: value for key, value in odd.items() if key != "ending"}
            try:
                finish(worker, report(*held, odd.get("ending", 1), **more))
            except Refusal as refusal:
                assert refusal.code in ("MALFORMED", "TOO_LARGE"), name
                finish(worker, report(*held))
            ((ended, _, _),) = delivered(client)
            assert ended == job
            for question in ("job", "result"):
                client.data("Query", "answer", question=question, details={"job": job})
            client.data("Query", "answer", question="jobs", details={"limit": 10})
            with contextlib.suppress(Refusal):  # a log that is none is said to be none
                client.ask("Attach", job=job, follow=False)
            jobs.append(str(job))
    for words in (["jobs"], ["jobs", "--json"]):
        assert ground.cli(*words).returncode == 0, words
    for command in ("job", "result", "logs"):
        ground.cli(command, *jobs)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


STATES: dict[str, Any] = {
    "deeper than can be packed": {"cpu": nested(800)},
    "large": {"cpu": 1.0, "note": "x" * 7_000_000},
    "many keys": {f"key {number}": number for number in range(100_000)},
    "other types": {"cpu": "\x1b[2J", "memory": b"\xff", "lag": [1, {"p50": None}]},
    "odd numbers": {"cpu": float("nan"), "memory": float("inf"), "lag": {"p99": -1e308}},
    "keys that are numbers": {1: 2, "cpu": 0.5},
}


def test_states_that_would_break_the_list_of_workers(ground: Ground) -> None:
    shown = {}

    def attack() -> None:
        for name, state in STATES.items():
            with peers.worker(ground, slots=0) as liar, peers.local(ground) as user:
                try:
                    liar.ask("WorkerState", state=state)
                except peers.Refusal as refusal:
                    assert refusal.code in ("MALFORMED", "TOO_LARGE"), name
                answer = user.data("Query", "answer", question="workers", details={})
                assert len(answer) >= 3, name
                if name in ("other types", "odd numbers", "deeper than can be packed"):
                    shown[name] = ground.cli("workers").returncode

    ground.endures(attack, 0.1)
    assert set(shown.values()) == {0}, shown


def test_values_that_are_none_of_its_business(ground: Ground) -> None:
    """A worker reads what the attempts that it holds refer to, and nothing else."""
    with peers.client(ground) as client, peers.worker(ground) as other:
        secret = put(client, b"secret " * 10_000)
        (job,) = submit(client, (spec(), secret))
        assigned(other, job)

        def attack() -> None:
            with peers.worker(ground, slots=0) as liar:
                ask = {"digest": secret[0], "offset": 0}
                refused(lambda: liar.ask("GetChunk", **ask), "NO_SUCH_BLOB")
                refused(lambda: liar.ask("GetChunk", again=True, **ask), "NO_SUCH_BLOB")

        ground.endures(attack, 0.3)
        assert joined(other.ask("GetChunk", digest=secret[0], offset=0), "data")[:6] == b"secret"


def test_a_worker_that_joins_twice_or_as_another(ground: Ground) -> None:
    def attack() -> None:
        with peers.worker(ground, slots=0) as first, peers.admitted_worker(ground) as second:
            again = information(name="w1")
            refused(lambda: first.ask("Join", info=again, held=[]), "NOT_ALLOWED")
            answer = second.ask("Join", info=information(name="w1", slots=0), held=[])
            assert answer[b"name"] != b"w1"  # that is another one's name

    ground.endures(attack, 0.3)
