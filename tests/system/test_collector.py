"""How the services have the interpreter set, once they serve."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ampacity.protocol import collecting, switching

AMPACITY = str(Path(sys.executable).with_name("ampacity"))
SEEN = """
import gc, os, signal, sys

def show(*_):
    with open(os.environ["SEEN"] + ".new", "w") as file:
        file.write(repr([*gc.get_threshold(), gc.get_freeze_count(), sys.getswitchinterval()]))
    os.replace(os.environ["SEEN"] + ".new", os.environ["SEEN"])

signal.signal(signal.SIGUSR1, show)
"""
Start = Callable[..., tuple[subprocess.Popen[bytes], dict[str, Any]]]


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Start:
    """Run a service until it is ready; what it says then."""
    (tmp_path / "sitecustomize.py").write_text(SEEN)

    def start(*words: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
        ready = tmp_path / f"{words[0]}.json"
        around = {
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "SEEN": str(tmp_path / words[0]),
            "AMPACITY_ACCESS": str(tmp_path / "access"),
            "AMPACITY_STATE": str(tmp_path / f"state of {words[0]}"),
        }
        command = [AMPACITY, *words, "--ready-file", str(ready)]
        service = subprocess.Popen(
            command, env=around, cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True
        )
        request.addfinalizer(partial(service.wait, 30))
        request.addfinalizer(service.terminate)  # the last one is called first
        wait_for(ready)
        return service, json.loads(ready.read_text())

    return start


def wait_for(path: Path) -> None:
    until = time.monotonic() + 30.0
    while not path.exists() or not path.read_text().strip():
        assert time.monotonic() < until, f"{path.name} does not come"
        time.sleep(0.02)


def test_services_that_serve_look_for_garbage_seldom_and_switch_often(
    start: Start, tmp_path: Path
) -> None:
    coordinator, facts = start("coordinator", "--ephemeral")
    worker, _ = start("join", "--slots", "1", f"unix:{facts['socket']}")
    for service, name in ((coordinator, "coordinator"), (worker, "join")):
        service.send_signal(signal.SIGUSR1)
        wait_for(tmp_path / name)
        *thresholds, frozen, interval = json.loads((tmp_path / name).read_text())
        assert thresholds == [collecting.YOUNG, collecting.MIDDLE, collecting.OLD], name
        assert frozen > 10_000, name
        assert interval == pytest.approx(switching.INTERVAL), name
