"""A client that is after the jobs and values of another one, or takes more than its share."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import msgpack
import pytest

from . import peers
from .ground import Ground
from .handmade import (
    assigned,
    digest_of,
    finish,
    frame,
    outcome,
    put,
    refused,
    report,
    spec,
    submit,
)
from .peers import Peer, joined

UNKNOWN = 2**40


@pytest.fixture(scope="module")
def stranger_token(ground: Ground) -> str:
    return peers.token(ground, "client")


def packed(peer: Peer, command: str, field: str, **fields: Any) -> Any:
    return peer.data(command, field, **fields)


def test_jobs_of_another(ground: Ground, stranger_token: str) -> None:
    """Answered as jobs that do not exist, and nothing happens to them."""
    with peers.client(ground) as owner, peers.worker(ground) as worker:
        jobs = submit(owner, (spec(name="mine"), b"payload"), (spec(), b"second"))
        held = assigned(worker, jobs[0])
        seen = owner.data("Query", "answer", question="job", details={"job": jobs[0]})

        def attack() -> None:
            with peers.client(ground, stranger_token) as thief:
                for command, field, state in (("Cancel", "states", 1), ("Forget", "states", 0)):
                    more = {"queued_only": False} if state else {}
                    mine = packed(thief, command, field, jobs=jobs, **more)
                    none = packed(thief, command, field, jobs=[UNKNOWN], **more)
                    assert set(mine.values()) == set(none.values()) == {"unknown"}
                assert packed(thief, "Retry", "ids", jobs=jobs) == {}
                assert packed(thief, "Watch", "unknown", jobs=jobs) == jobs
                for job in jobs:
                    assert told(thief, job, jobs) == told(thief, UNKNOWN, jobs)
                thief.ask("Detach", job=jobs[0])
                listed = packed(thief, "Query", "answer", question="jobs", details={"limit": 500})
                assert not {one["id"] for one in listed["jobs"]} & set(jobs)
                for what in ("all", "last", "failed"):
                    details = {"what": what, "limit": 100}
                    found = packed(thief, "Query", "answer", question="select", details=details)
                    assert found["ids"] == []
                everyone = {"limit": 500, "client": "*"}
                try:
                    listed = packed(thief, "Query", "answer", question="jobs", details=everyone)
                except peers.Refusal as refusal:
                    assert refusal.code in ("NOT_ALLOWED", "MALFORMED")
                else:
                    assert listed["jobs"] == []

        ground.endures(attack)
        after = owner.data("Query", "answer", question="job", details={"job": jobs[0]})
        assert (after["state"], after["story"]) == (seen["state"], seen["story"])
        finish(worker, report(*held, body=outcome(b"done")))


def told(thief: Peer, job: int, jobs: list[int]) -> list[tuple[str, str]]:
    """All refusals to questions about one job, without its number."""
    asked: list[tuple[str, dict[str, Any]]] = [
        ("Attach", {"job": job, "follow": True}),
        ("Attach", {"job": job, "follow": False}),
        *(("Query", {"question": name, "details": {"job": job}}) for name in ("job", "result")),
    ]
    refusals = [thief.refusal(command, **fields) for command, fields in asked]
    return [(one.code, one.text.replace(str(job), "N")) for one in refusals]


def test_groups_of_another(ground: Ground, stranger_token: str) -> None:
    with peers.client(ground) as owner, peers.client(ground, stranger_token) as thief:
        answer = owner.ask(
            "Submit",
            sequence=owner.sequence,
            group=1,
            jobs=msgpack.packb([[spec(name="a group")], [[0, b"", None, 0]]]),
        )
        group = int(answer[b"group"])

        def attack() -> None:
            for details in ({"group": group}, {"group": UNKNOWN}):
                refused(
                    lambda d=details: thief.ask("Query", question="group", details=d),
                    "NO_SUCH_GROUP",
                )
            with contextlib.suppress(peers.Refusal):
                thief.ask("CloseGroup", group=1, size=0)  # the first of his own
            groups = packed(thief, "Query", "answer", question="groups", details={"limit": 100})
            assert group not in [one["id"] for one in groups]

        ground.endures(attack, 0.3)
        known = owner.data("Query", "answer", question="group", details={"group": group})
        assert not known["closed"]


def test_the_session_of_another(ground: Ground, stranger_token: str) -> None:
    """Its name is a secret of the client; who knows it and is another client gets nothing by it."""
    session = os.urandom(16)
    with peers.client(ground, session=session) as owner, peers.worker(ground) as worker:
        (job,) = submit(owner, (spec(), b""))
        held = assigned(worker, job)

        def attack() -> None:
            with peers.greet(peers.tls(ground), stranger_token) as thief:
                try:
                    thief.ask("OpenSession", session=session)
                except peers.Refusal as refusal:
                    assert refusal.code in ("NOT_ALLOWED", "MALFORMED")

        ground.endures(attack, 0.3)
        finish(worker, report(*held, body=outcome(b"for the owner")))
        box = owner.next("Delivered")
        assert b"for the owner" in joined(box, "outcomes")


def test_values_that_it_never_sent(ground: Ground, stranger_token: str) -> None:
    """A function or value is missing for whoever has not sent it, though it is there."""
    secret = b"import secret " * 5000
    with peers.client(ground) as owner:
        ref = put(owner, secret)
        submit(owner, (spec(), ref))
        assert joined(owner.ask("GetChunk", digest=ref[0], offset=0), "data") == secret[:262144]
        nowhere = [digest_of(b"nothing"), 7]

        def attack() -> None:
            with peers.client(ground, stranger_token) as thief:
                for one in (ref, nowhere):
                    for job in (
                        (spec(), one),
                        (spec(function=one), b""),
                        (spec(ships=[one]), b""),
                    ):
                        box = thief.ask("Submit", sequence=thief.sequence, jobs=frame(job))
                        assert msgpack.unpackb(joined(box, "missing")) == [one[0]]
                        assert msgpack.unpackb(joined(box, "ids")) == []
                    refused(
                        lambda one=one: thief.ask("GetChunk", digest=one[0], offset=0),
                        "NO_SUCH_BLOB",
                    )

        ground.endures(attack)


def test_a_client_knows_a_hash_and_says_that_it_has_the_value(
    ground: Ground, stranger_token: str
) -> None:
    """A chunk of other bytes proves nothing, and does not harm the value that is there."""
    secret = os.urandom(1000)
    with peers.client(ground) as owner:
        ref = put(owner, secret)
        submit(owner, (spec(), ref))

        def attack() -> None:
            with peers.client(ground, stranger_token) as thief:
                lie = {"digest": ref[0], "size": 1000, "offset": 0, "data": b"\0" * 1000}
                refused(lambda: thief.ask("PutChunk", **lie), "MALFORMED")
                refused(lambda: thief.ask("GetChunk", digest=ref[0], offset=0), "NO_SUCH_BLOB")
                box = thief.ask("Submit", sequence=thief.sequence, jobs=frame((spec(), ref)))
                assert msgpack.unpackb(joined(box, "missing")) == [ref[0]]

        ground.endures(attack, 0.3)
        assert joined(owner.ask("GetChunk", digest=ref[0], offset=0), "data") == secret


def test_a_viewer_sees_states_and_no_payloads(ground: Ground) -> None:
    with peers.client(ground) as owner, peers.worker(ground) as worker:
        private = b"PRIVATE-BYTES" * 10
        env = [["SECRET", "PRIVATE-BYTES"]]
        (job,) = submit(owner, (spec(target="work", env=env), private))
        held = assigned(worker, job)
        error = ["builtins.ValueError", "PRIVATE-BYTES", "PRIVATE-BYTES"]
        log = msgpack.packb([[private, 0, b""], [b"", 0, b""]])
        body = outcome(private, [True, "str", "PRIVATE-BYTES"], error, private)
        finish(worker, report(*held, 2, body=body, log=log))
        box = owner.next("Delivered")
        owner.acknowledge(box)
        with peers.client(ground, peers.token(ground, "viewer")) as viewer:
            heard = b""
            for question, details in (
                ("job", {"job": job}),
                ("jobs", {"limit": 500, "newest": True}),
                ("workers", {}),
                ("status", {}),
                ("select", {"what": "all", "limit": 100}),
                ("groups", {"limit": 100}),
            ):
                box = viewer.ask("Query", question=question, details=details)
                heard += joined(box, "answer")
            assert b"PRIVATE" not in heard
            assert b"failed" in heard
            for command, fields in (
                ("Query", {"question": "result", "details": {"job": job}}),
                ("Attach", {"job": job, "follow": False}),
                ("Watch", {"jobs": [job]}),
                ("Cancel", {"jobs": [job], "queued_only": False}),
                ("Retry", {"jobs": [job]}),
                ("Forget", {"jobs": [job]}),
                ("GetChunk", {"digest": b"x" * 32, "offset": 0}),
                ("Submit", {"sequence": viewer.sequence, "jobs": frame((spec(), b""))}),
            ):
                assert viewer.refusal(command, **fields).code == "NOT_ALLOWED", command


MANY = 100_000
A_FRAME = 64
NOBODYS = "9.8"
"""A Python that no worker has: these jobs wait for ever, and the other tests go on beside them."""


def test_a_hundred_thousand_jobs_with_one_name_of_the_longest_length(ground: Ground) -> None:
    """They are taken, listed and kept; and all others go on."""
    name = "\u202e" + "n" * 199
    jobs = frame(*[(spec(name=name, orphans="keep", python=NOBODYS), b"")] * A_FRAME)
    submitted: list[Any] = []

    def attack() -> None:
        with peers.client(ground) as peer:
            tags: list[bytes] = []
            for _ in range(MANY // A_FRAME if not submitted else 200):
                tags.append(peer.say("Submit", sequence=peer.sequence, jobs=jobs))
                peer.sequence += 1
                if len(tags) == 8:
                    peer.answer(tags.pop(0))
            (first, count), *_ = msgpack.unpackb(joined(peer.answer(tags.pop()), "ids"))
            submitted.append(first)
            details = {"name": name, "limit": 500, "newest": True}
            listed = packed(peer, "Query", "answer", question="jobs", details=details)
            assert len(listed["jobs"]) == 500
            ids = list(range(first, first + count))
            states = packed(peer, "Cancel", "states", jobs=ids, queued_only=False)
            assert set(states.values()) == {"queued"}

    ground.endures(attack, 0.1, growth=128 * 2**20)
