"""What jobs print: whole, under their own name, with back-pressure, and bounded."""

from __future__ import annotations

import psutil
import pytest_twisted
from ampacity.protocol.limits import LOG_HEAD, LOG_TAIL
from ampacity.protocol.outcomes import Ending
from twisted.internet import defer

ensure = pytest_twisted.ensureDeferred


@ensure
async def test_each_job_has_its_own_output(worker):
    jobs = {worker.submit("say", f"out {n}", f"err {n}"): n for n in range(50)}
    for job, n in jobs.items():
        log = await worker.log(job)
        assert log.stdout.head == f"out {n}\n".encode()
        assert log.stderr.head == f"err {n}\n".encode()


@ensure
async def test_output_of_c_code_and_processes_is_the_jobs(worker):
    jobs = {}
    for n in range(20):
        jobs[worker.submit("c_print", f"c{n}")] = f"c{n}"
        jobs[worker.submit("write_through", f"w{n}")] = f"w{n}w{n} from a process\n"
    for job, text in jobs.items():
        assert (await worker.log(job)).stdout.head.decode() == text


@ensure
async def test_of_many_small_jobs_each_has_what_it_printed_and_no_other(worker, mark_file):
    for _ in range(30):
        await worker.run("perform", str(mark_file))
    ways = (("state",), ("raw", 1, "raw"), ("state",), ("say", "out", "err"), ("raw", 2, "raw"))
    batch = [worker.assignment("perform", str(mark_file), *ways[n * n % 7 % 5]) for n in range(400)]
    worker.assign(batch)
    expected = ((b"", b""), (b"raw", b""), (b"", b""), (b"out\n", b"err\n"), (b"", b"raw"))
    for n, assignment in enumerate(batch):
        log = await worker.log(assignment.job)
        assert (log.stdout.head, log.stderr.head) == expected[n * n % 7 % 5]


@ensure
async def test_a_gigabyte_costs_no_memory(worker):
    before = psutil.Process().memory_info().rss
    job = worker.submit("flood", 1024)
    log = await worker.log(job)
    total = 1024**3 + len(b"firstlast")
    assert log.stdout.head.startswith(b"firstx") and len(log.stdout.head) == LOG_HEAD
    assert log.stdout.tail.endswith(b"xlast") and len(log.stdout.tail) == LOG_TAIL
    assert log.stdout.gap == total - LOG_HEAD - LOG_TAIL
    assert psutil.Process().memory_info().rss - before < 32 * 1024**2


@ensure
async def test_an_attached_stream_is_whole(worker):
    job = worker.submit("flood", 4, attach=True)
    report = await worker.report(job)
    assert report.ending is Ending.SUCCEEDED
    data = b"".join(data for number, _, data in worker.events.outputs if number == job)
    assert data == b"first" + b"x" * 4 * 1024**2 + b"last"


@ensure
async def test_a_slow_listener_holds_the_job(worker, mark_file):
    answers = []

    def later():
        answers.append(defer.Deferred())
        return answers[-1]

    worker.events.answer = later
    job = worker.submit("talk_for_ever", str(mark_file), attach=True)
    await worker.events.until(lambda: len(worker.events.outputs) == 8)
    before = -1
    while before != len(mark_file.read_text()):
        before = len(mark_file.read_text())
        await worker.soon(_after(0.2))
    assert len(worker.events.outputs) == 8
    assert before < 20
    answers[0].callback(True)
    await worker.events.until(lambda: len(worker.events.outputs) > 8)
    worker.events.answer = lambda: defer.succeed(False)
    for answer in answers[1:]:
        answer.callback(False)
    await worker.soon(lambda: len(mark_file.read_text()) > before + 20)
    worker.end(job)
    assert (await worker.report(job)).ending is Ending.CANCELLED


def _after(seconds):
    import time

    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


@ensure
async def test_attach_to_a_running_job(worker, mark_file):
    job = worker.submit("sh", "sh", "-c", "echo one; sleep 0.5; echo two", kind="command")
    await worker.events.until(lambda: worker.events.beginnings)
    held = next(iter(worker.pool._held.values()))
    await worker.soon(lambda: held.stdout is not None)
    log = await worker.pool.attach(job, follow=True)
    assert log.stdout.head == b"one\n"
    await worker.report(job)
    assert worker.events.outputs == [(job, 1, b"two\n")]


@ensure
async def test_a_killed_jobs_attached_output_is_whole(worker):
    job = worker.submit("sh", "sh", "-c", "echo dying; kill -9 $PPID", kind="command", attach=True)
    assert (await worker.report(job)).ending is Ending.LOST
    assert worker.events.outputs == [(job, 1, b"dying\n")]


@ensure
async def test_a_slow_listener_holds_its_job_though_others_go_on(make_worker):
    worker = await make_worker(slots=2)
    slow = worker.submit("flood", 16, attach=True)
    quick: list[int] = []
    waiting = []

    def answer():
        if worker.events.outputs[-1][0] != slow:
            return defer.succeed(True)
        waiting.append(defer.Deferred())
        return waiting[-1]

    worker.events.answer = answer
    for _ in range(3):
        quick.append(worker.submit("flood", 4, attach=True))
        await worker.report(quick[-1])
    (held,) = [held for held in worker.pool._held.values() if held.job == slow]
    assert sum(len(data) for _, _, data in held.attached._pieces) <= 1024**2
    worker.events.answer = lambda: defer.succeed(True)
    for waits in waiting:
        waits.callback(True)
    await worker.report(slow)
    for job, size in ((slow, 16), *((job, 4) for job in quick)):
        data = b"".join(data for number, _, data in worker.events.outputs if number == job)
        assert data == b"first" + b"x" * size * 1024**2 + b"last"
