"""What the page about Python shows stands in a program, which runs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from ampacity.tests.docs import clusters, shown

PAGE = shown.ROOT / "docs" / "howto" / "python.md"
PROGRAM = shown.ROOT / "examples" / "guides" / "from_python.py"


def test_every_block_says_where_it_comes_from() -> None:
    assert shown.unaccounted(PAGE) == []


@pytest.mark.parametrize("code", shown.codes([PAGE]), ids=str)
def test_shown_code_stands_in_the_program(code: shown.Code) -> None:
    """In a function of it: the page shows it without indentation, and with comments in a column."""
    assert level(code.text) in level((shown.ROOT / code.source).read_text())


def level(text: str) -> str:
    return "".join(re.sub(r"^ +| +(?=#)", "", line) for line in text.splitlines(keepends=True))


def test_the_program_runs() -> None:
    with clusters.cluster("--slots=2") as cluster:
        cluster.secret("cluster.token", cluster.ready["client"])
        for words in ([str(PROGRAM)], ["-c", "import from_python; from_python.blocking()"]):
            run = subprocess.run(
                [sys.executable, "-W", "error", *words],
                cwd=cluster.home,
                env={**cluster.environ, "PYTHONPATH": str(PROGRAM.parent)},
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
            assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout == f"{2**100}\n"
