"""Real children of a worker that its coordinator has given up, or that must wait for it."""

from __future__ import annotations

import time

import psutil
import pytest
import pytest_twisted
from ampacity.protocol.limits import OUTPUT_IN_FLIGHT
from ampacity.protocol.outcomes import Ending
from ampacity.workers.ending import Grace
from twisted.internet import defer

ensure = pytest_twisted.ensureDeferred


@ensure
@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_superseded_job_is_killed_at_once(make_worker, mark_file, cancelled):
    worker = await make_worker(grace=Grace(interrupt=60, terminate=60))
    job = worker.submit("very_stubborn", str(mark_file))
    await worker.soon(mark_file.read_text)
    (child,) = worker.pool._crew.children()
    if cancelled:
        worker.end(job)
    began = time.monotonic()
    worker.end(job, "superseded")
    assert await worker.run("add", 1, 1) == 2
    assert time.monotonic() - began < 10
    assert not psutil.pid_exists(child.pid)
    assert list(worker.events.reports) == [job + 1]
    assert worker.events.given_back == []


@ensure
async def test_another_store_names_an_attempt_as_the_one_that_was_dropped(
    make_worker, mark_file, tmp_path
):
    worker = await make_worker()
    dropped = worker.assignment("very_stubborn", str(mark_file))
    worker.assign([dropped])
    await worker.soon(mark_file.read_text)
    worker.end(dropped.job, "superseded")
    mark = tmp_path / "new"
    mark.touch()
    new = worker.assignment("mark_and_wait", str(mark), 60.0)
    worker.assign([new._replace(job=dropped.job, attempt=dropped.attempt)])
    await worker.soon(mark.read_text)
    assert [one.job for one in worker.pool.held()] == [dropped.job]
    worker.end(dropped.job)
    assert (await worker.report(dropped.job)).ending is Ending.CANCELLED


@ensure
async def test_nothing_begins_while_it_is_held_back(make_worker, mark_file):
    worker = await make_worker(2)
    running = worker.submit("mark_and_wait", str(mark_file), 0.5)
    await worker.soon(mark_file.read_text)
    worker.pool.hold_back(True)
    waiting = [worker.submit("add", n) for n in range(5)]
    assert (await worker.report(running)).ending is Ending.SUCCEEDED
    await worker.soon(lambda: not any(child.busy for child in worker.pool._crew.children()))
    assert list(worker.events.reports) == [running]
    worker.pool.hold_back(False)
    assert [await worker.value(job) for job in waiting] == list(range(5))


@ensure
async def test_output_that_nobody_takes_does_not_keep_a_report(make_worker, monkeypatch):
    monkeypatch.setattr("ampacity.workers.slots.STORE_SECONDS", 0.2)
    worker = await make_worker()
    worker.events.answer = defer.Deferred
    printed = OUTPUT_IN_FLIGHT + 2  # the last ones wait for an answer that does not come
    job = worker.submit("print_apart", printed, attach=True)
    (child,) = worker.pool._crew.children()
    await worker.soon(lambda: worker.events.outputs)
    await worker.soon(lambda: not child.busy)
    assert worker.events.reports == {}
    await worker.stop(0)
    assert worker.events.reports[job].ending is Ending.SUCCEEDED
