"""The blocking pool, in scripts."""

from __future__ import annotations

import signal
import subprocess
import sys
from ast import literal_eval
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_twisted
from ampacity.blocking import Pool
from ampacity.protocol.errors import WrongThread

_PROGRAM = Path(__file__).parent / "blocking_program.py"


def _script(*arguments: str) -> Any:
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(_PROGRAM), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # where the tests run in the background of a shell, Ctrl-C is ignored by all they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_a_script():
    script = _script()
    out, err = script.communicate(timeout=60)
    assert (script.returncode, out, err) == (0, "cancelled\ndone\n", "")


def test_an_interrupted_script_leaves_no_process():
    script = _script("interrupt")
    while script.stdout.readline() != "waiting\n":
        assert script.poll() is None, script.stderr.read()
    family = psutil.Process(script.pid).children(recursive=True)
    assert family
    script.send_signal(signal.SIGINT)
    _, err = script.communicate(timeout=30)
    assert "KeyboardInterrupt" in err
    _gone, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_an_interrupt_cannot_leave_a_lock_held_that_the_reactor_waits_for() -> None:
    """Of Python's own, each is held for a few bytecodes, between any two of which Ctrl-C comes."""
    program = Path(__file__).parent / "interruptible_program.py"
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=60, check=True
    )
    gone_through = literal_eval(done.stdout)
    assert gone_through, "nothing was traced"
    assert [
        name for name in gone_through if name.startswith(("Event", "Condition", "Future"))
    ] == []


@pytest_twisted.ensureDeferred
async def test_it_is_refused_on_the_reactors_thread():
    with pytest.raises(WrongThread, match=r"use ampacity\.Pool there"):
        Pool()
    with pytest.raises(WrongThread):
        Pool.connect("localhost")
