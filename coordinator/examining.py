"""Whether a store holds all that it should: its trees, its indexes, and a job for every id.

Theory of operation. A row that is read is verified by its seals, but a row that is not found has
none to show. What can hide one is damage of the trees that rows are found by, and of a row's id.
SQLite goes through its trees: whether ids ascend, are between the keys above them, and every row
is once in each index. And ids are given in their order: each one below the next one has a job, or
is forgotten. Both together say that every job is there, found by its id, by walking, and by every
index. Payloads and outcomes are missed by the jobs that they belong to, whenever one is read; they
may be many gigabytes, so in a large store their tables are left out.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import Final
from zlib import crc32

import msgpack

from .schema import OUTCOMES, PAYLOADS

WHOLE_BYTES: Final = 512 << 20
"""Up to this size, a file is examined as a whole: about 3 seconds."""

NAMED: Final = 10
"""What is named of a list that may be long."""

_LARGE: Final = frozenset({PAYLOADS.name, OUTCOMES.name})

_VALUE: Final = re.compile(r"^[\w-]+ value in ")
"""A value that cannot be, in a row that is found: its seal says so, too."""

_ROW: Final = re.compile(r"\brow (\d+)\b")


# -- trees and indexes ----------------------------------------------------------------------------


def structure(connection: sqlite3.Connection, whole: bool = False) -> list[str]:
    """What is wrong with the trees and indexes, in SQLite's words; nothing: they are sound."""
    questions = ["PRAGMA integrity_check"]
    if not whole and _size(connection) > WHOLE_BYTES:
        names = [row[0] for row in connection.execute(_TABLES) if row[0] not in _LARGE]
        questions = [f'PRAGMA integrity_check("{name}")' for name in names]
    found = [row[0] for question in questions for row in connection.execute(question)]
    return [what for what in found if what != "ok" and not _VALUE.match(what)]


_TABLES: Final = "SELECT name FROM sqlite_master WHERE type = 'table'"


def _size(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(size)


def mend(connection: sqlite3.Connection, trial: bool = False) -> bool:
    """Make the indexes of the jobs anew, from the jobs; whether all is sound then.

    If it is not, or this is but a ``trial``, nothing is changed. A mark of delivery that is none
    is taken away: what may not have been delivered is delivered again.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("REINDEX jobs")
        connection.execute("UPDATE jobs SET taken = NULL WHERE taken <> id")
        sound = not structure(connection, whole=True)
    except sqlite3.DatabaseError:
        sound = False
    if connection.in_transaction:
        connection.execute("COMMIT" if sound and not trial else "ROLLBACK")
    return sound


def rows_named(connection: sqlite3.Connection, problems: list[str]) -> list[int]:
    """The jobs whose indexes were wrong, or which are wrong themselves; SQLite counts rows."""
    found = [_ROW.search(what) for what in problems]
    places = {int(match[1]) for match in found if match is not None}
    rows = [row for place in places for row in connection.execute(_NTH, [place - 1])]
    return sorted(number for (number,) in rows)


_NTH: Final = "SELECT id FROM jobs ORDER BY id LIMIT 1 OFFSET ?"


def in_short(problems: list[str]) -> str:
    """The first of them, in a line."""
    named = "; ".join(" ".join(what.split()) for what in problems[:NAMED])
    return named if len(problems) <= NAMED else f"{named}; ..."


# -- a job for every id ---------------------------------------------------------------------------


def unaccounted(connection: sqlite3.Connection, next_job: int) -> str:
    """What is wrong with the account of ids, in a sentence; nothing: every job is there."""
    runs = connection.execute(_RUNS).fetchall()
    if damage := _damage(runs, next_job):
        return damage
    jobs, first, last = connection.execute(_JOBS).fetchone()
    if jobs and not 0 < first <= last < next_job:
        return f"there are jobs from {first} to {last}, and only 1 to {next_job - 1} were accepted"
    for (number,) in connection.execute(_RISEN):
        return f"the job {number} is there, and was forgotten"
    if jobs + sum(last - first + 1 for first, last, _ in runs) == next_job - 1:
        return ""
    missing = list(_missing(connection, runs, next_job))
    named = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in missing[:NAMED])
    more = ", ..." if len(missing) > NAMED else ""
    return f"jobs that were accepted are not there any more: {named}{more}"


_RUNS: Final = 'SELECT "first", "last", seal FROM forgotten ORDER BY "first"'
_JOBS: Final = "SELECT count(*), min(id), max(id) FROM jobs"
# the order is given: ids of jobs are looked up for each run
_RISEN: Final = (
    "SELECT j.id FROM forgotten AS f CROSS JOIN jobs AS j"
    ' WHERE j.id BETWEEN f."first" AND f."last" LIMIT 1'
)
_BETWEEN: Final = "SELECT id FROM jobs WHERE id BETWEEN ? AND ? ORDER BY id"


def run_seal(first: int, last: int) -> int:
    """The checksum of a run of forgotten ids."""
    return crc32(msgpack.packb((first, last)))


def _damage(runs: list[tuple[int, int, int]], next_job: int) -> str:
    before = 0
    for first, last, seal in runs:
        fits = type(last) is int and before < first <= last < next_job
        if not fits or run_seal(first, last) != seal:
            return f"the record of the forgotten jobs from {first} is damaged"
        before = last
    return ""


def _missing(
    connection: sqlite3.Connection, runs: list[tuple[int, int, int]], next_job: int
) -> Iterator[tuple[int, int]]:
    """Runs of ids that are neither known nor forgotten."""
    start = 1
    for first, last, _ in [*runs, (next_job, next_job, 0)]:
        expected = start
        for (number,) in connection.execute(_BETWEEN, [start, first - 1]):
            if number > expected:
                yield expected, number - 1
            expected = number + 1
        if expected < first:
            yield expected, first - 1
        start = last + 1
