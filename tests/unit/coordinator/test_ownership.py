"""Who may name which values: what was sent, what was shown, what a worker's attempts need."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ampacity.coordinator.ownership import Ownership
from ampacity.coordinator.records import ClientRecord
from ampacity.protocol.ids import ClientId, JobId, WorkerId
from ampacity.protocol.jobs import BlobRef

A, B = ClientId("a"), ClientId("b")


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def ref(number: int) -> BlobRef:
    return BlobRef(digest(number), 1)


def job(client: Any, payload: Any = b"", spec: tuple[BlobRef, ...] = (), **rest: Any) -> Any:
    return SimpleNamespace(client=client, payload=payload, spec=_Spec(spec), **rest)


class _Spec:
    def __init__(self, blobs: tuple[BlobRef, ...]) -> None:
        self.blobs = blobs


def ownership(jobs: Any = None, workers: Any = None, **bounds: int) -> Ownership:
    made = Ownership(jobs or {}, workers or {}, **bounds)
    for client in (A, B):
        made.opened(client)
    return made


def test_a_client_may_refer_to_what_it_has_sent() -> None:
    values = ownership()
    values.sent(A, digest(1))
    assert values.has_sent(A, digest(1))
    assert values.may_read(A, digest(1))
    for client, number in ((A, 2), (B, 1), (ClientId("nobody"), 1)):
        assert not values.has_sent(client, digest(number))
        assert not values.may_read(client, digest(number))


def test_what_was_shown_may_be_read_and_not_referred_to() -> None:
    values = ownership()
    values.show(A, [ref(1), ref(2)])
    for number in (1, 2):
        assert values.may_read(A, digest(number))
        assert not values.has_sent(A, digest(number))
        assert not values.may_read(B, digest(number))


def test_the_ends_of_ones_own_jobs_are_shown() -> None:
    mine, others = ClientRecord(A), ClientRecord(B)
    jobs = {
        JobId(1): job(mine, blobs=(ref(1),)),
        JobId(2): job(others, blobs=(ref(2),)),
        JobId(3): job(mine, blobs=()),
    }
    values = ownership(jobs)
    values.show_ends(mine, [JobId(1), JobId(2), JobId(3), JobId(4)])
    assert values.may_read(A, digest(1))
    assert not values.may_read(A, digest(2))
    assert not values.may_read(B, digest(1))


def test_sessions_of_one_client_share_it_and_it_outlives_them() -> None:
    values = ownership()
    values.opened(A)
    values.sent(A, digest(1))
    values.left(A)
    assert values.has_sent(A, digest(1))
    values.left(A)
    assert not values.has_sent(A, digest(1))
    values.sent(A, digest(2))
    values.opened(A)
    assert values.has_sent(A, digest(1))
    assert not values.has_sent(A, digest(2))


def test_the_values_used_last_are_remembered() -> None:
    values = ownership(values=3)
    for number in range(3):
        values.sent(A, digest(number))
    assert values.has_sent(A, digest(0))
    values.sent(A, digest(3))
    values.show(A, [ref(number) for number in range(10, 20)])
    assert [number for number in range(4) if values.has_sent(A, digest(number))] == [0, 2, 3]
    shown = [number for number in range(10, 20) if values.may_read(A, digest(number))]
    assert shown == [17, 18, 19]


def test_the_clients_that_left_last_are_remembered() -> None:
    values = Ownership({}, {}, away=2)
    for number in range(5):
        client = ClientId(f"c{number}")
        values.opened(client)
        if number != 3:
            values.sent(client, digest(number))
        values.left(client)
    for number in range(5):
        values.opened(ClientId(f"c{number}"))
    known = [n for n in range(5) if values.has_sent(ClientId(f"c{n}"), digest(n))]
    assert known == [2, 4]


def test_a_worker_may_have_what_its_attempts_need() -> None:
    shared = _Spec((ref(1), ref(2)))
    held = {
        JobId(1): SimpleNamespace(payload=b"", spec=shared),
        JobId(2): SimpleNamespace(payload=ref(3), spec=shared),
        JobId(3): SimpleNamespace(payload=ref(4), spec=_Spec(())),
    }
    workers: Any = {WorkerId("w"): SimpleNamespace(held=held), WorkerId("idle"): job(A, held={})}
    values = ownership(workers=workers)
    readable = [n for n in range(6) if values.worker_may_read(WorkerId("w"), digest(n))]
    assert readable == [1, 2, 3, 4]
    del held[JobId(3)]
    assert not values.worker_may_read(WorkerId("w"), digest(4))
    assert not values.worker_may_read(WorkerId("idle"), digest(1))
    assert not values.worker_may_read(WorkerId("unknown"), digest(1))
