"""A Python program whose coordinator is killed, and started again over the same store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity import (
    JobCrashed,
    JobsFailed,
    NoCoordinator,
    NoSuchJob,
    Pool,
    PoolClosed,
    QueueFull,
    StorageFull,
)
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

reactor: Any = _reactor

COMMAND = str(Path(sys.executable).with_name("ampacity"))


def _durable() -> bool:
    shown = subprocess.run([COMMAND, "coordinator", "--help"], capture_output=True, text=True)
    return "--ephemeral" in shown.stdout


pytestmark = pytest.mark.skipif(not _durable(), reason="the coordinator keeps nothing on disk")


@attrs.define
class Coordinator:
    """``ampacity coordinator`` in a process of its own, with slots."""

    folder: Path
    environment: dict[str, str] = attrs.field(factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"unix:{self.folder / 'access' / 'coordinator.socket'}"

    def start(self) -> None:
        words = [COMMAND, "coordinator", "--slots", "2", "--state", str(self.folder / "state")]
        words += ["--access", str(self.folder / "access")]
        around = {**os.environ, **self.environment}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, cwd=self.folder, env=around
            )

    def end(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(30)

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def pool(self, **options: Any) -> Pool:
        return Pool.connect(self.address, **{"wait": 30.0, "reactor": reactor, **options})


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[Coordinator]:
    coordinator = Coordinator(tmp_path)
    coordinator.start()
    yield coordinator
    assert coordinator.process is not None
    if coordinator.process.poll() is None:
        coordinator.end(signal.SIGTERM)


def seconds(count: float) -> Any:
    return deferLater(reactor, count)


def note(file: str, item: int, pause: float = 0.0) -> int:
    """Leave a line: this item was run."""
    time.sleep(pause)
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, b"%d\n" % item)
    os.close(handle)
    return item * 2


def runs(file: Path) -> Counter[int]:
    return Counter(int(line) for line in file.read_text().split())


def die(number: int) -> None:
    print("so long", flush=True)
    os.kill(os.getpid(), number)


def fail_once(file: str) -> str:
    path = Path(file)
    if not path.exists():
        path.touch()
        raise OSError("not yet")
    return "well"


@pytest_twisted.ensureDeferred
async def test_a_program_notices_no_more_than_a_delay(coordinator: Coordinator, tmp_path: Path):
    pool = coordinator.pool()
    await pool.ready()
    file = tmp_path / "runs"
    fired: Counter[int] = Counter()
    group = pool.map(note, [str(file)] * 3000, range(3000), [0.002] * 3000, in_flight=1500)
    results = group.result()
    jobs = [pool.submit(note, str(file), n) for n in range(3000, 3500)]
    for n, job in enumerate(jobs):
        job.result().addCallback(lambda _, n: fired.update([n]), n)
    for _ in range(2):
        await seconds(1.0)
        coordinator.kill()
        late = pool.submit(note, str(file), 9999)  # while nobody is there
        await seconds(0.3)
        coordinator.start()
        assert await late == 19998
    assert await results == [n * 2 for n in range(3000)]
    assert [await job for job in jobs] == [n * 2 for n in range(3000, 3500)]
    assert fired == Counter(range(500))
    done = runs(file)
    assert set(done) == {*range(3500), 9999}
    # what ran twice was in a slot at one of the kills, or had ended and was not recorded
    again = sum(count - 1 for item, count in done.items() if item != 9999)
    assert again < 300
    assert len(await pool.jobs(group=group.id)) == 3000  # nothing was submitted twice
    await pool.close()


@pytest_twisted.ensureDeferred
async def test_values_of_any_size_come_through_it(coordinator: Coordinator):
    pool = coordinator.pool()
    await pool.ready()
    salt = b"salt"
    items = [bytes([n]) * (200_000 if n % 3 else 20) for n in range(120)]
    results = pool.map(lambda data: salt + data, items, in_flight=60).result()
    for _ in range(3):
        await seconds(0.7)
        coordinator.kill()
        coordinator.start()
        await seconds(1.0)
    assert await results == [salt + item for item in items]
    folder = pool._engine.session().spool.folder
    while {path.name for path in folder.rglob("*") if path.is_file()} != {"owner"}:
        await seconds(0.01)
    await pool.close()


@pytest_twisted.ensureDeferred
async def test_values_are_shown_and_sent_again_where_a_new_coordinator_has_to_know(
    coordinator: Coordinator,
):
    pool = coordinator.pool()
    salt = b"salt" * 20_000
    job = pool.submit(lambda data: salt + data, b"1" * 100_000)
    careful = pool.options(results="data").submit(lambda: [b"2" * 100_000])
    while not (job.ended and careful.ended):  # delivered, and not read
        await seconds(0.05)
    coordinator.kill()
    coordinator.start()
    assert await job == salt + b"1" * 100_000
    assert await careful == [b"2" * 100_000]
    assert await pool.submit(lambda data: salt + data, b"3" * 100_000) == salt + b"3" * 100_000
    await pool.close()


@pytest_twisted.ensureDeferred
async def test_who_waits_for_work_of_another_program_goes_on_waiting(
    coordinator: Coordinator, tmp_path: Path
):
    other = coordinator.pool()
    job = other.options(key="night").submit(note, str(tmp_path / "runs"), 4, 2.0)
    number = await job.accepted()
    group = other.map(time.sleep, [0.05] * 60)
    name = await group.accepted()
    await group.submitted()
    await other.close()
    pool = coordinator.pool()
    waiting = pool.job(number).result()
    same = pool.options(key="night").submit(note, str(tmp_path / "runs"), 4)
    assert await same.accepted() == number
    found = pool.group(name).result()
    mine = same.result()
    await seconds(0.3)
    coordinator.kill()
    coordinator.start()
    assert await waiting == 8
    assert await mine == 8
    assert await found == [None] * 60
    coordinator.kill()  # ended, and read: it can be read again, and the key still means it
    coordinator.start()
    assert await pool.job(number) == 8
    again = pool.options(key="night").submit(note, str(tmp_path / "runs"), 4)
    assert await again == 8
    assert again.id == number
    await pool.close()


@pytest_twisted.ensureDeferred
async def test_a_coordinator_that_stays_away(coordinator: Coordinator):
    pool, patient = coordinator.pool(), coordinator.pool(patience=1.0)
    await pool.ready()
    accepted = pool.submit(time.sleep, 60)
    number = await accepted.accepted()
    results = [accepted.result(), patient.job(number).result()]
    await patient.ready()
    coordinator.kill()
    not_accepted = pool.submit(time.sleep, 0).result()
    with pytest.raises(NoCoordinator, match="did not come back within 1 s"):
        await results[1]
    await seconds(1.0)
    assert not results[0].called
    began = time.monotonic()
    await pool.close(grace=1.0)
    assert time.monotonic() - began < 8
    with pytest.raises(PoolClosed, match="goes on"):
        await results[0]
    with pytest.raises(PoolClosed, match="before the coordinator had said that it has the job"):
        await not_accepted
    coordinator.start()
    assert (await patient.job(number).info()).state in ("queued", "sent", "running")
    await patient.job(number).cancel()
    await patient.close()


@pytest_twisted.ensureDeferred
async def test_stories_and_what_is_done_with_ended_jobs(coordinator: Coordinator, tmp_path: Path):
    pool = coordinator.pool()
    crashing = pool.options(max_losses=1, name="poison").submit(die, signal.SIGKILL)
    with pytest.raises(JobCrashed) as crashed:
        await crashing
    for words in ("job 1 (poison) crashed", "SIGKILL", "so long", "worker"):
        assert words in str(crashed.value)
    coordinator.kill()
    coordinator.start()
    info = await crashing.info()
    assert (info.state, info.losses, info.attempts) == ("crashed", 2, 2)
    assert info.evidence is not None
    assert info.evidence.signal == "SIGKILL"
    assert "so long" in info.output
    story = [what for _, what in info.story]
    assert sum("SIGKILL" in what for what in story) == 2, story

    flaky = pool.options(retries=2, retry_on=OSError, backoff=0.1)
    job = flaky.submit(fail_once, str(tmp_path / "flag"))
    assert await job == "well"
    info = await job.info()
    assert (info.failures, info.losses, info.attempts) == (1, 0, 2)
    assert any("not yet" in what for _, what in info.story), info.story
    strict = pool.options(retries=5, retry_on="KeyError").submit(fail_once, f"{tmp_path}/no/flag")
    with pytest.raises(OSError, match="No such file"):
        await strict
    assert (await strict.info()).attempts == 1

    files = [str(tmp_path / f"flag{n}") for n in range(4)]
    group = pool.map(fail_once, files)
    with pytest.raises(JobsFailed):
        await group
    again = await group.retry_failed()
    assert await again == ["well"] * 4
    assert await pool.forget(group) == 8
    assert await job.forget() == "forgotten"
    with pytest.raises(NoSuchJob):
        await pool.job(await job.accepted())
    await pool.close()


# -- a coordinator without room -------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_full_queue_is_waited_out_by_maps(coordinator: Coordinator, tmp_path: Path):
    coordinator.end(signal.SIGTERM)
    coordinator.environment["AMPACITY_QUEUE_JOBS"] = "200"
    coordinator.start()
    pool = coordinator.pool()
    file = tmp_path / "runs"
    results = pool.map(note, [str(file)] * 3000, range(3000), in_flight=3000).result()
    refused: list[Failure] = []
    while not refused and not results.called:
        await seconds(0.02)
        batch = [pool.submit(time.sleep, 0).result() for _ in range(200)]
        for result in batch:
            result.addErrback(lambda failure: refused.append(failure))
    assert await results == [n * 2 for n in range(3000)]
    assert runs(file) == Counter(range(3000))
    assert {failure.type for failure in refused} == {QueueFull}
    await pool.close()


@pytest_twisted.ensureDeferred
async def test_results_that_nobody_fetches_leave_no_room(coordinator: Coordinator):
    coordinator.end(signal.SIGTERM)
    coordinator.environment["AMPACITY_RETAIN_JOBS"] = "100"
    coordinator.start()
    other = coordinator.pool()
    group = other.map(time.sleep, [0.5] + [0.005] * 149)
    name = await group.accepted()
    await group.submitted()
    await other.close()
    pool = coordinator.pool()
    while await pool.jobs(group=name, state="queued") or await pool.jobs(state="running"):
        await seconds(0.1)
    await seconds(1.0)
    with pytest.raises(StorageFull, match="ampacity forget"):
        await pool.submit(time.sleep, 0)
    with pytest.raises(StorageFull, match="none was accepted"):
        await pool.map(time.sleep, [0] * 500)
    assert await pool.forget(name) == 150
    assert await pool.map(abs, range(500)) == list(range(500))
    await pool.close()
