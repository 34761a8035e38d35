"""Logs that SQLite has written, torn as power cuts do it, and damaged as they do not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ampacity.coordinator.sqlite_log import damage

HEADER, FRAME = 32, 24 + 4096


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Of some commits of a few frames each; nothing of it is in the file."""
    path = tmp_path / "db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE t (body BLOB)")
        for _ in range(24):
            connection.execute("INSERT INTO t VALUES (randomblob(9000))")
        copy = tmp_path / "copy-wal"
        copy.write_bytes((tmp_path / "db-wal").read_bytes())
        yield copy


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 16
    path.write_bytes(data)


def commits(path: Path) -> list[int]:
    """The frames, from 0, that end a commit."""
    data = path.read_bytes()
    starts = range(HEADER, len(data), FRAME)
    return [n for n, start in enumerate(starts) if any(data[start + 4 : start + 8])]


def test_a_whole_log_is_whole(log: Path) -> None:
    assert len(commits(log)) == 25
    assert damage(log) == ""


def test_what_is_not_there_is_not_damaged(tmp_path: Path) -> None:
    assert damage(tmp_path / "none") == ""
    for data in (b"", b"short", bytes(40)):
        (tmp_path / "log").write_bytes(data)
        assert damage(tmp_path / "log") == ""


@pytest.mark.parametrize("place", [1, 9, 14, 17, 25])
def test_a_damaged_head(log: Path, place: int) -> None:
    flip(log, place)
    assert "head" in damage(log)


@pytest.mark.parametrize("within", [0, 5, 9, 17, 24, 3000])
def test_a_damaged_frame_before_a_commit(log: Path, within: int) -> None:
    number = commits(log)[4] + 1
    flip(log, HEADER + number * FRAME + within)
    assert f"frame {number + 1} " in damage(log)


def test_the_last_commit_may_be_torn_anywhere(log: Path) -> None:
    first, last = commits(log)[-2] + 1, commits(log)[-1]
    whole = log.read_bytes()
    for number in range(first, last + 1):
        flip(log, HEADER + number * FRAME + 100)
        assert damage(log) == ""
        log.write_bytes(whole)
    log.write_bytes(whole[: HEADER + last * FRAME + 50])
    assert damage(log) == ""


def test_what_an_older_log_has_left_is_no_commit(log: Path) -> None:
    whole = bytearray(log.read_bytes())
    for number in range(commits(log)[4] + 1, commits(log)[-1] + 1):
        start = HEADER + number * FRAME
        whole[start + 8] ^= 1  # another salt
    log.write_bytes(whole)
    assert damage(log) == ""


def test_a_head_that_is_half_of_an_older_log_tells_of_no_commit(log: Path) -> None:
    whole = bytearray(log.read_bytes())
    ends = commits(log)
    last = ends[-1]
    across, first = next(
        (n, before + 1)
        for n in range(last - 1, 0, -1)
        if (HEADER + n * FRAME) % 512 > 512 - 24
        for before in [max(end for end in ends if end < n - 1)]
    )
    for number in range(first, last + 1):
        whole[HEADER + number * FRAME + 4 : HEADER + number * FRAME + 8] = bytes(4)
    whole[HEADER + across * FRAME + 7] = 9  # the pages after a commit of the older one
    log.write_bytes(whole)
    assert damage(log) == ""
