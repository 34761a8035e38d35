"""A coordinator that is killed and started again: its worker goes on meanwhile, and is believed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_JOBS = """
import pathlib, time
def work(name, seconds, size):
    with open(f"{name}.begun", "a") as file:
        file.write("x")
    time.sleep(seconds)
    pathlib.Path(f"{name}.ended").touch()
    return name * size
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def folder(tmp_path: Path, access_folder: Path) -> Path:
    """Where the jobs' module is, and what they leave."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "working.py").write_text(_JOBS)
    return folder


@pytest.fixture
def start(folder: Path, ampacity_command: list[str]) -> Iterator[Start]:
    """Starts a service of the command line; ready when this returns."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        ready = folder / f"ready-{len(processes)}"
        log = (folder / f"log-{len(processes)}").open("wb")
        command = [*ampacity_command, *words, "--ready-file", str(ready)]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        log.close()
        processes.append(process)
        until(lambda: ready.exists() and ready.read_text())
        return process

    yield start
    for process in reversed(processes):
        process.terminate()
        process.wait(60)


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_what_ended_and_what_ran_meanwhile_is_taken(
    folder: Path, start: Start, ampacity_command: list[str], access_folder: Path
) -> None:
    def ask(*words: str) -> str:
        done = subprocess.run(
            [*ampacity_command, *words], cwd=folder, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    coordinator = start("coordinator")
    worker = start("join", f"unix:{access_folder / 'coordinator.socket'}", "--slots", "3")
    wanted = {"a": (1.0, 3), "b": (1.0, 200_000), "c": (8.0, 3)}
    for name, (seconds, size) in wanted.items():
        ask("submit", "--cwd", str(folder), "working:work", name, str(seconds), str(size))
    until(lambda: all((folder / f"{name}.begun").exists() for name in wanted))
    coordinator.send_signal(signal.SIGKILL)
    coordinator.wait()
    until(lambda: (folder / "a.ended").exists() and (folder / "b.ended").exists())
    start("coordinator")
    ask("wait", "1", "2", "3")
    for number, (name, (_, size)) in enumerate(wanted.items(), 1):
        assert (folder / f"{name}.begun").read_text() == "x"
        assert ask("result", str(number)).strip() == name * size
        about = json.loads(ask("job", str(number), "--json"))
        assert (about["state"], about["attempts"], about["losses"]) == ("succeeded", 1, 0)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(60) == 0
