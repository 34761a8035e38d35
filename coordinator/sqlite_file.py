"""One SQLite database file and its one connection, used from one thread: what is SQLite's own.

The write-ahead log is synced at every commit (``synchronous=FULL``): without that, a power cut
takes back what was acknowledged. The connection is exclusive: releases of SQLite before 3.51.3 can
damage a file that two connections write to, and a reader of the file would be the second one.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy.dialects import sqlite

from ..protocol.errors import StorageFull, StoreRefused
from .rows import Row
from .statements import ManyRows, Statement
from .store import StoreBroken

Synchronous = Literal["FULL", "NORMAL"]

DIALECT: Final = sqlite.dialect(paramstyle="qmark")

CACHE_KIB: Final = 16 * 1024
"""Memory for pages of the file."""

CHECKPOINT_PAGES: Final = 4096
"""Pages of 4 KiB in the write-ahead log before they are copied to the file."""

LOG_BYTES: Final = 64 << 20
"""What a write-ahead log that has grown is cut back to."""

PREPARED: Final = 256
"""Statements that stay prepared."""

RESTORE: Final = (
    "`ampacity doctor` says more; move the store's folder away and put a backup in its place "
    "(made by `ampacity backup`, its folder is used as it is), or start with a new store"
)

_UNREADABLE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_SENSELESS: Final = (ArithmeticError, LookupError, TypeError, ValueError)
"""What comes of values that nobody has written."""


class _Connection(sqlite3.Connection):
    """Transactions are begun and ended by statements alone, whatever a library does with it."""

    def commit(self) -> None:
        """Nothing: Alembic would end the transaction in the middle of its work."""

    def rollback(self) -> None:
        """Nothing."""


class SqliteFile:
    """An open database file."""

    def __init__(self, path: Path, synchronous: Synchronous = "FULL") -> None:
        """Blocking: open it, or make it.

        Raises:
            StoreRefused: it is damaged, is no database, or another process has it.
        """
        self.path = path
        with refused_when_opened(path):
            # its log gets the mode of the file: from the first moment, nobody else reads them
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path.chmod(0o600)
            self.connection = sqlite3.connect(
                path,
                timeout=0.0,
                isolation_level=None,
                cached_statements=PREPARED,
                factory=_Connection,
            )
            self.connection.text_factory = _text
            try:
                self._set_up(synchronous)
            except BaseException:
                self.connection.close()
                raise

    def _set_up(self, synchronous: Synchronous) -> None:
        for setting in (
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            f"synchronous = {synchronous}",
            f"cache_size = -{CACHE_KIB}",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
            f"journal_size_limit = {LOG_BYTES}",
            "secure_delete = OFF",
            "trusted_schema = OFF",
            "cell_size_check = ON",
        ):
            self.connection.execute(f"PRAGMA {setting}")
        self.connection.execute("BEGIN IMMEDIATE")  # another process has it: found out now
        self.connection.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written within, or nothing.

        Raises:
            StorageFull: there was no room for it.
            StoreBroken: the disk does not keep what it is given.
        """
        with broken_when_used():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def rows(self, statement: Statement, **values: Any) -> list[Row]:
        """All that a question finds."""
        return self.connection.execute(statement.sql, statement.with_values(**values)).fetchall()

    def rows_of(self, statement: Statement, parameters: Sequence[Any]) -> list[Row]:
        """The same, with its parameters in their order."""
        return self.connection.execute(statement.sql, parameters).fetchall()

    def write(self, statement: Statement, rows: Iterable[Sequence[Any]]) -> None:
        """A few rows, each by itself."""
        self.connection.executemany(statement.sql, rows)

    def change(self, statement: Statement, **values: Any) -> int:
        """A change of rows; how many there were."""
        return self.connection.execute(statement.sql, statement.with_values(**values)).rowcount

    def write_many(self, statement: ManyRows, rows: Sequence[Row]) -> None:
        """Many rows, of the statement's own columns."""
        for text, parameters in statement.parts(rows):
            self.connection.execute(text, parameters)

    def hold_log(self) -> None:
        """Let commits go to the write-ahead log alone, so that the file may be copied."""
        with broken_when_used():
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self.connection.execute("PRAGMA wal_autocheckpoint = 0")

    def release_log(self) -> None:
        """The file is written to again."""
        self.connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")

    @property
    def log(self) -> Path:
        """The write-ahead log."""
        return self.path.with_name(f"{self.path.name}-wal")

    def close(self) -> None:
        """The log is copied to the file, and both are let go."""
        self.connection.close()


@contextmanager
def refused_when_opened(path: Path) -> Iterator[None]:
    """Turns the errors of opening a store into ``StoreRefused``, which says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreRefused(_reason(error, path)) from error
    except OSError as error:
        raise StoreRefused(f"the store {path} cannot be opened: {error}") from error
    except _SENSELESS as error:
        raise StoreRefused(f"the store {path} is damaged ({error}): {RESTORE}") from error


def _reason(error: sqlite3.Error, path: Path) -> str:
    code = _code(error)
    if code in _UNREADABLE:
        return f"the store {path} is damaged ({error}): {RESTORE}"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"the store {path} is in use: another process has it open; end that one first"
    if code == sqlite3.SQLITE_FULL:
        return f"the store {path} cannot be opened: its disk is full; make room there"
    return f"the store {path} cannot be opened: {error}"


@contextmanager
def broken_when_used() -> Iterator[None]:
    """Turns the errors of an open store into ``StorageFull`` and ``StoreBroken``."""
    try:
        yield
    except sqlite3.Error as error:
        if _code(error) == sqlite3.SQLITE_FULL:
            raise StorageFull("the coordinator cannot store more: its disk is full") from error
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        raise StoreBroken(f"the store fails: {error} ({name})") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("the coordinator cannot store more: its disk is full") from error
        raise StoreBroken(f"the store fails: {error}") from error
    except _SENSELESS as error:
        raise StoreBroken(f"the store cannot keep or read a value: {error}") from error


def _code(error: sqlite3.Error) -> int:
    """The primary code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _text(data: bytes) -> str:
    """Text, damaged text as well, which then does not fit its seal."""
    return data.decode(errors="surrogateescape")
