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
