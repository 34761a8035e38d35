"""Coordinator and worker as services: what systemd is told, signals, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ampacity
import attrs
import pytest

MODULE = """
import os, time

def variables():
    return sorted(name for name in os.environ if name.startswith(("NOTIFY_", "WATCHDOG_")))

def until(path):
    print("waiting", flush=True)
    while not os.path.exists(path):
        time.sleep(0.02)
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@attrs.frozen
class Supervised:
    """The socket of a supervisor, and the environment that names it."""

    door: socket.socket
    path: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": "6000000"}

    def wait_for(self, line: str, seconds: float = 60.0) -> list[str]:
        """The lines up to one that begins like this."""
        lines: list[str] = []
        until = time.monotonic() + seconds
        while not any(one.startswith(line) for one in lines):
            ready, _, _ = select.select([self.door], [], [], max(0, until - time.monotonic()))
            assert ready, f"{line} does not come; there was {lines}"
            lines += self.door.recv(4096).decode().splitlines()
        return lines


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    path = tmp_path / "n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(path))
        yield Supervised(door, path)


@pytest.fixture
def run(ampacity_command: list[str], access_folder: Path, tmp_path: Path) -> Run:
    (tmp_path / "mine.py").write_text(MODULE)

    def run_command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ampacity_command, *words], capture_output=True, text=True, timeout=60, cwd=tmp_path
        )

    return run_command


@contextlib.contextmanager
def service(words: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A service in the foreground; killed, if a test has not ended it."""
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def test_a_coordinator_tells_its_supervisor(
    supervised: Supervised, run: Run, ampacity_command: list[str]
) -> None:
    words = [*ampacity_command, "up", "--slots", "1"]
    with service(words, env=supervised.environment) as up:
        assert supervised.wait_for("READY=1")[:1] == ["READY=1"]
        supervised.wait_for("WATCHDOG=1")
        supervised.wait_for("WATCHDOG=1", 5)
        assert run("run", "mine:variables").stdout == "[]\n"
        up.send_signal(signal.SIGTERM)
        supervised.wait_for("STOPPING=1")
        assert up.wait(30) == 0


@pytest.fixture
def twist(ampacity_command: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Under it, the coordinator; Twisted finds plugins of a checkout by way of the path only."""
    monkeypatch.setenv("PYTHONPATH", str(Path(ampacity.__file__).parent))
    return [str(Path(ampacity_command[0]).with_name("twist")), "ampacity-coordinator"]


def test_twist_tells_it_as_well(supervised: Supervised, run: Run, twist: list[str]) -> None:
    with service([*twist, "--slots", "1", "--ephemeral"], env=supervised.environment) as up:
        supervised.wait_for("READY=1")
        assert run("run", "mine:variables").stdout == "[]\n"
        up.send_signal(signal.SIGTERM)
        supervised.wait_for("STOPPING=1")
        assert up.wait(30) == 0


def test_twist_says_by_its_exit_code_that_it_cannot_start(run: Run, twist: list[str]) -> None:
    assert run("up", "--detach", "--slots", "1").returncode == 0
    with service(twist) as second:
        assert second.wait(30) == 4
    assert run("down").returncode == 0


@pytest.fixture
def coordinator(run: Run, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """One that listens for workers."""
    ready = tmp_path / "ready.json"
    words = ("coordinator", "--detach", "--listen", "tcp:127.0.0.1:0", "--ready-file", str(ready))
    done = run(*words)
    assert done.returncode == 0, done.stderr
    yield json.loads(ready.read_text())
    run("down")


def test_a_worker_tells_its_supervisor(
    supervised: Supervised, coordinator: dict[str, Any], run: Run, ampacity_command: list[str]
) -> None:
    words = [*ampacity_command, "join", coordinator["join"], "--slots", "1"]
    with service(words, env=supervised.environment) as worker:
        lines = supervised.wait_for("READY=1")
        assert lines[0].startswith("STATUS=looks for the coordinator at 127.0.0.1:")
        assert run("run", "mine:variables").stdout == "[]\n"
        worker.send_signal(signal.SIGTERM)
        supervised.wait_for("STOPPING=1")
        assert worker.wait(30) == 0


def test_a_second_signal_ends_the_grace(
    coordinator: dict[str, Any], run: Run, ampacity_command: list[str], tmp_path: Path
) -> None:
    words = [*ampacity_command, "join", coordinator["join"], "--slots", "1", "--grace", "10m"]
    with service(words) as worker:
        assert worker.stdout is not None
        assert "joined" in worker.stdout.readline()
        following = [*ampacity_command, "run", "mine:until", "never"]
        with service(following, cwd=tmp_path) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == "waiting\n"
            worker.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                worker.wait(1)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
            assert run("cancel", "1").returncode == 0


def test_a_lifetime_ends_a_worker_in_order(
    coordinator: dict[str, Any], ampacity_command: list[str]
) -> None:
    line, limits = coordinator["join"], ["--slots", "1", "--grace", "1s", "--lifetime", "3s"]
    with service([*ampacity_command, "join", line, *limits]) as worker:
        assert worker.wait(60) == 0


def test_a_drained_worker_ends(
    coordinator: dict[str, Any], run: Run, ampacity_command: list[str]
) -> None:
    words = [*ampacity_command, "join", coordinator["join"], "--slots", "1", "--name", "one"]
    with service(words) as worker:
        assert worker.stdout is not None
        assert "joined" in worker.stdout.readline()
        done = run("workers", "drain", "--wait", "--timeout", "30s", "one")
        assert done.returncode == 0, done.stderr
        assert worker.wait(30) == 0
    done = run("workers", "drain", "one")
    assert (done.returncode, "there is no worker 'one'" in done.stderr) == (5, True)
