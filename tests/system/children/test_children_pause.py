"""A worker's own pause: jobs that its children ended meanwhile have succeeded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest_twisted

ensure = pytest_twisted.ensureDeferred

_AGENT = """
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
sys.path.insert(0, {tests!r})
import conftest

async def main():
    worker = conftest.Worker(2, Path({folder!r}))
    await worker.pool.start()
    finished = worker.submit("mark_and_wait", {marks!r}, 1.0, timeout=3.0)
    running = worker.submit("mark_and_wait", {marks!r}, 60.0, timeout=3.0)
    print(finished, running, *[child.pid for child in worker.pool._crew.all()], flush=True)
    for job in (finished, running):
        report = await worker.report(job, timeout=60)
        print(job, report.ending.words, round(report.seconds), flush=True)
    await worker.stop(0)
    reactor.stop()

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()))
reactor.run()
"""


@ensure
async def test_time_outs_after_a_pause(worker, tmp_path, mark_file):
    folder = tmp_path / "other"
    folder.mkdir()
    text = _AGENT.format(tests=str(Path(__file__).parent), folder=str(folder), marks=str(mark_file))
    agent = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    children: list[psutil.Process] = []
    try:
        finished, running, *pids = map(int, agent.stdout.readline().split())
        children = [psutil.Process(pid) for pid in pids]
        await worker.soon(lambda: len(mark_file.read_text()) == 2)
        os.kill(agent.pid, signal.SIGSTOP)
        await worker.soon(lambda: sum(c.status() == "sleeping" for c in children) == 2)
        await worker.run("time:sleep", 5.0)  # longer than both time-outs
        os.kill(agent.pid, signal.SIGCONT)
        said = [agent.stdout.readline().split(None, 1) for _ in range(2)]
        assert agent.wait(30) == 0
    finally:
        for process in (agent, *children):
            if process.poll() is None if process is agent else process.is_running():
                process.kill()
        agent.wait()
        agent.stdout.close()
    assert said[0] == [str(finished), "succeeded 1\n"]
    job, words = said[1]
    assert job == str(running)
    *ending, seconds = words.split()
    assert ending == ["timed", "out"]
    assert 7 <= int(seconds) <= 12  # three seconds of the agent's, awake
