"""Jobs behind a long one, in real children: they go elsewhere, or back."""

from __future__ import annotations

import time

import pytest
import pytest_twisted
from ampacity.protocol.outcomes import Ending
from ampacity.protocol.ports import Holding

ensure = pytest_twisted.ensureDeferred


@pytest.mark.alone
@ensure
async def test_short_jobs_behind_a_long_one_go_elsewhere_and_run_once(make_worker, mark_file):
    worker = await make_worker(2)
    quick = [worker.submit("mark_and_wait", str(mark_file), 0) for _ in range(40)]
    for job in quick:
        await worker.report(job)
    mark_file.write_text("")
    began = time.monotonic()
    batch = [
        worker.assignment("mark_and_wait", str(mark_file), 3 if n == 0 else 0) for n in range(40)
    ]
    worker.assign(batch)  # a child that is slow to start may have some given back
    short = {a.job for a in batch[1:]}
    await worker.events.until(lambda: short <= worker.events.reports.keys())
    assert time.monotonic() - began < 1
    assert len(mark_file.read_text()) == 40
    assert batch[0].job not in worker.events.reports
    worker.end(batch[0].job)
    await worker.report(batch[0].job)


@pytest.mark.alone
@ensure
async def test_jobs_behind_a_long_one_are_given_back(worker, mark_file):
    for _ in range(20):
        await worker.run("mark_and_wait", str(mark_file), 0)
    mark_file.write_text("")
    batch = [
        worker.assignment("mark_and_wait", str(mark_file), 2 if n == 0 else 0) for n in range(20)
    ]
    began = time.monotonic()
    worker.pool.assign(batch)
    rest = {a.job for a in batch[1:]}
    await worker.events.until(lambda: len(worker.events.given_back) == 19)
    assert time.monotonic() - began < 0.25
    assert {holding.job for holding in worker.events.given_back} == rest
    await worker.report(batch[0].job)
    assert mark_file.read_text() == "x"
    await worker.soon(lambda: worker.pool.held() == [])


@ensure
async def test_retract_takes_from_a_busy_child(worker, mark_file):
    for _ in range(20):
        await worker.run("mark_and_wait", str(mark_file), 0)
    batch = [
        worker.assignment("mark_and_wait", str(mark_file), 0.5 if n == 0 else 0) for n in range(9)
    ]
    worker.pool.assign(batch)
    await worker.soon(lambda: len(mark_file.read_text()) == 21)
    worker.pool.retract([Holding(a.job, a.attempt) for a in batch])
    assert {h.job for h in worker.events.given_back} == {a.job for a in batch[1:]}
    assert (await worker.report(batch[0].job)).ending is Ending.SUCCEEDED


async def know(worker, mark_file, count=40):
    """Have the worker know that ``perform`` takes no time, and its children ready."""
    for _ in range(count):
        await worker.run("perform", str(mark_file))
    mark_file.write_text("")


def batch_with(worker, mark_file, count, **deeds):
    """So many jobs of no time, and at the places ``at_N`` others."""
    return [
        worker.assignment("perform", str(mark_file), *deeds.get(f"at_{n}", ()))
        for n in range(count)
    ]


@pytest.mark.alone
@ensure
async def test_what_ended_before_a_long_job_is_told_while_that_runs(worker, mark_file):
    await know(worker, mark_file)
    batch = batch_with(worker, mark_file, 21, at_20=("nap", 2))
    began = time.monotonic()
    worker.pool.assign(batch)
    long = batch[-1].job
    await worker.events.until(lambda: len(worker.events.reports) >= 60)
    await worker.events.until(lambda: long in {b.job for b in worker.events.beginnings})
    assert time.monotonic() - began < 0.25
    assert long not in worker.events.reports
    (beginning,) = (b for b in worker.events.beginnings if b.job == long)
    report = await worker.report(long)
    assert abs(report.began - beginning.began) < 0.02
    assert 2 <= report.seconds < 2.5


@pytest.mark.alone
@ensure
async def test_what_was_given_ahead_of_its_turn_comes_back_from_behind_a_long_job(
    worker, mark_file
):
    await know(worker, mark_file)
    batch = batch_with(worker, mark_file, 400, at_5=("nap", 2))
    began = time.monotonic()
    worker.pool.assign(batch)
    await worker.events.until(lambda: len(worker.events.given_back) == 394)
    assert time.monotonic() - began < 0.4
    assert {h.job for h in worker.events.given_back} == {a.job for a in batch[6:]}
    assert (await worker.report(batch[5].job)).ending is Ending.SUCCEEDED
    assert mark_file.read_text() == "x" * 6


@pytest.mark.alone
@ensure
async def test_a_long_job_behind_short_ones_does_not_wait_for_a_busy_child(make_worker, mark_file):
    worker = await make_worker(2)
    await know(worker, mark_file, 200)
    began = time.monotonic()
    worker.assign(batch_with(worker, mark_file, 4, at_0=("nap", 2), at_3=("nap", 0.01)))
    await worker.events.until(lambda: len(worker.events.reports) == 203)
    assert time.monotonic() - began < 0.5
    assert mark_file.read_text() == "x" * 4


@ensure
async def test_a_crash_costs_the_short_jobs_around_it_nothing(worker, mark_file):
    await know(worker, mark_file)
    batch = batch_with(worker, mark_file, 30, at_15=("die", 9))
    worker.assign(batch)
    await worker.events.until(lambda: len(worker.events.reports) == 70)
    endings = [worker.events.reports[a.job].ending for a in batch]
    assert endings == [Ending.SUCCEEDED] * 15 + [Ending.LOST] + [Ending.SUCCEEDED] * 14
    assert mark_file.read_text() == "x" * 30


@ensure
async def test_a_crash_costs_those_whose_reports_wait_for_each_other_nothing(worker, mark_file):
    """While enough waits, what ended a few milliseconds before the crash is not told yet."""
    await know(worker, mark_file)
    brief = ("nap", 0.0005)
    places = {f"at_{n}": brief for n in range(100)} | {"at_50": ("die", 9)}
    batch = batch_with(worker, mark_file, 100, **places)
    worker.assign(batch)
    await worker.events.until(lambda: len(worker.events.reports) == 140)
    endings = [worker.events.reports[a.job].ending for a in batch]
    assert endings == [Ending.SUCCEEDED] * 50 + [Ending.LOST] + [Ending.SUCCEEDED] * 49
    assert mark_file.read_text() == "x" * 100


@pytest.mark.alone
@ensure
async def test_a_child_that_is_free_takes_over_what_waits_behind_another(make_worker, mark_file):
    worker = await make_worker(2)
    for _ in range(20):
        await worker.run("perform", str(mark_file), "nap", 0.004)
    waited = []
    for _ in range(5):
        batch = batch_with(worker, mark_file, 4, at_0=("nap", 0.3), at_1=("nap", 0.004))
        worker.assign(batch)
        told = [await worker.report(assignment.job) for assignment in batch]
        first, others = told[0], told[1:]
        assert all(other.began + other.seconds < first.began + first.seconds for other in others)
        waited.append(max(other.began for other in others) - first.began)
    assert min(waited) < 0.02
    assert mark_file.read_text() == "x" * 40


@ensure
async def test_a_short_job_that_is_cancelled_is_the_one_that_ends(worker, mark_file):
    await know(worker, mark_file)
    batch = batch_with(worker, mark_file, 30, at_15=("nap", 20))
    worker.assign(batch)
    await worker.soon(lambda: len(mark_file.read_text()) == 16)
    worker.end(batch[15].job)
    await worker.events.until(lambda: len(worker.events.reports) == 70)
    endings = [worker.events.reports[a.job].ending for a in batch]
    assert endings == [Ending.SUCCEEDED] * 15 + [Ending.CANCELLED] + [Ending.SUCCEEDED] * 14
    assert mark_file.read_text() == "x" * 30


@ensure
async def test_a_client_with_short_jobs_without_end_does_not_keep_out_another(worker, mark_file):
    await know(worker, mark_file)
    for _ in range(4):
        worker.assign(batch_with(worker, mark_file, 64))
    told: list[int] = []
    finished = worker.events.finished

    def feed(reports):
        told.extend(report.job for report in reports)
        if len(told) >= 32 and other not in told:
            told.clear()
            worker.assign(batch_with(worker, mark_file, 64))
        return finished(reports)

    other = worker.submit("add", 1, 2, client="another")
    worker.events.finished = feed
    assert (await worker.report(other, 15)).ending is Ending.SUCCEEDED
    worker.events.finished = finished
