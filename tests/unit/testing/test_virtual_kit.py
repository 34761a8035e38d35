"""A whole cluster in a test: what may befall it, and what becomes of the jobs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ampacity import (
    CoordinatorLost,
    JobCancelled,
    JobCrashed,
    JobTimedOut,
    NoCoordinator,
    StorageFull,
)
from ampacity.testing import Crashes, Hangs, NotFired, Runs, Settings, VirtualCluster, WorkerMachine
from ampacity.tests.unit.testing.contract_jobs import double


def slow(cluster: VirtualCluster, seconds: float = 60) -> None:
    cluster.plan(double, Runs(seconds=seconds))


def busy(cluster: VirtualCluster) -> WorkerMachine:
    (worker,) = [worker for worker in cluster.workers if worker.running]
    return worker


def test_jobs_take_the_time_that_is_planned() -> None:
    cluster = VirtualCluster(workers=2)
    slow(cluster)
    jobs = [cluster.pool().submit(double, n) for n in range(4)]
    assert [cluster.wait(job) for job in jobs] == [0, 2, 4, 6]
    assert 120 < cluster.now < 122


def test_nothing_happens_before_time_passes() -> None:
    cluster = VirtualCluster()
    job = cluster.pool().submit(double, 4)
    assert job.id is None
    cluster.advance(0.1)
    assert job.ended


def test_a_killed_workers_job_runs_on_another() -> None:
    cluster = VirtualCluster(workers=2)
    slow(cluster)
    job = cluster.pool().submit(double, 4)
    cluster.advance(30)
    worker = busy(cluster)
    worker.kill()
    assert not worker.alive
    assert cluster.wait(job) == 8
    info = cluster.wait(job.info())
    assert (info.attempts, info.losses) == (2, 1)


def test_a_killed_child_is_a_loss_and_three_are_too_many() -> None:
    cluster = VirtualCluster(workers=1)
    slow(cluster)
    job = cluster.pool().submit(double, 4)
    for _ in range(3):
        cluster.advance(5)
        assert cluster.workers[0].kill_child()
    with pytest.raises(JobCrashed, match="lost 3 times"):
        cluster.wait(job)
    assert not cluster.workers[0].kill_child()


def test_a_drained_worker_counts_no_loss() -> None:
    cluster = VirtualCluster(workers=2)
    slow(cluster)
    job = cluster.pool().submit(double, 4)
    cluster.advance(30)
    busy(cluster).drain()
    assert cluster.wait(job) == 8
    info = cluster.wait(job.info())
    assert (info.attempts, info.losses) == (2, 0)


def test_a_worker_that_is_started_again_takes_jobs() -> None:
    cluster = VirtualCluster(workers=1)
    cluster.workers[0].kill()
    job = cluster.pool().submit(double, 4)
    cluster.advance(60)
    assert not job.ended
    cluster.workers[0].start()
    assert cluster.wait(job) == 8


def test_so_does_one_that_comes_later() -> None:
    cluster = VirtualCluster(workers=0)
    job = cluster.pool().submit(double, 4)
    with pytest.raises(NotFired, match="within 60 virtual s"):
        cluster.wait(job, 60)
    cluster.add_worker(slots=2)
    assert cluster.wait(job) == 8


def test_a_coordinator_that_is_killed_goes_on_where_it_was() -> None:
    cluster = VirtualCluster()
    slow(cluster)
    pool = cluster.pool()
    running, queued = [pool.submit(double, n) for n in range(2)], pool.submit(double, 2)
    cluster.advance(30)
    cluster.coordinator.kill()
    cluster.advance(5)
    meanwhile = pool.submit(double, 3)
    cluster.coordinator.start()
    assert [cluster.wait(job) for job in (*running, queued, meanwhile)] == [0, 2, 4, 6]
    assert cluster.wait(running[0].info()).attempts == 1


def test_without_a_disk_its_jobs_are_lost() -> None:
    cluster = VirtualCluster(durable=False)
    slow(cluster)
    job = cluster.pool().submit(double, 1)
    cluster.advance(30)
    cluster.coordinator.restart()
    with pytest.raises(CoordinatorLost):
        cluster.wait(job)


def test_nor_with_another_disk() -> None:
    cluster = VirtualCluster()
    slow(cluster)
    pool = cluster.pool()
    job = pool.submit(double, 1)
    cluster.advance(30)
    cluster.coordinator.kill()
    cluster.lose_disk()
    cluster.coordinator.start()
    with pytest.raises(CoordinatorLost):
        cluster.wait(job)
    assert cluster.wait(pool.submit(double, 2)) == 4


def test_a_network_that_is_cut_delays_and_loses_nothing() -> None:
    cluster = VirtualCluster()
    slow(cluster)
    job = cluster.pool().submit(double, 1)
    cluster.advance(30)
    cluster.program.cut_off()
    cluster.advance(200)
    assert not job.ended
    cluster.program.reconnect()
    assert cluster.wait(job) == 2
    assert cluster.wait(job.info()).attempts == 1


def test_so_does_a_connection_that_is_reset_or_slow() -> None:
    cluster = VirtualCluster()
    pool = cluster.pool()
    cluster.program.slow_down(0.5)
    job = pool.submit(double, 1)
    cluster.advance(0.5)
    assert not job.ended
    assert cluster.wait(job) == 2
    cluster.program.reset_connection()
    assert cluster.wait(pool.submit(double, 2)) == 4


def test_a_machine_without_power_says_nothing() -> None:
    cluster = VirtualCluster(workers=2)
    slow(cluster)
    job = cluster.pool().submit(double, 1)
    cluster.advance(30)
    busy(cluster).power_off()
    assert cluster.wait(job) == 2
    assert cluster.now > 90


def test_a_paused_worker_goes_on() -> None:
    cluster = VirtualCluster(workers=1)
    slow(cluster, 5)
    job = cluster.pool().submit(double, 1)
    cluster.advance(1)
    cluster.workers[0].pause()
    cluster.advance(10)
    assert not job.ended
    cluster.workers[0].go_on()
    assert cluster.wait(job) == 2


def test_a_coordinator_that_does_not_answer_any_more() -> None:
    cluster = VirtualCluster()
    pool = cluster.pool(patience=60)
    cluster.wait(pool.ready())
    cluster.coordinator.kill()
    job = pool.submit(double, 1)
    with pytest.raises(NoCoordinator, match="did not come back within 60 s"):
        cluster.wait(job)
    with pytest.raises(NoCoordinator):
        cluster.wait(cluster.connect("host:8786", wait=3).ready())


def test_a_full_disk_is_told() -> None:
    cluster = VirtualCluster()
    pool = cluster.pool()
    cluster.coordinator.fill_disk()
    with pytest.raises(StorageFull):
        cluster.wait(pool.submit(double, 1))
    cluster.coordinator.make_room()
    cluster.advance(5)
    assert cluster.wait(pool.submit(double, 1)) == 2


def test_what_hangs_is_ended_by_its_deadline_or_by_its_user() -> None:
    cluster = VirtualCluster()
    cluster.plan(double, Hangs(resists=0.5))
    pool = cluster.pool()
    with pytest.raises(JobTimedOut, match="deadline"):
        cluster.wait(pool.options(deadline=100).submit(double, 1))
    job = pool.submit(double, 2)
    cluster.advance(1)
    assert cluster.wait(job.cancel()) == "running"
    with pytest.raises(JobCancelled):
        cluster.wait(job)


def test_orphans_end_with_their_program() -> None:
    cluster = VirtualCluster(settings=Settings(session_grace=5))
    slow(cluster)
    cluster.pool().options(orphans="cancel").submit(double, 1)
    cluster.advance(10)
    worker = busy(cluster)
    cluster.program.cut_off()
    cluster.advance(60)
    assert not worker.running


def test_objects_may_be_handed_over_as_they_are() -> None:
    cluster = VirtualCluster(pickling=False)
    seen: list[object] = []
    thing = object()
    cluster.wait(cluster.pool().submit(seen.append, thing))
    assert seen == [thing]


def test_functions_by_value_reach_the_workers() -> None:
    cluster = VirtualCluster(workers=1)
    factor = 7
    assert cluster.wait(cluster.pool().submit(lambda n: n * factor, 6)) == 42
    cluster.coordinator.restart()
    assert cluster.wait(cluster.pool().submit(lambda n: n + factor, 6)) == 13


def test_the_same_seed_is_the_same_run() -> None:
    def run(seed: int) -> list[float]:
        cluster = VirtualCluster(workers=3, seed=seed)
        cluster.plan(double, Crashes(seconds=1), Runs(seconds=2))
        pool, ends = cluster.pool(), []
        for number in range(6):
            cluster.wait(pool.submit(double, number))
            ends.append(cluster.now)
        return ends

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_importing_the_kit_installs_no_reactor() -> None:
    program = (
        "import sys, ampacity.testing; "
        "print([m for m in ('twisted.internet.reactor', 'ampoule', 'sqlalchemy') "
        "if m in sys.modules])"
    )
    words = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"


def test_a_blocking_program_is_tested_too() -> None:
    program = Path(__file__).with_name("blocking_program.py")
    words = [sys.executable, "-W", "error", str(program)]
    run = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "120",
        "[1.0, 2.0, 3.0]",
        "4.0 1",
        "SIGSEGV",
        "The coordinator's queue is full.",
        "True",
    ]
