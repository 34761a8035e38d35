"""What lies in examples/deploy is as far as can be told without the systems that it is for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from ampacity.cli.tree import tree
from ampacity.tests.docs import shown

DEPLOY = shown.ROOT / "examples" / "deploy"
AMPACITY = [sys.executable, "-m", "ampacity.cli.entry"]
MANIFESTS = (DEPLOY / "kubernetes.yaml").read_text()
LINES = [json.loads(words) for words in re.findall(r"(?:args|command): (\[.*?\])", MANIFESTS)]


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_the_command_lines_of_the_manifests_are_understood(words: list[str]) -> None:
    given = words[1:] if words[0] == "ampacity" else words
    context = tree.make_context("ampacity", given, resilient_parsing=False)
    name, command, rest = tree.resolve_command(context, [*context._protected_args, *context.args])
    assert name is not None and command is not None
    assert isinstance(command.make_context(name, rest, parent=context), click.Context)


def test_the_manifests_have_three_command_lines_and_more() -> None:
    assert len(LINES) >= 4
    assert {line[0] for line in LINES} == {"coordinator", "join", "ampacity"}


def test_what_was_not_run_says_so() -> None:
    assert "were not run" in MANIFESTS
    assert "not under Slurm" in (DEPLOY / "worker.sbatch").read_text()


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="amp", dir="/tmp") as folder:
        Path(folder, "run").mkdir(mode=0o700)
        Path(folder, "bin").mkdir()
        Path(folder, "bin", "ampacity").write_text(f'#!/bin/sh\nexec {" ".join(AMPACITY)} "$@"\n')
        Path(folder, "bin", "ampacity").chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if "AMPACITY" not in name}
        yield {
            **kept,
            "HOME": folder,
            "TMPDIR": folder,
            "AMPACITY_ACCESS": f"{folder}/run",
            "AMPACITY_STATE": f"{folder}/state",
            "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}",
        }


def test_the_batch_script_brings_a_worker(environ: dict[str, str]) -> None:
    home = Path(environ["HOME"])
    started = [start(environ, "coordinator", "--listen=tcp:127.0.0.1:0", "--ready-file=ready")]
    try:
        ready = until(lambda: json.loads((home / "ready").read_text()))
        (home / "worker.token").touch(mode=0o600)
        (home / "worker.token").write_text(ready["join"])
        slurm = {"AMPACITY_TOKEN_FILE": "worker.token", "SLURM_JOB_ID": "7"}
        script = ["bash", str(DEPLOY / "worker.sbatch")]
        started.append(subprocess.Popen(script, cwd=home, env={**environ, **slurm}))
        worker = until(lambda: workers(environ)[0])
        assert worker["name"].endswith("-7")
        assert worker["slots"] == 1
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def start(environ: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*AMPACITY, *words], cwd=environ["HOME"], env=environ)


def workers(environ: dict[str, str]) -> list[dict[str, Any]]:
    words = [*AMPACITY, "--json", "workers"]
    printed = subprocess.run(words, env=environ, capture_output=True, timeout=60, check=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


def until(found: Any, seconds: float = 60) -> Any:
    """What ``found`` gives, once it does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return found()
        except (OSError, ValueError, LookupError):
            assert time.monotonic() < deadline
            time.sleep(0.05)
