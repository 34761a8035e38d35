"""The tutorial's pages show what stands in its programs, and what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import ampacity
import pytest

ROOT = Path(ampacity.__file__).parent
PAGES = sorted((ROOT / "docs" / "tutorial").glob("*.md"))
PROGRAMS = ROOT / "examples" / "tutorial"

CODE = re.compile(r"<!-- from: (\S+) -->\n```python\n(.*?)```", re.S)
OUTPUT = re.compile(
    r"<!-- output: ([\w.]+)((?: \w+)*?)( \(in any order\))?(, with only good night)? -->\n"
    r"```text\n(.*?)```",
    re.S,
)

MAIL = "ada\ngrace\nedsger\nbarbara\ngood night\n"

SHOWN_CODE = [(page, *found) for page in PAGES for found in CODE.findall(page.read_text())]
SHOWN_OUTPUT = [(page, *found) for page in PAGES for found in OUTPUT.findall(page.read_text())]


def test_every_block_is_of_one_of_these_kinds() -> None:
    for page in PAGES:
        text = page.read_text()
        assert text.count("```python\n") == len(CODE.findall(text)), page.name
        assert text.count("```text\n") == len(OUTPUT.findall(text)), page.name
    assert len(SHOWN_OUTPUT) >= 10


@pytest.mark.parametrize(
    ("page", "program", "code"), SHOWN_CODE, ids=[f"{p.stem}-{c[:20]}" for p, _, c in SHOWN_CODE]
)
def test_shown_code_stands_in_the_program(page: Path, program: str, code: str) -> None:
    assert code in (ROOT / program).read_text()


@pytest.mark.parametrize(
    ("page", "program", "words", "any_order", "empty", "output"),
    SHOWN_OUTPUT,
    ids=[f"{program}{words}{empty}" for _, program, words, _, empty, _ in SHOWN_OUTPUT],
)
def test_a_program_prints_what_is_shown(
    page: Path, program: str, words: str, any_order: str, empty: str, output: str, tmp_path: Path
) -> None:
    printed = run(program, words.split(), tmp_path, "good night\n" if empty else MAIL)
    arrange = sorted if any_order else list
    assert arrange(without_times(printed)) == arrange(without_times(output))


def run(program: str, words: list[str], folder: Path, mail: str) -> str:
    """What a program prints, with mail that comes when it has begun to look for it."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", PROGRAMS / program, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        time.sleep(0.5)
        (folder / "letter").write_text(mail)
        (folder / "letter").rename(folder / "mail")
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, printed
    return printed


def without_times(text: str) -> list[str]:
    """The lines, without what differs from machine to machine: times, where exactly in the heavy
    part the loop was found to hang, and what else a busy machine was slow to do."""
    text = re.sub(r"\d+\.\d\d s", "… s", text)
    text = re.sub(r"who holds the loop\? mailroom\.py:\d+ in \w+\n", "who? render\n", text)
    text = re.sub(r"who holds .*\n", "", text)
    first, found, rest = text.partition("who? render\n")  # each of its functions is told once
    return (first + found + rest.replace("who? render\n", "")).splitlines()
