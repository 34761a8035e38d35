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
    worker.pool.assign(batch)
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
