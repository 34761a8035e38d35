"""Lines from files and pipes: each one once, the last one with or without its end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_twisted
from ampacity.cli.streams import InputLines

TEXTS = {
    b"": [],
    b"a": [b"a"],
    b"a\n": [b"a"],
    b"a\nb": [b"a", b"b"],
    b"a\n\nb\n": [b"a", b"", b"b"],
    b"\n": [b""],
    b"x" * 200_000 + b"\nb\n": [b"x" * 200_000, b"b"],
}


async def lines_of(fd: int) -> list[bytes]:
    from twisted.internet import reactor

    lines = InputLines(reactor, fd)
    found: list[bytes] = []
    while taken := await lines.take(2):
        found += taken
    return found


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:8]))
@pytest_twisted.ensureDeferred
async def test_lines_of_a_pipe(text: bytes) -> None:
    reading, writing = os.pipe()
    from twisted.internet.threads import deferToThread

    def fill() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(text)

    filled = deferToThread(fill)
    assert await lines_of(reading) == TEXTS[text]
    await filled
    os.close(reading)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:8]))
@pytest_twisted.ensureDeferred
async def test_lines_of_a_file(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "lines").write_bytes(text)
    with (tmp_path / "lines").open("rb") as file:
        assert await lines_of(file.fileno()) == TEXTS[text]
