"""A coordinator with slots of its own: what it leaves for the next one, when it is ended."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.client.local import LocalCluster
from ampacity.protocol.ids import LOCAL_CLIENT, SessionId
from ampacity.protocol.jobs import JobSpec, Submission, pack_spec
from ampacity.protocol.outcomes import Delivery, Ending
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

SESSION = SessionId(b"s" * 16)

_JOBS = """
import pathlib, time
def note(folder, item, times, seconds):
    path = pathlib.Path(folder, item)
    before = len(path.read_text()) if path.exists() else 0
    with path.open("a") as file:
        file.write(".")
    if before < times:
        time.sleep(seconds)
    return before
"""


class Client:
    """``ports.ClientPort``: keeps what is delivered."""

    def __init__(self) -> None:
        self.outcomes: list[Delivery] = []

    def delivered(self, outcomes: Any) -> Deferred[None]:
        self.outcomes += outcomes
        return succeed(None)

    def output(self, job: int, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        return succeed(False)


async def soon(condition: Any, seconds: float = 20) -> None:
    deadline = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < deadline, "it did not happen"
        await deferLater(reactor, 0.01, lambda: None)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "noting.py").write_text(_JOBS)
    return folder


def submission(notes: Path, item: str, times: int, seconds: float, **spec: Any) -> Submission:
    packed = pack_spec(JobSpec(kind="import", target="noting:note", cwd=str(notes), **spec))
    return Submission(packed, pickle.dumps(((str(notes), item, times, seconds), {})))


def cluster(tmp_path: Path, slots: int = 2) -> LocalCluster:
    return LocalCluster(reactor, slots, folder=tmp_path / "own", store=tmp_path / "store")


async def asked(of: LocalCluster, question: str, **details: Any) -> Any:
    coordinator, _ = of.driver.open_session(
        LOCAL_CLIENT, SessionId(b"q" * 16), Client(), "operator"
    )
    return await coordinator.query(question, details)


@pytest_twisted.ensureDeferred
async def test_what_runs_when_it_is_ended_runs_again_after_it_without_a_loss(
    tmp_path: Path, notes: Path
) -> None:
    times = 4  # more than it may be lost
    client = Client()
    for number in range(times + 1):
        here = cluster(tmp_path)
        await here.start()
        coordinator, sequence = here.driver.open_session(LOCAL_CLIENT, SESSION, client, "operator")
        if number == 0:
            jobs = [
                submission(notes, "long", times, 300.0, max_losses=0),
                *(submission(notes, f"{n}", 0, 0.0) for n in range(20)),
            ]
            await coordinator.submit(sequence, jobs, None)
        await soon(lambda number=number: len(_began(notes)) == number + 1)
        if number < times:
            await here.stop(0.0)
    await soon(lambda: len({d.job for d in client.outcomes}) == 21)
    assert {d.ending for d in client.outcomes} == {Ending.SUCCEEDED}
    job = (await asked(here, "jobs", after=None, limit=50, state=None, name=None, group=None,
                       newest=False))["jobs"][0]  # fmt: skip
    assert job["losses"] == 0
    await here.stop(0.0)


def _began(notes: Path) -> str:
    path = notes / "long"
    return path.read_text() if path.exists() else ""


@pytest_twisted.ensureDeferred
async def test_what_ends_within_the_grace_is_recorded(tmp_path: Path, notes: Path) -> None:
    client = Client()
    here = cluster(tmp_path)
    await here.start()
    coordinator, sequence = here.driver.open_session(LOCAL_CLIENT, SESSION, client, "operator")
    jobs = [submission(notes, "long", 1, 1.0)]
    jobs += [submission(notes, "other", 9, 300.0), submission(notes, "waits", 0, 0.0)]
    await coordinator.submit(sequence, jobs, None)
    await soon(lambda: _began(notes) and (notes / "other").exists())
    began = reactor.seconds()
    stopped = Deferred.fromCoroutine(here.stop(60.0))
    await soon(lambda: client.outcomes)
    await here.stop(0.0)  # a second signal
    await stopped
    assert reactor.seconds() - began < 20
    assert len(_began(notes)) == 1
    assert not (notes / "waits").exists()


@pytest_twisted.ensureDeferred
async def test_its_slots_can_be_drained_while_it_goes_on(tmp_path: Path, notes: Path) -> None:
    client = Client()
    here = cluster(tmp_path)
    await here.start()
    coordinator, sequence = here.driver.open_session(LOCAL_CLIENT, SESSION, client, "operator")
    await coordinator.submit(sequence, [submission(notes, "long", 1, 0.5)], None)
    await soon(lambda: _began(notes))
    (worker,) = await coordinator.query("workers", {})
    await coordinator.drain_worker(worker["name"])
    await soon(lambda: client.outcomes)
    assert client.outcomes[0].ending is Ending.SUCCEEDED
    await coordinator.submit(sequence + 1, [submission(notes, "waits", 0, 0.0)], None)
    assert here.slots is not None
    await soon(lambda: not list(here.slots._crew.all()))
    await soon(lambda: here.events is None)
    assert (await coordinator.query("status", {}))["queued"] == 1
    await here.stop(0.0)
