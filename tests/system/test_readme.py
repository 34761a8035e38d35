"""The README's program does what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import ampacity

README = (Path(ampacity.__file__).parent / "README.md").read_text()


def test_the_program_prints_what_stands_below_it(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.S)
    assert found is not None
    program = tmp_path / "first.py"
    program.write_text(found.group(1))
    run = subprocess.run(
        [sys.executable, "-W", "error", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, found.group(2), "")


def test_nothing_is_left_to_be_filled_in() -> None:
    assert "@@" not in README
