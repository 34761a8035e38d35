"""The store on disk: an SQLite file, written and read by one thread of its own.

Everything that touches the file is done in that thread, one piece after the other: a commit, or a
slice of a question. So a question sees every commit that was asked for before it, and a long one
lets commits pass between its slices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_bytes
from time import monotonic
from typing import Any, Protocol, TypeVar

from sqlalchemy import select
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.blobfiles import make_folder
from ..protocol.blobs import DeferToThread
from ..protocol.errors import StorageFull, StoreRefused
from ..protocol.ids import JobId
from .backup import Backup, disk_usage
from .effects import Write
from .examining import in_short, mend, rows_named, structure, unaccounted
from .gathering import Gathering
from .kept import Found, KeptJob, Listing, Page, Question, Remembered, Stored
from .ledger import Ledger
from .listing import Lister
from .migrating import migrate, version_of
from .reading import Reader, Slices
from .remembering import META_ROW, Remembering, spans
from .rows import Row, Rows
from .schema import FORGOTTEN, JOBS, SESSIONS, VERSION, WORKERS
from .specs import Specs
from .sqlite_file import (
    DIALECT,
    RESTORE,
    SqliteFile,
    Synchronous,
    broken_when_used,
    refused_when_opened,
)
from .sqlite_log import damage
from .sqlite_thread import StoreThread
from .statements import Statement
from .store import StoreBroken
from .writing import Writer, write_meta

_log = Logger()

T = TypeVar("T")

DATABASE = "queue.db"

USAGE_SECONDS = 1.0
"""How often it is looked how much of the disk is used, at most."""


class Room(Protocol):
    """What watches the room on the store's disk."""

    @property
    def reason(self) -> str:
        """Why submissions are to be refused, in a sentence; or nothing."""

    def full(self) -> object:
        """A write has found the disk full."""


class _Plenty:
    reason = ""

    def full(self) -> None:
        """Nobody watches."""


class _Opened:
    """What the thread works with."""

    def __init__(self, path: Path, synchronous: Synchronous) -> None:
        """Blocking: open the file, bring it up to date, begin a term, read what is there.

        Raises:
            StoreRefused: the store cannot be used; says why, and what to do.
        """
        self.file = SqliteFile(path, synchronous)
        try:
            with refused_when_opened(path):
                self._begin(path)
        except BaseException:
            self.file.close()
            raise

    def _begin(self, path: Path) -> None:
        rows = Rows()
        self.mended = self._sound(path)
        new = migrate(self.file.connection)
        meta = self._reign(rows, path, new)
        specs, ledger = Specs(self.file, rows), Ledger(self.file, meta[3])
        self.reader = Reader(self.file, rows, specs, ledger)
        for _ in self.reader.parts(rows_named(self.file.connection, self.mended)):
            pass  # what is damaged of these is told
        self.remembered = Remembering(self.file, rows, specs, self.reader).remember(meta)
        self.writer = Writer(self.file, rows, meta, ledger)
        self.writer.spans.update(spans(self.remembered.groups))
        self.lister = Lister(self.file, self.writer.spans)
        self.id, self.term = meta[1], meta[2]

    def _sound(self, path: Path) -> list[str]:
        """See that jobs can be found by all that they are found by; what had to be mended."""
        connection = self.file.connection
        version = version_of(connection)
        problems = [] if version is None else structure(connection)
        if not problems:
            return []
        if version != VERSION or not mend(connection):
            raise _damaged(path, in_short(problems))
        _log.critical(
            "indexes of the store {path} were damaged, and are made anew from its jobs: {what}",
            path=str(path),
            what=in_short(problems),
        )
        return problems

    def _reign(self, rows: Rows, path: Path, new: bool) -> Row:
        """Begin a term: the row of ``meta``, committed."""
        found = self.file.rows(META_ROW)
        # a power cut between a store's first two commits leaves its tables, and nothing in them
        if new or not (found or any(self.file.rows(question) for question in _USED)):
            meta = rows.sealed(1, token_bytes(16), 1, 1, 1)
        elif len(found) == 1 and rows.fits(found[0]):
            number, store, term, next_job, next_group, _ = found[0]
            if what := unaccounted(self.file.connection, next_job):
                raise _damaged(path, what)
            meta = rows.sealed(number, store, term + 1, next_job, next_group)
        else:
            raise _damaged(path, "in its first record")
        with self.file.transaction():
            write_meta(self.file, meta)
        return meta


_USED = [
    Statement(select(*table.primary_key).limit(1), DIALECT)
    for table in (JOBS, FORGOTTEN, SESSIONS, WORKERS)
]
"""What has rows where anything was ever accepted."""


def _damaged(path: Path, what: str) -> StoreRefused:
    return StoreRefused(f"the store {path} is damaged ({what}): {RESTORE}")


class SqliteStore:
    """A ``DurableStore``, opened for one term."""

    durable = True

    _log = Logger()

    def __init__(
        self,
        folder: Path,
        thread: StoreThread,
        opened: _Opened,
        defer: DeferToThread,
        room: Room | None,
    ) -> None:
        self.folder = folder
        self.id: bytes = opened.id
        self.term: int = opened.term
        self.remembered: Remembered = opened.remembered
        opened.remembered = Remembered()  # who opened the store decides how long it is kept
        self._thread = thread
        self._opened = opened
        self._defer = defer
        self._room: Room = _Plenty() if room is None else room
        self._rows = Rows()
        self._broken: StoreBroken | None = None
        self._closed: Deferred[None] | None = None
        self._backup: Backup | None = None
        self._commits = 0
        self._usage: dict[str, Any] = {}
        self._looked = 0.0

    @classmethod
    def open(
        cls,
        reactor: IReactorFromThreads,
        folder: Path,
        defer: DeferToThread,
        *,
        room: Room | None = None,
        synchronous: Synchronous = "FULL",
    ) -> Deferred[SqliteStore]:
        """Open the store in a folder, or make it, and begin a term.

        The database is ``queue.db`` there; a backup copies the files in ``values``, too.
        ``defer`` calls functions in other threads, which copy files.
        Fails with ``StoreRefused``, which says why, and what to do.
        """
        thread = StoreThread(reactor)

        def opened(found: _Opened) -> SqliteStore:
            store = cls(folder, thread, found, defer, room)
            store._look()
            return store

        def failed(failure: Failure) -> Failure:
            thread.stop()
            return failure

        return thread.do(_open, folder, synchronous).addCallbacks(opened, failed)

    # -- the thread -------------------------------------------------------------------------------

    def _in_thread(self, work: Callable[..., T], *arguments: Any) -> Deferred[T]:
        if self._broken is not None:
            return fail(self._broken)
        if self._closed is not None:
            return fail(StoreBroken("the store is closed"))
        return self._thread.do(work, *arguments).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        if isinstance(failure.value, StoreBroken):
            self._broken = failure.value
        return failure

    def _in_slices(self, slices: Slices[T]) -> Deferred[T]:
        """The answer of a generator, each of its slices by itself."""

        def went_on(result: tuple[bool, T | None]) -> Any:
            return result[1] if result[0] else proceed()

        def proceed() -> Deferred[T]:
            return self._in_thread(_next, slices).addCallback(went_on)

        return proceed()

    # -- a store ----------------------------------------------------------------------------------

    def commit(self, writes: Sequence[Write]) -> Deferred[None]:
        """Keep all of these writes or none."""
        if self._broken is not None:
            return fail(self._broken)
        try:
            with broken_when_used():
                batch = Gathering(self._rows).of(writes)
        except StoreBroken:
            return fail().addErrback(self._failed)
        written = self._in_thread(self._opened.writer.write, batch)
        return written.addCallbacks(self._committed, self._not_committed)

    def _committed(self, _: None) -> None:
        self._commits += 1
        if monotonic() - self._looked > USAGE_SECONDS and self._closed is None:
            self._look()

    def _not_committed(self, failure: Failure) -> Failure | Deferred[None]:
        """Where the disk is full, fail when room was made, if it could be."""
        if not failure.check(StorageFull):
            return failure
        making = maybeDeferred(self._room.full)
        making.addErrback(lambda f: self._log.failure("making room on the store's disk", f))
        failed: Deferred[None] = making.addCallback(lambda _: failure)
        return failed

    def read(self, question: Question) -> Deferred[Found]:
        """What the scheduler asks for."""
        return self._in_slices(self._opened.reader.answer(question))

    def outcomes(self, jobs: Sequence[JobId]) -> Deferred[list[Stored | None]]:
        """What is kept of these jobs' ends, in their order."""
        return self._in_slices(self._opened.reader.outcomes(jobs))

    def page(self, listing: Listing) -> Deferred[Page]:
        """Some of a client's jobs."""
        return self._in_slices(self._opened.lister.page(listing))

    def jobs(self, ids: Sequence[JobId]) -> Deferred[list[KeptJob]]:
        """What is kept of these jobs; those that are known, by ascending ids."""
        return self._in_slices(self._opened.reader.jobs(ids))

    def room(self) -> str:
        """Why submissions are to be refused, in a sentence; or nothing."""
        return self._room.reason

    def usage(self) -> dict[str, Any]:
        """``folder``, ``bytes``, ``free``, ``schema``, ``commits``; the disk's of a moment ago;
        how many jobs were found to be ``damaged`` since the start, and what was ``mended`` then."""
        return {
            "folder": str(self.folder),
            "schema": VERSION,
            "commits": self._commits,
            "damaged": len(self._opened.reader.damaged),
            "mended": in_short(self._opened.mended) or None,
            **self._usage,
        }

    def _look(self) -> None:
        self._looked = monotonic()
        looking = self._thread.do(disk_usage, self.folder, self._opened.file)
        looking.addCallbacks(
            self._usage.update, lambda f: self._log.failure("looking at the store's disk", f)
        )

    # -- copies and the end -----------------------------------------------------------------------

    def backup(self, folder: Path) -> Deferred[dict[str, Any]]:
        """Copy store and values into a new folder; commits go on."""
        if self._backup is not None:
            return fail(StoreRefused(f"a backup is being made, in {self._backup.folder}"))
        backup = self._backup = Backup(folder, self.folder, self._opened.file)
        made = Deferred.fromCoroutine(backup.make(self._defer, self._in_thread))
        return made.addBoth(self._backed_up)

    def _backed_up(self, result: Any) -> Any:
        self._backup = None
        return result

    def close(self) -> Deferred[None]:
        """Finish what was begun, and let go of the file; again: when that is done."""
        if self._closed is None:
            closing = self._thread.do(self._opened.file.close)
            self._closed = closing.addBoth(self._ended)
            return self._closed
        again: Deferred[None] = Deferred()
        self._closed.addCallback(lambda _: again.callback(None))
        return again

    def _ended(self, result: Any) -> None:
        if isinstance(result, Failure):
            self._log.failure("the store was not closed well", result)
        self._thread.stop()


def _open(folder: Path, synchronous: Synchronous) -> _Opened:
    path = folder / DATABASE
    with refused_when_opened(path):
        make_folder(folder, durable=True)
        if what := damage(path.with_name(f"{path.name}-wal")):
            raise StoreRefused(f"the store {path} is damaged, {what}: {RESTORE}")
    return _Opened(path, synchronous)


def _next(slices: Slices[T]) -> tuple[bool, T | None]:
    """One slice: whether it was the last, and the answer then."""
    with broken_when_used():
        try:
            next(slices)
        except StopIteration as end:
            return True, end.value
        return False, None
