"""What the README and the how-to pages of the command line show is what comes when it is typed."""

from __future__ import annotations

import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ampacity.tests.docs import shown, terminals
from ampacity.workers.machine import usable_cpus

NAMES = (
    *("deployment", "map-over-files", "shell", "ship-your-code", "stale-code"),
    *("stuck", "systemd", "wrong-python"),
)
PAGES = [shown.ROOT / "docs" / "howto" / f"{name}.md" for name in NAMES]
README = shown.ROOT / "README.md"
PROGRAMS = shown.ROOT / "examples" / "guides"


def fill(home: Path) -> None:
    """What the reader has: a few programs, and three files."""
    for program in PROGRAMS.glob("*.py"):
        shutil.copy(program, home)
    for number, name in enumerate(("one", "two", "three"), 1):
        (home / f"{name}.txt").write_text(f"this is file {name}\n" * (200 * number))


@pytest.fixture
def played() -> Iterator[terminals.Terminals]:
    with tempfile.TemporaryDirectory(prefix="amp", dir="/tmp") as folder:  # for sockets: short
        names = {
            rf"\b{socket.gethostname()}\b": "desk",
            re.escape(str(Path(sys.executable).parent)): "/srv/venv/bin",
            rf"\bwith {usable_cpus()} slots\b": "with 2 slots",
        }
        desk = terminals.Terminals(Path(folder), fill, names)
        try:
            yield desk
        finally:
            desk.close()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_says_where_it_comes_from(page: Path) -> None:
    assert shown.unaccounted(page) == []
    assert terminals.unaccounted(page) == []


@pytest.mark.parametrize("code", shown.codes(PAGES), ids=str)
def test_shown_code_stands_in_the_program(code: shown.Code) -> None:
    code.check()


@pytest.mark.parametrize("session", terminals.sessions([*PAGES, README]), ids=str)
def test_a_session_goes_as_shown(session: terminals.Session, played: terminals.Terminals) -> None:
    if session.has_machines and not terminals.can_have_machines():
        pytest.skip("another host name takes root and unshare")
    if "--user" in str(session.blocks) and not terminals.can_be_nobody():
        pytest.skip("another user takes root, and an interpreter that this user can run")
    played.play(session)
