"""The account of ids: which were given and have no job, so that one that is missing is missed.

Ids are given in their order. Each one below the next one has a job, or is in a run of the table
``forgotten``, since the transaction that has removed the job. Jobs are forgotten more or less in
the order of their ids, so that the runs are few.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import bindparam

from .examining import run_seal
from .runs import merge_runs
from .schema import FORGOTTEN, upsert
from .sqlite_file import DIALECT, SqliteFile
from .statements import Statement, deleted, selected

_run = FORGOTTEN.c


def _statement(clause: Any) -> Statement:
    return Statement(clause, DIALECT)


_UP_TO: Final = _statement(
    selected(FORGOTTEN)
    .where(_run.first <= bindparam("number"))
    .order_by(_run.first.desc())
    .limit(1)
)
_SAVE: Final = _statement(upsert(FORGOTTEN))
_FORGET: Final = _statement(deleted(FORGOTTEN, "first"))


class Ledger:
    """Keeps the account, in the store's thread."""

    def __init__(self, file: SqliteFile, next_job: int) -> None:
        self._file = file
        self.next_job = next_job
        """The lowest id that was never given, as far as it is committed."""

    def forget(self, ids: Iterable[int]) -> None:
        """These ids have no job any more; within the transaction that makes it so."""
        runs: list[list[int]] = []
        merge_runs(runs, ids)
        for first, count in runs:
            self._add(first, first + count - 1)

    def _add(self, first: int, last: int) -> None:
        """Add a run, as one with those that it touches."""
        while (run := self._run_up_to(last + 1)) is not None and run[1] >= first - 1:
            first, last = min(first, run[0]), max(last, run[1])
            self._file.write(_FORGET, [(run[0],)])
        self._file.write(_SAVE, [(first, last, run_seal(first, last))])

    def _run_up_to(self, number: int) -> tuple[int, int] | None:
        """The last run that begins at this id or below it."""
        for first, last, seal in self._file.rows(_UP_TO, number=number):
            if type(last) is int and run_seal(first, last) == seal:
                return first, last
        return None

    def lost(self, ids: Sequence[int]) -> list[int]:
        """Those of these ids, for which no job is found, that should have one."""
        return [n for n in ids if 0 < n < self.next_job and not self._is_forgotten(n)]

    def _is_forgotten(self, number: int) -> bool:
        run = self._run_up_to(number)
        return run is not None and number <= run[1]
