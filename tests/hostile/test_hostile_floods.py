"""A client that wants everything for itself: the others have their turns, and memory stays flat."""

from __future__ import annotations

import os
import threading
from typing import Any

import msgpack
import pytest
from ampacity.coordinator.placement import CREDIT_JOBS
from ampacity.coordinator.queues import PASSES

from . import peers
from .ground import Ground
from .handmade import assignments, frame, put, report, spec, submit
from .peers import Gone, Peer, Refusal, joined, serialize

FLOOD = 100_000
A_FRAME = 64
HELD = CREDIT_JOBS
"""Jobs that a worker of one slot may hold when another client's come."""


@pytest.fixture(scope="module")
def tokens(ground: Ground) -> list[str]:
    """Two other clients' tokens."""
    return [peers.token(ground, "client", lifetime=600.0) for _ in range(2)]


def box(command: bytes, tag: int, **fields: bytes) -> bytes:
    parts = {name.encode(): value for name, value in fields.items()}
    return serialize({b"_command": command, b"_ask": b"%d" % tag, **parts})


def pour(stream: Any, data: bytes, times: int) -> None:
    """Send, and read nothing, until the other side takes no more."""
    stream.settimeout(0.5)
    try:
        for _ in range(times):
            stream.sendall(data)
    except OSError:
        pass  # it is not read from any more


def fill(peer: Peer, number: int) -> None:
    """Queue jobs, many frames at once."""
    jobs = frame(*[(spec(target="flood"), b"")] * A_FRAME)
    tags: list[bytes] = []
    for _ in range(number // A_FRAME):
        tags.append(peer.say("Submit", sequence=peer.sequence, jobs=jobs))
        peer.sequence += 1
        if len(tags) == 8:
            peer.answer(tags.pop(0))
    for tag in tags:
        peer.answer(tag)


def test_ten_jobs_behind_a_hundred_thousand(ground: Ground, tokens: list[str]) -> None:
    """At a worker of one slot: what it holds comes before them, and each of the ten has its turn
    after one of the flood's; the first, of unknown duration, waits for the slot to be free."""
    others: list[Peer] = []
    with peers.client(ground, tokens[0]) as flood, peers.several(others):
        fill(flood, FLOOD)
        ten: set[int] = set()
        order: list[bool] = []
        with peers.worker(ground) as worker:
            while sum(order) < 10:
                order += work_once(worker, ten)
                if not ten and len(order) > 4 * HELD:  # it is well under way
                    others.append(peers.client(ground, tokens[1]))
                    ten = set(submit(others[0], *[(spec(target="modest"), b"")] * 10))
                    order.clear()
                assert len(order) < 8 * HELD
        last = len(order) - order[::-1].index(True)
        assert last <= 2 * HELD + PASSES + 2 * 10


def work_once(worker: Peer, ten: set[int]) -> list[bool]:
    """Take the next jobs and end them at once; which of them are of the ten, in their order."""
    given = worker.next("Assign")
    worker.acknowledge(given)
    attempts = assignments(given)
    reports = [report(*one[:3], seconds=1e-5) for one in attempts]
    worker.say("Finished", reports=msgpack.packb(reports))
    return [job in ten for job, *_ in attempts]


def test_lists_of_many_jobs_asked_for_by_many(ground: Ground, tokens: list[str]) -> None:
    question = msgpack.packb({"name": "nobody's", "limit": 500})

    def attack() -> None:
        with peers.several([peers.client(ground, tokens[0]) for _ in range(8)]) as many:
            fill(many[0], 20_000)
            asked = b"".join(
                box(b"Query", tag, question=b"jobs", details=question) for tag in range(200)
            )
            for peer in many:
                pour(peer.stream, asked, 5)

    ground.endures(attack, 0.1)


def test_chunks_that_nobody_reads(ground: Ground, tokens: list[str]) -> None:
    def attack() -> None:
        with peers.several([peers.client(ground, tokens[0]) for _ in range(4)]) as many:
            digest = put(many[0], os.urandom(262144))[0]
            asked = b"".join(box(b"GetChunk", n, digest=digest, offset=b"0") for n in range(1000))
            for peer in many:
                pour(peer.stream, asked, 4)

    ground.endures(attack, 0.1, growth=160 * 2**20)


def test_large_values_from_many(ground: Ground, tokens: list[str]) -> None:
    def attack() -> None:
        with peers.several([peers.client(ground, tokens[0]) for _ in range(4)]) as many:
            threads = [
                threading.Thread(target=put, args=(peer, os.urandom(8 << 20))) for peer in many
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    ground.endures(attack, 0.1)


def test_tiny_questions_without_an_end(ground: Ground, tokens: list[str]) -> None:
    """Of many connections of one client, at once."""
    asked = b"".join(box(b"Detach", tag, job=b"1") for tag in range(500))

    def flood(peer: Peer) -> None:
        drain = threading.Thread(target=_drain, args=(peer,))
        drain.start()
        pour(peer.stream, asked, 20)
        drain.join()

    def attack() -> None:
        with peers.several([peers.client(ground, tokens[0]) for _ in range(12)]) as many:
            threads = [threading.Thread(target=flood, args=(peer,)) for peer in many]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    ground.endures(attack, 0.1)


def _drain(peer: Peer) -> None:
    try:
        for _ in range(10_000):
            peer.hear_box(0.5)
    except (Gone, OSError, TimeoutError):
        return


BOMBS = {
    "lists": b"\xdd\x00\x10\x00\x00" + b"\x90" * (1 << 20),
    "maps": b"\xdd\x00\x10\x00\x00" + b"\x80" * (1 << 20),
    "deep": b"\x91" * 100_000 + b"\xc0",
    "long": b"\xdd\xff\xff\xff\xff" + b"\x01" * (1 << 20),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_little_that_would_be_much(ground: Ground, tokens: list[str], bomb: str) -> None:
    def attack() -> None:
        with peers.client(ground, tokens[0]) as peer:
            for _ in range(10):
                for command, field in (("Submit", "jobs"), ("Cancel", "jobs")):
                    more: dict[str, Any] = {"sequence": 1} if command == "Submit" else {}
                    more |= {"queued_only": False} if command == "Cancel" else {}
                    with pytest.raises(Refusal) as refused:
                        peer.ask(command, **{field: BOMBS[bomb]}, **more)
                    assert refused.value.code in ("MALFORMED", "TOO_LARGE")

    ground.endures(attack, 0.1)


def test_outcomes_that_are_not_taken(ground: Ground, tokens: list[str]) -> None:
    """A session waits for another's ended jobs, and takes none: they stay where they are."""

    def attack() -> None:
        with peers.client(ground, tokens[0]) as other, peers.client(ground, tokens[0]) as lazy:
            jobs = frame(*[(spec(target="ended", orphans="keep"), b"")] * A_FRAME)
            ids: list[int] = []
            for _ in range(100):
                answer = other.ask("Submit", sequence=other.sequence, jobs=jobs)
                other.sequence += 1
                runs = msgpack.unpackb(joined(answer, "ids"))
                ids += [first + n for first, count in runs for n in range(count)]
            for start in range(0, len(ids), 1000):
                other.ask("Cancel", jobs=ids[start : start + 1000], queued_only=False)
            for _ in range(20):
                lazy.say("Watch", jobs=ids)

    ground.endures(attack, 0.1)


def test_sessions_and_groups_without_an_end(ground: Ground, tokens: list[str]) -> None:
    def attack() -> None:
        with peers.client(ground, tokens[0]) as peer:
            empty = msgpack.packb([[], []])
            for number in range(1, 3000):
                tag = peer.say("Submit", sequence=number, group=number, jobs=empty)
            peer.answer(tag)
        for _ in range(20):
            peers.client(ground, tokens[0]).close()

    ground.endures(attack, 0.1)
