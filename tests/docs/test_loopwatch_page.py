"""The page about the watch on the loop shows what its program holds, and what that prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ampacity.tests.docs import shown

(PAGE,) = (shown.ROOT / "docs").rglob("loopwatch.md")


def test_only_the_first_two_lines_stand_in_no_program() -> None:
    assert shown.unaccounted(PAGE) == ["from ampacity import LoopWatch"]


@pytest.mark.parametrize("code", shown.codes([PAGE]), ids=str)
def test_shown_code_stands_in_the_program(code: shown.Code) -> None:
    code.check()


@pytest.mark.parametrize("output", shown.outputs([PAGE]), ids=str)
def test_the_program_prints_what_is_shown(output: shown.Output, tmp_path: Path) -> None:
    program, *words = output.words
    process = shown.start(shown.ROOT / "examples" / program, words, folder=tmp_path)
    output.check(shown.printed_by(process), without_chance)


def without_chance(text: str) -> str:
    """Without times, and without what else a busy machine was slow to do."""
    blocks = re.compile(r"^the loop is held:\n(.*\n){2}.*, in (\w+)\n.*\n", re.M)
    text = blocks.sub(lambda block: block[0] if block[2] == "hash_of" else "", text)
    text = re.sub(r"^(?!.* in hash_of: ).*, the longest .*\n", "", text, flags=re.M)
    return shown.without_times(text)
