"""What is known of an attempt that was lost: everything that can be, for each kind of death."""

from __future__ import annotations

import os
import signal
import socket
import time
import uuid
from pathlib import Path

import pytest
import pytest_twisted
from ampacity.protocol.outcomes import Ending

ensure = pytest_twisted.ensureDeferred
MEGABYTE = 1 << 20


async def evidence_of(worker, job, tail):
    """The evidence of a lost job, with what it must hold in any case."""
    report = await worker.report(job, timeout=60)
    outcome = await worker.outcome(job)
    assert report.ending is Ending.LOST
    assert report.began is not None and abs(report.began - time.time()) < 100
    assert 0 < report.seconds < 100
    assert outcome.tail == tail
    log = await worker.log(job)
    assert log.stdout.head and log.stderr.head == tail
    evidence = outcome.evidence
    assert evidence.worker == "this-worker"
    assert evidence.host == socket.gethostname()
    assert evidence.pid and evidence.peak_memory
    return evidence


@ensure
async def test_a_child_that_was_killed(worker, mark_file):
    job = worker.submit("grow", str(mark_file), 100)
    (child,) = worker.pool._crew.children()
    await worker.soon(mark_file.read_text)
    await worker.soon(lambda: child.peak_memory > 100 * MEGABYTE)
    os.kill(child.pid, signal.SIGKILL)
    evidence = await evidence_of(worker, job, b"to the end\n")
    assert (evidence.signal, evidence.exit_code, evidence.pid) == ("SIGKILL", None, child.pid)
    assert 100 * MEGABYTE < evidence.peak_memory < 400 * MEGABYTE
    assert "SIGKILL" in evidence.reason


@ensure
async def test_exit_code_0_in_the_middle_of_a_job(worker):
    evidence = await evidence_of(worker, worker.submit("last_words", 0), b"goodbye\n")
    assert (evidence.signal, evidence.exit_code) == (None, 0)
    assert evidence.peak_memory > 5 * MEGABYTE
    assert "exit code 0" in evidence.reason


@pytest.fixture
def small_group():
    """A control group with room for 150 MiB."""
    for root in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        group = root / f"ampacity-test-{uuid.uuid4().hex[:8]}"
        try:
            group.mkdir()
        except OSError:
            continue
        limit = group / ("memory.max" if root.name == "cgroup" else "memory.limit_in_bytes")
        if limit.exists():
            limit.write_text(str(150 * MEGABYTE))
            break
        group.rmdir()
    else:
        pytest.skip("no control group of memory can be made here")
    yield group
    group.rmdir()


@ensure
async def test_memory_that_runs_out_under_a_limit(worker, small_group, mark_file):
    job = worker.submit("grow", str(mark_file), 1000, str(small_group))
    evidence = await evidence_of(worker, job, b"to the end\n")
    assert mark_file.read_text() == ""
    assert (evidence.signal, evidence.exit_code) == ("SIGKILL", None)
    assert evidence.peak_memory > 50 * MEGABYTE
    assert "memory" in evidence.reason
    assert await worker.run("add", 1, 1) == 2
