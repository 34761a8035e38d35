"""``ampacity join --user``: the whole way, from the command line to jobs that look around."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

MODULE = r"""
import os

def who():
    return [os.getuid(), os.environ["HOME"]]

def tries(agent, *paths):
    found = {}
    for path in [*paths, *(f"/proc/{agent}/{name}" for name in ("environ", "mem", "fd"))]:
        try:
            os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)
        except OSError as e:
            found[path] = type(e).__name__
        else:
            found[path] = "read"
    for number in (0, 15, 9):
        try:
            os.kill(agent, number)
        except OSError as e:
            found[str(number)] = type(e).__name__
    return found

def size(data):
    return len(data), b"x" * len(data)
"""

Start = Callable[..., tuple[Any, "subprocess.Popen[bytes]"]]


@pytest.fixture
def start(
    ampacity_command: list[str], access_folder: Path, tmp_path: Path
) -> Iterator[Start]:  # fmt: skip
    """Start a service, returns what it says when it is ready."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str, *words: str) -> tuple[Any, subprocess.Popen[bytes]]:
        ready = tmp_path / f"{name}.ready"
        env = {**os.environ, "AMPACITY_STATE": str(tmp_path / name)}
        words = (*ampacity_command, *words, "--ready-file", str(ready))
        process = subprocess.Popen(words, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL)
        started.append(process)
        until(lambda: ready.exists() or process.poll() is not None)
        return json.loads(ready.read_text()), process

    yield begin
    for process in reversed(started):
        process.send_signal(signal.SIGTERM)
    for process in started:
        process.wait(60)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


def answer(command: list[str], *words: str, **options: Any) -> Any:
    done = subprocess.run(
        [*command, *words], capture_output=True, text=True, timeout=90, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_jobs_of_another_user(
    start: Start, ampacity_command: list[str], their_python: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    (theirs / "looks.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", f"{theirs}:{their_python.path}")
    temporary = tmp_path / "t"
    temporary.mkdir()
    temporary.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(temporary))
    facts, _ = start("coordinator", "coordinator", "--listen", "tcp:127.0.0.1:0")
    token_file = tmp_path / "line.token"
    token_file.touch(0o600)
    token_file.write_text(facts["join"])
    as_user = ["--user", their_python.user.name, "--python", their_python.python]
    told, agent = start("worker", "join", "--token-file", str(token_file), "--slots", "2", *as_user)
    run = [*ampacity_command, "run", "--cwd", str(theirs), "--json"]

    assert answer(run, "looks:who")["value"] == [their_python.user.uid, their_python.user.home]
    children = psutil.Process(agent.pid).children()
    assert {p.uids().real for p in children} == {0, their_python.user.uid}  # the guard, and they
    credential = next((tmp_path / "worker" / "joined").iterdir())
    (own,) = temporary.glob("ampacity-worker-*")
    secret = [
        credential,
        credential.parent,
        token_file,
        own,
        own / "owner",
        tmp_path / "coordinator",
    ]
    found = answer(run, "looks:tries", str(told["pid"]), *map(str, secret))["value"]
    assert set(found.values()) == {"PermissionError"}, found
    assert len(found) == len(secret) + 6
    assert agent.poll() is None

    # large arguments and results, a command, a cancelled one
    (tmp_path / "large.jsonl").write_text(json.dumps("y" * 3_000_000) + "\n")
    for words, length in (
        (["map", "--jsonl", str(tmp_path / "large.jsonl"), "builtins:len"], len("3000000\n")),
        (["run", "operator:mul", '"ab"', "200000"], 400_001),
    ):
        done = subprocess.run(
            [*ampacity_command, *words], capture_output=True, text=True, timeout=90, cwd=theirs
        )
        assert len(done.stdout) == length, done.stderr
    done = subprocess.run(
        [*ampacity_command, "run", "--", "id", "-un"],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=theirs,
    )
    assert done.stdout == f"{their_python.user.name}\n"
    submit = [*ampacity_command, "submit", "--", "sleep", "600"]
    job = subprocess.run(
        submit, capture_output=True, text=True, check=True, cwd=theirs
    ).stdout.strip()
    asked = [*ampacity_command, "job", "--json", job]
    until(lambda: answer(asked)["state"] == "running")
    subprocess.run([*ampacity_command, "cancel", job], check=True, capture_output=True)
    until(lambda: answer(asked)["state"] == "cancelled")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run jobs as another user")
@pytest.mark.parametrize(
    ("name", "told"), [("no-such-user-here", "no such user"), ("root", "useradd")]
)
def test_whom_jobs_cannot_run_as(
    ampacity_command: list[str], tmp_path: Path, name: str, told: str
) -> None:
    words = ["join", "unix:/nowhere/socket", "--user", name]
    done = subprocess.run(
        [*ampacity_command, *words], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
