"""What the tutorial's chapters show of terminals is what comes when it is typed."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ampacity.tests.docs import shown, terminals

PAGES = sorted((shown.ROOT / "docs" / "tutorial").glob("*.md"))
PROGRAMS = shown.ROOT / "examples" / "tutorial"


def copy_programs(home: Path) -> None:
    """What the reader has: a folder with the tutorial's programs."""
    for program in PROGRAMS.glob("*.py"):
        shutil.copy(program, home)


@pytest.fixture
def played() -> Iterator[terminals.Terminals]:
    with tempfile.TemporaryDirectory(
        prefix="amp", dir="/tmp"
    ) as folder:  # sockets need short paths
        names = {rf"\b{socket.gethostname()}\b": "desk"}
        desk = terminals.Terminals(Path(folder), copy_programs, names)
        try:
            yield desk
        finally:
            desk.close()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_belongs_to_a_session(page: Path) -> None:
    assert terminals.unaccounted(page) == []


@pytest.mark.parametrize("session", terminals.sessions(PAGES), ids=str)
def test_a_session_goes_as_shown(session: terminals.Session, played: terminals.Terminals) -> None:
    if session.has_machines and not terminals.can_have_machines():
        pytest.skip("another host name takes root and unshare")
    played.play(session)
