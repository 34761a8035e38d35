"""What is drawn where stderr is a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path


def test_a_bar_is_drawn_on_a_terminal(ampacity_command: list[str], access_folder: Path) -> None:
    ours, theirs = pty.openpty()
    words = [*ampacity_command, "map", "math:sqrt", ":::", "4", "9"]
    environ = {**os.environ, "TERM": "xterm"}
    try:
        done = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=theirs, env=environ, timeout=60, check=True
        )
        drawn = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout == b"2.0\n3.0\n"
    assert "━" in drawn
    assert "2/2" in drawn


def test_many_jobs_are_not_forgotten_without_asking(
    ampacity_command: list[str], access_folder: Path
) -> None:
    def run(*words: str) -> None:
        subprocess.run([*ampacity_command, *words], capture_output=True, timeout=60, check=True)

    def answered(answer: bytes) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        words = [*ampacity_command, "forget", "--all-ended"]
        try:
            with subprocess.Popen(
                words, stdin=theirs, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
            ) as asking:
                assert asking.stderr is not None
                asked = asking.stderr.read(len("Forget 12 jobs"))
                os.write(ours, answer)
                told = asking.stderr.read()
                return asking.wait(60), (asked + told).decode()
        finally:
            os.close(ours)
            os.close(theirs)

    run("up", "--slots", "1", "--detach", "--ephemeral")
    try:
        run("map", "math:sqrt", ":::", *map(str, range(12)))
        code, told = answered(b"\n")
        assert (code, told.startswith("Forget 12 jobs")) == (4, True)
        assert "nothing was forgotten" in told
        code, told = answered(b"y\n")
        assert (code, "12 jobs were forgotten" in told) == (0, True)
    finally:
        run("down")
