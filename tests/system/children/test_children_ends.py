"""How real children end, and what becomes of their jobs: crashes, cancels, time-outs, shutdown."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
import pytest_twisted
from ampacity.protocol.errors import CannotStart
from ampacity.protocol.outcomes import Ending
from ampacity.workers import launch
from ampacity.workers.ending import Grace
from twisted.internet import reactor
from twisted.internet.task import deferLater

ensure = pytest_twisted.ensureDeferred


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@ensure
@pytest.mark.parametrize(
    ("target", "args", "signal_name", "code"),
    [
        ("leave", (0,), None, 0),
        ("leave", (7,), None, 7),
        ("crash", (), "SIGSEGV", None),
        ("die", (9,), "SIGKILL", None),
    ],
)
async def test_a_death_loses_one_attempt_and_nothing_else(worker, target, args, signal_name, code):
    jobs = [worker.submit("add", n) for n in range(3)]
    bad = worker.submit(target, *args)
    jobs += [worker.submit("add", n) for n in range(3, 20)]
    assert [await worker.value(job) for job in jobs] == list(range(20))
    outcome = await worker.outcome(bad)
    assert worker.events.reports[bad].ending is Ending.LOST
    evidence = outcome.evidence
    assert (evidence.signal, evidence.exit_code) == (signal_name, code)
    assert evidence.worker == "this-worker" and evidence.pid and evidence.peak_memory
    assert evidence.reason


@ensure
async def test_the_last_words_of_a_dead_job_are_kept(worker):
    job = worker.submit("sh", "sh", "-c", "echo before >&2; kill -9 $PPID; sleep 5", kind="command")
    outcome = await worker.outcome(job)
    assert worker.events.reports[job].ending is Ending.LOST
    assert outcome.tail == b"before\n"
    assert (await worker.log(job)).stderr.head == b"before\n"


@ensure
async def test_out_of_memory_is_a_failure_and_no_limit_for_the_next(worker):
    before = await worker.run("pid")
    job = worker.submit("hog_within", 1 << 30)
    outcome = await worker.outcome(job)
    assert worker.events.reports[job].ending is Ending.FAILED
    assert outcome.error.type_name == "MemoryError"
    assert await worker.run("pid") != before


@ensure
async def test_closed_pipes_lose_the_attempt(worker):
    started = time.monotonic()
    job = worker.submit("close_everything")
    assert (await worker.report(job)).ending is Ending.LOST
    assert time.monotonic() - started < 5
    assert await worker.run("add", 1) == 1


@pytest.mark.alone
@ensure
async def test_a_grandchild_that_holds_the_pipes_delays_nothing(worker):
    started = time.monotonic()
    job = worker.submit("leave_with_grandchild", 1)
    outcome = await worker.outcome(job)
    assert outcome.evidence.exit_code == 1
    assert await worker.run("add", 1) == 1
    assert time.monotonic() - started < 2.5
    await worker.soon(lambda: not _orphans())


def _orphans() -> list[psutil.Process]:
    """Processes that carry this run's mark and are nobody's children any more."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.ppid() == 1 and os.environ.get(
                "TESTS_OF_AMPACITY", "?"
            ) == process.environ().get("TESTS_OF_AMPACITY"):
                found.append(process)
        except psutil.Error:
            continue
    return found


@ensure
async def test_what_a_job_leaves_running_ends_with_it(worker):
    job = worker.submit("leave_process_behind", 60)
    after = worker.submit("say", "mine")
    pid = await worker.value(job)
    assert await worker.value(after) == "mine"
    await worker.soon(lambda: not alive(pid))
    job = worker.submit("printing_process")
    after = worker.submit("time:sleep", 0.4)
    await worker.report(after)
    assert (await worker.report(after)).log == b""


@ensure
async def test_a_copy_of_the_child_runs_nothing(worker):
    jobs = [worker.submit("forked_copy"), *(worker.submit("add", n) for n in range(5))]
    assert [await worker.value(job) for job in jobs] == ["original", 0, 1, 2, 3, 4]


# -- cancel and time-out --------------------------------------------------------------------------


@ensure
async def test_cancel_while_queued(worker, mark_file):
    long = worker.submit("mark_and_wait", str(mark_file), 0.2)
    queued = worker.submit("mark", str(mark_file))
    worker.end(queued)
    report = await worker.report(queued)
    assert report.ending is Ending.CANCELLED and report.began is None
    await worker.report(long)
    assert await worker.run("add", 1) == 1
    assert mark_file.read_text() == "x"


@ensure
@pytest.mark.parametrize(
    ("target", "signal_name"),
    [("mark_and_spin", "SIGINT"), ("stubborn", "SIGTERM"), ("very_stubborn", "SIGKILL")],
)
async def test_cancel_ends_what_runs_and_says_how(worker, mark_file, target, signal_name):
    job = worker.submit(target, str(mark_file))
    others = [worker.submit("add", n) for n in range(10)]
    await worker.soon(mark_file.read_text)
    await deferLater(reactor, 0.2)  # from the mark to where it is stubborn
    worker.end(job)
    outcome = await worker.outcome(job)
    assert worker.events.reports[job].ending is Ending.CANCELLED
    assert outcome.evidence.signal == signal_name
    assert signal_name in outcome.evidence.reason and "cancelled" in outcome.evidence.reason
    assert [await worker.value(other) for other in others] == list(range(10))
    assert await worker.run("add", 1) == 1


@ensure
async def test_an_interrupted_job_may_clear_up(worker, mark_file):
    job = worker.submit("polite", str(mark_file))
    await worker.soon(mark_file.read_text)
    worker.end(job)
    outcome = await worker.outcome(job)
    assert outcome.evidence.signal == "SIGINT"
    assert (await worker.log(job)).stdout.head == b"cleared up\n"


@ensure
async def test_cancel_ends_the_jobs_processes_too(worker, tmp_path):
    path = tmp_path / "pids"
    job = worker.submit("sleep_with_family", str(path))
    await worker.soon(lambda: path.exists() and path.read_text())
    pids = [int(word) for word in path.read_text().split()]
    worker.end(job)
    await worker.report(job)
    await worker.soon(lambda: not any(map(alive, pids)))


@ensure
async def test_a_cancelled_command_is_ended(worker):
    job = worker.submit("sleep", "sleep", "60", kind="command")
    await worker.events.until(lambda: worker.events.beginnings)
    worker.end(job)
    outcome = await worker.outcome(job)
    assert worker.events.reports[job].ending is Ending.CANCELLED
    assert outcome.evidence.signal == "SIGINT"


@ensure
@pytest.mark.parametrize(
    ("target", "signal_name"), [("mark_and_spin", "SIGINT"), ("very_stubborn", "SIGKILL")]
)
async def test_time_out(worker, mark_file, target, signal_name):
    job = worker.submit(target, str(mark_file), timeout=0.3)
    outcome = await worker.outcome(job)
    report = worker.events.reports[job]
    assert report.ending is Ending.TIMED_OUT
    assert 0.3 <= report.seconds < 3
    assert outcome.evidence.signal == signal_name
    assert "timed out" in outcome.evidence.reason


@ensure
async def test_a_superseded_attempt_ends_without_a_word(worker, mark_file):
    job = worker.submit("mark_and_spin", str(mark_file))
    await worker.soon(mark_file.read_text)
    worker.end(job, "superseded")
    assert await worker.run("add", 1) == 1
    assert job not in worker.events.reports
    await worker.soon(lambda: worker.pool.held() == [])


@ensure
async def test_a_deadline_is_a_time_out(worker, mark_file):
    job = worker.submit("mark_and_spin", str(mark_file))
    await worker.soon(mark_file.read_text)
    worker.end(job, "deadline")
    assert (await worker.report(job)).ending is Ending.TIMED_OUT


# -- starting -------------------------------------------------------------------------------------


@ensure
async def test_an_interpreter_that_is_not_there(make_worker):
    worker = await make_worker(started=False, python="/no/such/python")
    with pytest.raises(CannotStart, match="/no/such/python"):
        await worker.pool.start()


@ensure
async def test_an_interpreter_without_ampacity(make_worker, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    python = str(tmp_path / "bare" / "bin" / "python")
    worker = await make_worker(started=False, python=python)
    with pytest.raises(CannotStart, match=f"{python} -m pip install ampacity"):
        await worker.pool.start()


@ensure
async def test_a_child_that_dies_at_its_start(make_worker, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif '-c' in sys.orig_argv: os.write(2, b'no luck today'); os._exit(9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = await make_worker(2, started=False)
    with pytest.raises(CannotStart, match=r"exit code 9.*\n?no luck today"):
        await worker.pool.start()
    job = worker.submit("add", 1)
    outcome = await worker.outcome(job)
    assert worker.events.reports[job].ending is Ending.FAILED
    assert outcome.error.type_name == "CannotStart" and "no luck today" in outcome.error.message
    monkeypatch.setenv("PYTHONPATH", "")
    assert await worker.run("add", 1) == 1


@ensure
async def test_the_set_up_function(make_worker, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent / "jobs")
    worker = await make_worker(setup="deeds:set_up")
    job = worker.submit("environment", "WAS_SET_UP")
    assert await worker.value(job) == "yes"
    assert (await worker.report(job)).log == b""
    assert await worker.run("environment", "WAS_SET_UP") == "yes"
    bad = await make_worker(started=False, setup="deeds:bad_set_up")
    with pytest.raises(CannotStart, match="no licence for this"):
        await bad.pool.start()


@ensure
async def test_no_room_for_a_process_is_waited_out(worker, monkeypatch):
    real = reactor.spawnProcess
    tries = []

    def full(*args, **kwargs):
        tries.append(1)
        if len(tries) < 5:
            raise OSError(errno.EAGAIN, "no more processes")
        return real(*args, **kwargs)

    monkeypatch.setattr(reactor, "spawnProcess", full)
    lost = worker.submit("leave", 0)
    job = worker.submit("add", 4)
    assert await worker.value(job) == 4
    assert (await worker.report(lost)).ending is Ending.LOST
    assert len(tries) == 5


@ensure
async def test_a_release_that_is_being_upgraded(worker, make_worker, monkeypatch):
    """What it imports is not there for a moment, or for longer."""
    real = launch.child_environment
    tries = []

    def half_installed(*args):
        tries.append(1)
        if len(tries) < 3:
            raise ImportError("no module of this name")
        return real(*args)

    monkeypatch.setattr(launch, "child_environment", half_installed)
    lost = worker.submit("leave", 0)
    job = worker.submit("add", 4)
    assert await worker.value(job) == 4
    assert (await worker.report(lost)).ending is Ending.LOST
    monkeypatch.setattr(launch, "child_environment", lambda *_: 1 / 0)
    bad = await make_worker(started=False)
    with pytest.raises(CannotStart, match="no child can be started: ZeroDivisionError"):
        await bad.pool.start()


# -- the end of the worker ------------------------------------------------------------------------


@ensure
async def test_stop_with_busy_children(make_worker, mark_file):
    worker = await make_worker(2)
    jobs = [worker.submit("very_stubborn", str(mark_file)) for _ in range(2)]
    jobs += [worker.submit("add", n) for n in range(5)]
    await worker.soon(lambda: len(mark_file.read_text()) == 2)
    pids = [child.pid for child in worker.pool._crew.all()]
    began = time.monotonic()
    await worker.stop(0.1)
    assert time.monotonic() - began < 3
    assert not any(map(alive, pids))
    assert {h.job for h in worker.events.given_back} == set(jobs)
    assert worker.events.reports == {}


@ensure
async def test_stop_lets_jobs_end_within_the_grace(make_worker, mark_file):
    worker = await make_worker()
    job = worker.submit("mark_and_wait", str(mark_file), 0.3)
    await worker.soon(mark_file.read_text)
    await worker.stop(10)
    assert worker.events.reports[job].ending is Ending.SUCCEEDED


_AGENT = """
import sys
from pathlib import Path
from twisted.internet import reactor
from ampacity.workers.slots import SlotPool
sys.path.insert(0, {tests!r})
import conftest

async def main():
    worker = conftest.Worker(3, Path({folder!r}))
    await worker.pool.start()
    worker.submit("very_stubborn", {marks!r})
    worker.submit("sleep_with_family", {family!r})
    pids = [child.pid for child in worker.pool._crew.all()]
    print(*pids, flush=True)

from twisted.internet.defer import Deferred
reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()))
reactor.run()
"""


@ensure
async def test_no_child_survives_the_agents_death(worker, tmp_path, mark_file):
    family = tmp_path / "family"
    folder = tmp_path / "other"
    folder.mkdir()
    text = textwrap.dedent(_AGENT).format(
        tests=str(Path(__file__).parent),
        folder=str(folder),
        marks=str(mark_file),
        family=str(family),
    )
    agent = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    try:
        pids = [int(word) for word in agent.stdout.readline().split()]
        await worker.soon(lambda: mark_file.read_text() and family.exists() and family.read_text())
        pids += [int(word) for word in family.read_text().split()]
        assert len(pids) == 5 and all(map(alive, pids))
    finally:
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        agent.stdout.close()
    await worker.soon(lambda: not any(map(alive, pids)), 3)


@ensure
async def test_a_signal_from_outside_loses_the_attempt(worker, mark_file):
    job = worker.submit("mark_and_spin", str(mark_file))
    await worker.soon(mark_file.read_text)
    (child,) = worker.pool._crew.children()
    os.kill(child.pid, signal.SIGTERM)
    outcome = await worker.outcome(job)
    assert worker.events.reports[job].ending is Ending.LOST
    assert outcome.evidence.signal == "SIGTERM"
    assert Grace().interrupt == 1.0
