"""A coordinator for what pages show: in a folder of its own, which is the home of who uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs

T = TypeVar("T")
AMPACITY = [sys.executable, "-m", "ampacity.cli.entry"]


@attrs.define
class Cluster:
    """A coordinator on a port of its own, and what else was started beside it."""

    home: Path
    environ: dict[str, str]
    ready: dict[str, Any] = attrs.field(factory=dict)
    """What it has said when it was ready: ``join`` and ``client`` are lines to come in with."""
    _started: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    def begin(self, *words: str) -> None:
        line = ["coordinator", "--listen=tcp:127.0.0.1:0", "--ready-file=up", *words]
        process = self.start(*AMPACITY, *line)

        def ready() -> dict[str, Any]:
            assert process.poll() is None, "it could not start"
            return dict(json.loads((self.home / "up").read_text()))

        self.ready = until(ready)

    def start(self, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        around = {**self.environ, **environ}
        self._started.append(subprocess.Popen(words, cwd=self.home, env=around))
        return self._started[-1]

    def ask(self, *words: str) -> list[Any]:
        """What a command prints as JSON."""
        line = [*AMPACITY, "--json", *words]
        return records(subprocess.check_output(line, env=self.environ, timeout=60))

    def secret(self, name: str, text: str) -> None:
        """A file that is for its owner alone."""
        (self.home / name).touch(mode=0o600)
        (self.home / name).write_text(text)

    def end(self) -> None:
        for process in reversed(self._started):
            process.terminate()
            process.wait(30)


@contextmanager
def cluster(*words: str) -> Iterator[Cluster]:
    """One that has begun, and ends."""
    with tempfile.TemporaryDirectory(prefix="amp", dir="/tmp") as folder:  # for sockets: short
        home = Path(folder)
        (home / "run").mkdir(mode=0o700)
        (home / "bin").mkdir()
        (home / "bin" / "ampacity").write_text(f'#!/bin/sh\nexec {" ".join(AMPACITY)} "$@"\n')
        (home / "bin" / "ampacity").chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if "AMPACITY" not in name}
        own = {"HOME": folder, "TMPDIR": folder, "AMPACITY_ACCESS": f"{folder}/run"}
        path = {"PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}"}
        found = Cluster(home, {**kept, **own, **path, "AMPACITY_STATE": f"{folder}/state"})
        try:
            found.begin(*words)
            yield found
        finally:
            found.end()


def records(printed: bytes) -> list[Any]:
    """What was printed as JSON, a line each."""
    return [json.loads(line) for line in printed.splitlines()]


def until(found: Callable[[], T], seconds: float = 60) -> T:
    """What ``found`` gives, once it does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return found()
        except (OSError, ValueError, LookupError):
            assert time.monotonic() < deadline
            time.sleep(0.05)
