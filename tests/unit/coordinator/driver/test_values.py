"""The driver and values: whose jobs may refer to what, and who may read it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ampacity.coordinator.permissions import EVERYONE
from ampacity.protocol.errors import NoSuchBlob, TooLarge
from ampacity.protocol.ids import ClientId, WorkerId
from ampacity.protocol.jobs import BlobRef, JobSpec, Submission, pack_spec
from ampacity.protocol.limits import FRAME_VALUES
from ampacity.protocol.ports import Accepted
from ampacity.testing.row_store import Disk, RowStore

FUNCTION, RESULT = b"def f(): ...", b"what it gave"


def ref_of(data: bytes) -> BlobRef:
    return BlobRef(hashlib.sha256(data).digest(), len(data))


def put(house: Any, port: Any, data: bytes, folder: Path) -> BlobRef:
    """A client of this process sends a value."""
    path = folder / "value"
    path.write_bytes(data)
    house.now(port.session.put_blob(ref_of(data), path))
    return ref_of(data)


def tried(house: Any, port: Any, **job: Any) -> Any:
    """The answer to a submission that is missing something; its number is free again."""
    answer = house.now(house.submit(port, **job))
    house.sequence -= 1
    return answer


def readable(house: Any, port: Any, ref: BlobRef) -> bool:
    try:
        house.now(port.session.get_blob(ref))
    except NoSuchBlob:
        return False
    return True


def run(house: Any, owner: Any, worker: Any, folder: Path, job: int = 1) -> BlobRef:
    """A job whose result is a value on its own."""
    house.submit(owner)
    house.turn(3)
    ref = ref_of(RESULT)
    path = folder / "result"
    path.write_bytes(RESULT)
    house.now(worker.events.store(ref, path))
    worker.finish(job, blobs=(ref,))
    house.turn(3)
    return ref


def test_what_others_have_sent_is_missing_like_what_nobody_has(house: Any, tmp_path: Path) -> None:
    house.worker()
    a, b = house.client("a", client="a"), house.client("b", client="b")
    house.sequence = 1
    ref, nowhere = put(house, a, FUNCTION, tmp_path), ref_of(b"nowhere")
    for one in (ref, nowhere):
        for job in (
            {"payload": one},
            {"kind": "value", "function": one},
            {"ships": (one,)},
        ):
            assert tried(house, b, **job) == Accepted(missing=(one.digest,))
        assert not readable(house, b, one)
    accepted = house.submit(a, kind="value", function=ref, payload=ref, ships=(ref,))
    house.turn()
    assert house.now(accepted).ids == ((1, 1),)
    assert tried(house, b, payload=ref) == Accepted(missing=(ref.digest,))
    put(house, b, FUNCTION, tmp_path)
    house.sequence = 1
    accepted = house.submit(b, payload=ref)
    house.turn()
    assert house.now(accepted).ids == ((2, 1),)
    assert readable(house, b, ref)


def test_sessions_of_one_client_share_what_they_have_sent(house: Any, tmp_path: Path) -> None:
    first, second = house.client("first"), house.client("second")
    ref = put(house, first, FUNCTION, tmp_path)
    house.driver.leave_session(first.session.record.id, first, goodbye=True)
    accepted = house.submit(second, payload=ref)
    house.turn()
    assert house.now(accepted).ids == ((1, 1),)


def test_what_is_gone_is_missing_though_it_was_sent(house: Any, tmp_path: Path) -> None:
    client = house.client()
    ref = put(house, client, FUNCTION, tmp_path)
    house.now(house.blobs.remove(ref.digest))
    assert tried(house, client, payload=ref) == Accepted(missing=(ref.digest,))
    assert not readable(house, client, ref)


def test_a_frame_that_refers_to_too_much_is_refused(house: Any) -> None:
    client = house.client()
    ships = tuple(BlobRef(n.to_bytes(32, "big"), 1) for n in range(FRAME_VALUES + 1))
    half = FRAME_VALUES // 2
    specs = [
        pack_spec(JobSpec(kind="import", target="m:f", ships=part))
        for part in (ships[:half], ships[half : 2 * half], ships[2 * half :])
    ]
    jobs = [Submission(spec, b"") for spec in specs]
    assert len(house.now(client.session.submit(1, jobs[:2], None)).missing) == FRAME_VALUES
    with pytest.raises(TooLarge, match=str(FRAME_VALUES)):
        house.now(client.session.submit(1, jobs, None))


def test_a_result_is_read_by_the_client_whose_job_it_is(house: Any, tmp_path: Path) -> None:
    a, b = house.client("a", client="a"), house.client("b", client="b")
    operator = house.client("o", client="o", role="operator")
    house.sequence = 1
    worker = house.worker()
    ref = run(house, a, worker, tmp_path)
    assert readable(house, a, ref)
    assert not readable(house, b, ref)
    operator.session.watch([1])
    for question in ("job", "result"):
        house.ask(operator, question, job=1)
    house.ask(operator, "jobs", client=EVERYONE)
    assert not readable(house, operator, ref)
    house.sequence = 1
    assert tried(house, b, payload=ref) == Accepted(missing=(ref.digest,))


@pytest.mark.parametrize("question", ["job", "result"])
def test_a_question_shows_the_result_of_ones_own_job(
    house: Any, tmp_path: Path, question: str
) -> None:
    owner = house.client("first", client="a")
    ref = run(house, owner, house.worker(), tmp_path)
    house.driver.leave_session(owner.session.record.id, owner, goodbye=True)
    house.driver.values._away.clear()
    again = house.client("second", client="a")
    assert not readable(house, again, ref)
    house.ask(again, question, job=1)
    assert readable(house, again, ref)


def test_after_a_restart_values_are_sent_and_shown_again(
    houses: Callable[..., Any], tmp_path: Path
) -> None:
    disk = Disk()
    house = houses(store=RowStore(disk))
    owner = house.client("s", client="a")
    sent = put(house, owner, FUNCTION, tmp_path)
    house.submit(owner, payload=sent)
    house.turn(3)
    worker = house.worker()
    house.turn(3)
    ref = ref_of(RESULT)
    (tmp_path / "result").write_bytes(RESULT)
    house.now(worker.events.store(ref, tmp_path / "result"))
    worker.finish(1, blobs=(ref,))
    house.turn(5)
    assert owner.jobs == [1]
    house.driver.stop()
    again = houses(store=RowStore(disk))
    for value in (FUNCTION, RESULT):
        (tmp_path / "kept").write_bytes(value)
        again.now(again.blobs.adopt(ref_of(value), tmp_path / "kept", move=False))
    owner = again.client("s", client="a")
    assert not readable(again, owner, ref)
    assert tried(again, owner, payload=sent) == Accepted(missing=(sent.digest,))
    again.ask(owner, "result", job=1)
    assert readable(again, owner, ref)
    put(again, owner, FUNCTION, tmp_path)
    accepted = again.submit(owner, payload=sent)
    again.turn(3)
    assert again.now(accepted).ids == ((2, 1),)


def test_a_worker_may_have_what_it_holds_while_it_holds_it(house: Any, tmp_path: Path) -> None:
    client, worker = house.client(), house.worker("one")
    house.worker("two", slots=0)
    values, one, two = house.driver.values, WorkerId("one"), WorkerId("two")
    refs = [put(house, client, name, tmp_path) for name in (b"function", b"ship", b"payload")]
    function, ship, payload = refs
    other = put(house, client, b"other", tmp_path)
    assert not values.worker_may_read(one, payload.digest)
    house.submit(client, kind="value", function=function, ships=(ship,), payload=payload)
    house.turn(3)
    assert all(values.worker_may_read(one, ref.digest) for ref in refs)
    assert not values.worker_may_read(one, other.digest)
    assert not any(values.worker_may_read(two, ref.digest) for ref in refs)
    worker.finish(1)
    house.turn(3)
    assert not any(values.worker_may_read(one, ref.digest) for ref in refs)


def test_a_retry_by_an_operator_needs_nothing_sent(house: Any, tmp_path: Path) -> None:
    a, worker = house.client("a", client="a"), house.worker()
    sent = put(house, a, FUNCTION, tmp_path)
    house.submit(a, payload=sent)
    house.turn(3)
    worker.finish(1)
    house.turn(3)
    operator = house.client("o", client="o", role="operator")
    again = operator.session.retry([1])
    house.turn(3)
    assert house.now(again) == {1: 2}
    assert house.driver.values.worker_may_read(WorkerId("w"), sent.digest)
    assert not house.driver.values.may_read(ClientId("o"), sent.digest)
