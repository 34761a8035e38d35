"""The how-to pages with programs show what stands in these, and what they print."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ampacity.tests.docs import shown

NAMES = ("klein", "twisted-web", "scrapy", "twisted-service", "test-your-application")
PAGES = {name: shown.ROOT / "docs" / "howto" / f"{name}.md" for name in NAMES}
PROGRAMS = shown.ROOT / "examples" / "howto"
SECONDS = 60.0


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.stem)
def test_every_block_says_where_it_comes_from(page: Path) -> None:
    assert shown.unaccounted(page) == []


@pytest.mark.parametrize("code", shown.codes(PAGES.values()), ids=str)
def test_shown_code_stands_in_the_program(code: shown.Code) -> None:
    code.check()


def output(page: str, program: str) -> shown.Output:
    """The only output of a program in a page."""
    (found,) = [each for each in shown.outputs([PAGES[page]]) if each.words[0] == program]
    return found


def as_called(printed: str) -> str:
    """With the port that the pages name."""
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8080", printed)


# -- web services ----------------------------------------------------------------------------------


@contextmanager
def running(program: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service that listens, and the first line that it has printed."""
    process = shown.start(PROGRAMS / program, ["0"], folder=folder)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def visit(said: str, wishes: tuple[str, ...]) -> str:
    """What visitors print of a service that has ``said`` where it listens."""
    base = said.rpartition(" ")[2].strip()
    return shown.printed_by(shown.start(PROGRAMS / "visit.py", [base, *wishes], folder=PROGRAMS))


def interrupted(process: subprocess.Popen[str], code: int = 0) -> str:
    """All that a service prints until its end, which somebody asks for."""
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == code, printed
    return printed


def test_a_klein_service_answers_refuses_and_cancels(tmp_path: Path) -> None:
    with running("klein_service.py", tmp_path) as (process, said):
        wanted = output("klein", "visit.py")
        wanted.check(visit(said, wanted.words[1:]))
        output("klein", "klein_service.py").check(as_called(said + interrupted(process)))


def test_a_twisted_web_service_answers_and_refuses_what_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("x" * 1_000_001)
    with running("web_service.py", tmp_path) as (process, said):
        wanted = output("twisted-web", "visit.py")
        wanted.check(visit(said, wanted.words[1:]))
        wish = f"/duplicates={tmp_path / 'long.txt'}"
        assert visit(said, (wish,)) == "/duplicates: 413 that is too long\n"
        assert interrupted(process) == ""


# -- a spider --------------------------------------------------------------------------------------


def test_a_spider_crawls_a_site(tmp_path: Path) -> None:
    words = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]
    site = subprocess.Popen(
        [*words, "--directory", str(PROGRAMS / "site")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert site.stdout is not None
    try:
        port = site.stdout.readline().split()[5]
        start = f"http://127.0.0.1:{port}/"
        spider = shown.start(PROGRAMS / "keyword_spider.py", [start], folder=tmp_path)
        output("scrapy", "keyword_spider.py").check(shown.printed_by(spider))
    finally:
        site.kill()
        site.wait()
        site.stdout.close()


# -- a service -------------------------------------------------------------------------------------


def test_a_service_finishes_what_it_has_begun(tmp_path: Path) -> None:
    inbox, outbox = tmp_path / "inbox", tmp_path / "outbox"
    inbox.mkdir()
    outbox.mkdir()
    letters = (PROGRAMS / "letters.txt").read_text()
    (inbox / "monday.txt").write_text(letters)
    wanted = output("twisted-service", "mill.py")
    process = shown.start(PROGRAMS / "mill.py", wanted.words[1:], folder=tmp_path)
    wait_for(outbox / "monday.json")
    (inbox / "new").write_text(letters * 20)
    (inbox / "new").rename(inbox / "tuesday.txt")
    time.sleep(1.0)  # it is taken within a fifth of that, and not done before
    wanted.check(interrupted(process))
    assert sorted(file.name for file in outbox.iterdir()) == ["monday.json", "tuesday.json"]
    assert not list(inbox.iterdir())


def test_the_same_under_twistd(tmp_path: Path) -> None:
    for name in ("inbox", "outbox"):
        (tmp_path / name).mkdir()
    shutil.copy(PROGRAMS / "letters.txt", tmp_path / "inbox")
    twistd = str(Path(sys.executable).with_name("twistd"))
    words = [twistd, "--nodaemon", "--pidfile=", "--python", str(PROGRAMS / "mill.tac")]
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROGRAMS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(tmp_path / "outbox" / "letters.json")
        # twistd ends in order, and then by the signal that has asked for it
        assert "letters.txt: 2 pairs" in interrupted(process, -signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()


def wait_for(file: Path) -> None:
    until = time.monotonic() + SECONDS
    while not file.exists():
        assert time.monotonic() < until, f"{file.name} never came"
        time.sleep(0.02)


# -- tests of an application -----------------------------------------------------------------------


def test_the_gallery_is_tested(tmp_path: Path) -> None:
    for program in PROGRAMS.glob("*gallery*.py"):
        shutil.copy(program, tmp_path)
    wanted = output("test-your-application", "test_gallery.py")
    words = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:twisted", "-W", "error"]
    wanted.check(run([*words, *wanted.words], tmp_path), without_seconds)
    trial = Path(sys.executable).with_name("trial")
    printed = subprocess.run(
        [trial, "test_gallery_trial"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    ).stdout
    assert "PASSED (successes=2)" in printed


def run(words: list[str], folder: Path) -> str:
    """What Python prints, which has to end well."""
    return shown.printed_by(shown.start(Path(words[0]), words[1:], folder=folder))


def without_seconds(text: str) -> str:
    """Without how long the tests took."""
    return re.sub(r"in [\d.]+s", "in …", text)
