"""Copies a store while it is used.

The write-ahead log takes what is committed meanwhile; the database file, which nobody writes to
then, is copied by another process: closing a second descriptor of it in this one would drop the
locks that SQLite has on it. The log is copied in two steps, the last of them between two commits.
Values never change, so that a link is a copy of one; they are gone through before and after, and
what the copied jobs refer to is among them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred

from ..protocol.blobs import DeferToThread
from ..protocol.errors import StoreRefused
from .examining import in_short, structure, unaccounted
from .sqlite_file import SqliteFile

VALUES = "values"

COPY = "/bin/cp"

_COPY_BYTES = 1 << 20
_DIGEST_LENGTH = 64

InThread = Callable[..., Deferred[Any]]


class Backup:
    """One copy being made."""

    def __init__(self, folder: Path, store: Path, file: SqliteFile) -> None:
        self.folder = folder
        self._store = store
        self._file = file
        self._partial = folder.with_name(f"{folder.name}.partial")
        self._database = self._partial / file.path.name
        self._log = self._partial / file.log.name

    async def make(self, defer: DeferToThread, in_thread: InThread) -> dict[str, Any]:
        """``jobs``, ``values``, ``bytes``, ``seconds``; ``in_thread``: where the store is written.

        Raises:
            StoreRefused: the folder does not fit, or the copy did not come out whole.
        """
        began = monotonic()
        await defer(self._begin)
        try:
            await defer(self._copy_values)
            await self._copy_database(defer, in_thread)
            values = await defer(self._copy_values)
            jobs = await defer(self._verify)
            size = await defer(self._finish)
        except BaseException:
            await defer(shutil.rmtree, self._partial, True)
            raise
        return {"jobs": jobs, "values": values, "bytes": size, "seconds": monotonic() - began}

    async def _copy_database(self, defer: DeferToThread, in_thread: InThread) -> None:
        await in_thread(self._file.hold_log)
        try:
            await defer(self._copy_file)
            await defer(self._copy_log)
            await in_thread(self._copy_log)
        finally:
            await in_thread(self._file.release_log)

    # -- in threads -------------------------------------------------------------------------------

    def _begin(self) -> None:
        for path in (self.folder, self._partial):
            if path.exists():
                raise StoreRefused(f"{path} exists; a backup is made in a new folder")
        try:
            self._partial.mkdir(mode=0o700)
        except OSError as error:
            raise StoreRefused(f"a backup cannot be made in {self.folder}: {error}") from error

    def _copy_file(self) -> None:
        copied = subprocess.run(  # noqa: S603 -- no shell, and the paths are absolute
            [COPY, str(self._file.path.absolute()), str(self._database.absolute())],
            capture_output=True,
            check=False,
        )
        if copied.returncode:
            why = copied.stderr.decode(errors="replace").strip()
            raise StoreRefused(f"the store could not be copied: {why}")

    def _copy_log(self) -> None:
        """Add what the log has more than its copy."""
        if self._file.log.exists():
            with self._file.log.open("rb") as log, self._log.open("ab") as copy:
                log.seek(copy.tell())
                shutil.copyfileobj(log, copy, _COPY_BYTES)

    def _copy_values(self) -> int:
        """Link or copy the values that are not there yet; how many there are."""
        source, target = self._store / VALUES, self._partial / VALUES
        target.mkdir(mode=0o700, exist_ok=True)
        if source.is_dir():
            for path in source.iterdir():
                copy = target / path.name
                if len(path.name) == _DIGEST_LENGTH and not copy.exists():
                    with suppress(FileNotFoundError):  # nothing refers to it any more
                        _link(path, copy)
        return sum(1 for _ in target.iterdir())

    def _verify(self) -> int:
        """Open the copy as the next coordinator would, and look at all of it: how many jobs."""
        with closing(sqlite3.connect(self._database, isolation_level=None)) as copy:
            damage = in_short(structure(copy, whole=True))
            if not damage:
                (next_job,) = copy.execute("SELECT next_job FROM meta").fetchone()
                damage = unaccounted(copy, next_job)
            if damage:
                raise StoreRefused(f"the copy of the store is damaged: {damage}")
            copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            (jobs,) = copy.execute("SELECT count(*) FROM jobs").fetchone()
            return int(jobs)

    def _finish(self) -> int:
        """Have all of it on the disk, and give it its name; its bytes."""
        self._database.chmod(0o600)
        _sync(self._database)
        for folder in (self._partial / VALUES, self._partial):
            _sync(folder)
        if self.folder.exists():
            raise StoreRefused(f"{self.folder} exists; a backup is made in a new folder")
        self._partial.rename(self.folder)
        _sync(self.folder.absolute().parent)
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def _link(path: Path, copy: Path) -> None:
    """The same file by another name, or, on another file system, another one."""
    try:
        os.link(path, copy)
    except FileNotFoundError:
        raise
    except OSError:
        part = copy.with_suffix(".part")
        shutil.copy2(path, part)
        _sync(part)
        part.rename(copy)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_usage(folder: Path, file: SqliteFile) -> dict[str, Any]:
    """``bytes`` of the database and its log, and bytes that are ``free`` beside them."""
    used = 0
    for path in (file.path, file.log):
        with suppress(FileNotFoundError):
            used += path.stat().st_size
    return {"bytes": used, "free": shutil.disk_usage(folder).free}
