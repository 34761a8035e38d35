"""Results as plain data: what is read, and that nothing is ever unpickled."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from ampacity import Pool
from ampacity.client.results import raise_error, value_of
from ampacity.protocol.errors import (
    BadOption,
    JobError,
    JobFailed,
    JobsFailed,
    NoSuchBlob,
    NoSuchJob,
    NotPlainData,
)
from ampacity.protocol.ids import JobId
from ampacity.protocol.jobs import BlobRef, unpack_spec
from ampacity.protocol.outcomes import Ending, ErrorText, Outcome
from ampacity.protocol.plain import pack_plain
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.python.failure import Failure

TEXT = ErrorText("shop.OutOfStock", "no tea", "Traceback: no tea")
GIVEN = ErrorText("ampacity.protocol.errors.NotPlainData", "result is a set", "Traceback: a set")


class Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return open, (str(self.mark), "w")


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "exploded"


def plain(value: Any) -> Outcome:
    return Outcome(value=pack_plain(value), data=True)


def error_of(deferred: Any) -> Any:
    got: list[Any] = []
    deferred.addBoth(got.append)
    assert got, "it has not fired"
    assert isinstance(got[0], Failure), f"it gave {got[0]!r}"
    return got[0].value


def value(deferred: Any) -> Any:
    got: list[Any] = []
    deferred.addBoth(got.append)
    assert got, "it has not fired"
    return got[0]


def test_the_spec_says_it(pool: Any, clock: Any, coordinator: Any) -> None:
    pool.submit(math.sqrt, 4)
    pool.options(results="data").submit(math.sqrt, 4)
    pool.options(results="data").options(results="pickle").submit(math.sqrt, 4)
    clock.turn()
    specs = [unpack_spec(job.spec).results for _, job in coordinator.queue]
    assert specs == ["pickle", "data", "pickle"]
    with pytest.raises(BadOption, match='results is "pickle" or "data", not \'json\''):
        pool.options(results="json")


def test_plain_data_is_read(pool: Any, clock: Any, coordinator: Any) -> None:
    job = pool.options(results="data").submit(math.sqrt, 4)
    clock.turn()
    coordinator.end(1, Ending.SUCCEEDED, plain({"a": [1, None, b"x"]}))
    assert value(job.result()) == {"a": [1, None, b"x"]}
    assert value(job.result()) == {"a": [1, None, b"x"]}


def test_who_reads_it_later_need_not_have_asked(pool: Any, clock: Any, coordinator: Any) -> None:
    result = pool.job(17).result()
    clock.turn()
    coordinator.end(17, Ending.SUCCEEDED, plain([1]))
    assert value(result) == [1]


def bombs(mark: Path) -> list[Outcome]:
    bomb = pickle.dumps(Bomb(mark))
    return [
        Outcome(value=bomb),
        Outcome(value=bomb, data=True),
        Outcome(value=bomb, error=TEXT),
        Outcome(value=bomb, error=TEXT, data=True),
        Outcome(value=BlobRef(b"b" * 32, len(bomb))),
        Outcome(value=BlobRef(b"b" * 32, len(bomb)), data=True),
        Outcome(value=BlobRef(b"b" * 32, len(bomb)), error=TEXT),
    ]


@pytest.mark.parametrize("ending", [Ending.SUCCEEDED, Ending.FAILED, Ending.TIMED_OUT])
@pytest.mark.parametrize("place", range(7))
def test_a_pickle_is_not_read_whoever_sent_it(
    pool: Any, clock: Any, coordinator: Any, mark: Path, ending: Ending, place: int
) -> None:
    outcome = bombs(mark)[place]
    coordinator.blobs[b"b" * 32] = pickle.dumps(Bomb(mark))
    careful = pool.options(results="data")
    job, group, found = careful.submit(len, ()), careful.map(len, [()]), careful.job(17)
    results = [job.result(), group.result(), found.result()]
    clock.turn()
    for number in (1, 2, 17):
        coordinator.end(number, ending, outcome)
    for result in results:
        clock.turn()
        error = error_of(result)
        error = error.failures[0] if isinstance(error, JobsFailed) else error
        told = JobError if outcome.data else NotPlainData
        assert isinstance(error, told)
    assert not mark.exists()


def test_without_the_option_it_would_explode(
    pool: Any, clock: Any, coordinator: Any, mark: Path
) -> None:
    job = pool.submit(len, ())
    clock.turn()
    coordinator.end(1, Ending.SUCCEEDED, bombs(mark)[0])
    value(job.result()).close()
    assert mark.exists()


def test_the_refusal_says_what_was_refused(pool: Any, clock: Any, coordinator: Any) -> None:
    job = pool.options(results="data").submit(len, ())
    clock.turn()
    coordinator.end(1, Ending.FAILED, Outcome(value=pickle.dumps(1), error=TEXT))
    error = error_of(job.result())
    assert str(error).startswith(
        "plain data was to come from job 1 (builtins:len), and a pickle came, which was not read"
    )
    assert (error.job, error.type_name, error.traceback) == (1, TEXT.type_name, TEXT.traceback)
    assert error.__notes__ == ["as text, what came is shop.OutOfStock: no tea"]


def test_an_exception_arrives_as_text(pool: Any, clock: Any, coordinator: Any) -> None:
    job = pool.options(results="data").submit(len, ())
    clock.turn()
    coordinator.end(1, Ending.FAILED, Outcome(error=TEXT, tail=b"last words"))
    error = error_of(job.result())
    assert type(error) is JobFailed
    assert (error.type_name, error.traceback) == (TEXT.type_name, TEXT.traceback)
    assert error.output == "last words"


def test_what_the_child_refused_is_named() -> None:
    with pytest.raises(NotPlainData, match=r"job 17 \(f\) did not give plain data: result is a"):
        raise_error(JobId(17), "f", Ending.FAILED, Outcome(error=GIVEN), None)


@pytest.mark.parametrize("packed", [b"", b"\xc1", b"\x91", pickle.dumps([1])])
def test_what_is_no_plain_data_is_refused(packed: bytes, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_bytes(packed)
    for source in (packed, file):
        with pytest.raises(NotPlainData, match="something else"):
            value_of(JobId(1), "f", Outcome(value=packed, data=True), source)


def test_what_is_derived_from_it_is_careful_too(pool: Any, clock: Any, coordinator: Any) -> None:
    careful: Pool = pool.options(results="data")
    coordinator.answers["jobs"] = {
        "jobs": [{"id": 17, "name": "f", "target": "m:f"}],
        "next": None,
    }
    coordinator.retry = lambda jobs: _fired({job: job + 100 for job in jobs})
    found = value(ensureDeferred(_found(careful)))
    jobs = [*found, value(found[0].retry()), *value(careful.retry([18]))]
    results = [job.result() for job in jobs]
    clock.turn()
    for job in jobs:
        coordinator.end(job.id, Ending.SUCCEEDED, Outcome(value=pickle.dumps(1)))
    assert [type(error_of(result)) for result in results] == [NotPlainData] * 3


async def _found(pool: Any) -> Any:
    return await pool.jobs()


def _fired(answer: Any) -> Deferred[Any]:
    done: Deferred[Any] = Deferred()
    done.callback(answer)
    return done


# -- a value that the coordinator has to be asked for once more ------------------------------------


def large(coordinator: Any) -> Outcome:
    coordinator.blobs[b"b" * 32] = packed = pickle.dumps([1, 2])
    return Outcome(value=BlobRef(b"b" * 32, len(packed)))


def test_a_new_coordinator_is_asked_for_the_outcome_again(
    pool: Any, clock: Any, coordinator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    give = coordinator.get_blob

    def get_blob(ref: BlobRef) -> Deferred[Path]:
        return give(ref) if asked else fail(NoSuchBlob())

    monkeypatch.setattr(coordinator, "get_blob", get_blob)
    coordinator.answers["result"] = asked.append
    job = pool.submit(len, ())
    clock.turn()
    coordinator.end(1, Ending.SUCCEEDED, large(coordinator))
    assert value(job.result()) == [1, 2]
    assert asked == [{"job": 1}]


def test_a_value_that_is_gone_is_not_asked_for_for_ever(
    pool: Any, clock: Any, coordinator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "get_blob", lambda _: fail(NoSuchBlob()))
    coordinator.answers["result"] = lambda _: fail(NoSuchJob())
    jobs = [pool.submit(len, ()), pool.submit(len, ())]
    clock.turn()
    coordinator.end(1, Ending.SUCCEEDED, large(coordinator))
    assert type(error_of(jobs[0].result())) is NoSuchBlob
    coordinator.answers["result"] = lambda details: _fired(details)
    coordinator.end(2, Ending.SUCCEEDED, large(coordinator))
    assert type(error_of(jobs[1].result())) is NoSuchBlob
