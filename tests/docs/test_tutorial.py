"""The tutorial's pages show what stands in its programs, and what they print."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from ampacity.tests.docs import shown

PAGES = sorted((shown.ROOT / "docs" / "tutorial").glob("*.md"))
PROGRAMS = shown.ROOT / "examples" / "tutorial"
MAIL = "ada\ngrace\nedsger\nbarbara\ngood night\n"

CODES = shown.codes(PAGES)
OUTPUTS = shown.outputs(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_says_where_it_comes_from(page: Path) -> None:
    assert shown.unaccounted(page) == []


@pytest.mark.parametrize("code", CODES, ids=str)
def test_shown_code_stands_in_the_program(code: shown.Code) -> None:
    code.check()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A virtual screen, on which a window can be opened."""
    pytest.importorskip("tkinter", reason="this Python was built without tkinter")
    if (server := shutil.which("Xvfb")) is None:
        pytest.skip("needs Xvfb, a virtual screen")
    reading, writing = os.pipe()
    words = [server, "-displayfd", str(writing), "-nolisten", "tcp", "-screen", "0", "640x480x24"]
    process = subprocess.Popen(words, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as told:
            monkeypatch.setenv("DISPLAY", f":{told.readline().strip()}")  # once it is ready
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("output", OUTPUTS, ids=str)
def test_a_program_prints_what_is_shown(
    output: shown.Output, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if "uvloop" in output.notes:
        pytest.importorskip("uvloop")
    if "Linux" in output.notes and sys.platform != "linux":
        pytest.skip("epoll is Linux's")
    if "screen" in output.notes:
        request.getfixturevalue("screen")
    output, words = (output, list(output.words)) if shown.WRITING else smaller(output)
    (tmp_path / "mail").write_text(
        "good night\n" if "with only good night" in output.notes else MAIL
    )
    process = shown.start(PROGRAMS / words[0], words[1:], folder=tmp_path)
    printed = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "desk", shown.printed_by(process))
    output.check(printed, without_places)


def test_what_was_shown_of_a_million_is_of_a_million() -> None:
    """The programs are run with fewer here; the sums cannot be had by writing a larger number."""
    text = next(page for page in PAGES if page.stem.startswith("09-")).read_text()
    shapes = re.findall(
        r"^(\d+) stamps, (\d+) together; memory grew by (\d+) MiB\n"
        r"all done in (\d+\.\d\d) s\nthe clock on the wall stood still for up to \d\.\d\d s$",
        text,
        re.M,
    )
    assert [int(shape[0]) for shape in shapes] == [100_000, 1_000_000, 1_000_000]
    for count, total, mebibytes, seconds in shapes:
        assert int(total) == sum(number * number % 97 for number in range(int(count)))
        assert int(mebibytes) < 200
        assert float(seconds) < 120


@pytest.mark.parametrize("way", ["callbacks", "names", "yield"])
def test_the_other_ways_print_the_same(way: str, tmp_path: Path) -> None:
    page = shown.ROOT / "docs" / "tutorial" / "06-four-ways.md"
    [output] = shown.outputs([page])
    process = shown.start(PROGRAMS / output.words[0], [way], folder=tmp_path)
    output.check(shown.printed_by(process))


def test_asyncio_is_a_reactor_as_the_others(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("ada\ngood night\n")
    process = shown.start(PROGRAMS / "which_reactor.py", ["asyncio"], folder=tmp_path)
    printed = shown.printed_by(process).splitlines()
    assert printed[:2] == ["the reactor: AsyncioSelectorReactor", "ada: a picture of 1066 bytes"]


def smaller(output: shown.Output) -> tuple[shown.Output, list[str]]:
    """The same with a smaller number, where the page says so: 3000 for 1000000."""
    words = list(output.words)
    for note in output.notes:
        if found := re.fullmatch(r"(\d+) for (\d+)", note):
            few, many = found.groups()
            words = [few if word == many else word for word in words]
            output = attrs.evolve(output, text=output.text.replace(many, few))
    return output, words


def without_places(text: str) -> str:
    """Without times, sizes in memory and sums; and without when the watch told where exactly in the
    heavy part the loop hung, and what else a busy machine was slow to do: only that it told."""
    text = re.sub(r"\d+ MiB|\d+ together|(?<=pictures, )\d+ bytes", "…", text)
    text = re.sub(r"in \d+\.\d+s\n", "in …\n", text)
    told = (
        "who? render\n" if re.search(r"^who holds .* mailroom\.py:\d+ in \w+$", text, re.M) else ""
    )
    return told + shown.without_times(re.sub(r"who holds .*\n", "", text))
