"""Under a mask that forbids nothing: all that services write is their user's alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

MODULE = "def large(n):\n    return b'x' * n\n"


def test_nothing_that_services_write_can_be_read_by_others(
    ampacity_command: list[str], access_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "mine.py").write_text(MODULE)
    temporary = tmp_path / "t"
    temporary.mkdir(mode=0o700)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("AMPACITY_ACCESS", str(tmp_path / "new" / "access"))
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str) -> dict[str, str]:
        ready = tmp_path / f"{name}.ready"
        env = {**os.environ, "AMPACITY_STATE": str(tmp_path / name / "state")}
        command = [*ampacity_command, *words, "--ready-file", str(ready)]
        started.append(
            subprocess.Popen(
                command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL, umask=0,
            )
        )  # fmt: skip
        end = time.monotonic() + 60
        while not ready.exists():
            assert time.monotonic() < end and started[-1].poll() is None
            time.sleep(0.02)
        told: dict[str, str] = json.loads(ready.read_text())
        return told

    def run(*words: str) -> None:
        subprocess.run(
            [*ampacity_command, *words], cwd=tmp_path, check=True, capture_output=True, umask=0,
            timeout=90,
        )  # fmt: skip

    try:
        tokens = tmp_path / "tokens"
        tokens.mkdir(mode=0o755)
        words = ["coordinator", "--listen", "tcp:127.0.0.1:0", "--slots", "1"]
        told = start("coordinator", *words, "--tokens", str(tokens))
        start("worker", "join", told["join"], "--slots", "1")
        run("map", "mine:large", ":::", *["300000"] * 8)
        backup = tmp_path / "backup"
        run("backup", str(backup))
        own = [tmp_path / "coordinator", tmp_path / "worker", tmp_path / "new", backup,
               *temporary.iterdir(), *tokens.iterdir()]  # fmt: skip
        own += [tmp_path / "coordinator.ready", tmp_path / "worker.ready"]
        within = [path for folder in own for path in (folder, *folder.rglob("*"))]
        open_ones = {str(path): oct(path.lstat().st_mode) for path in within if is_open(path)}
        assert open_ones == {}
        names = {path.name for path in within}
        assert {"queue.db", "queue.db-wal", "key.pem", "credentials.json", "token"} <= names
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(60)


def is_open(path: Path) -> bool:
    try:
        return bool(path.lstat().st_mode & 0o077)
    except FileNotFoundError:  # a job's, that has just ended
        return False
