"""The store on disk: an SQLite file, written and read by one thread of its own.

Everything that touches the file is done in that thread, one piece after the other: a commit, or a
slice of a question. So a question sees every commit that was asked for before it, and a long one
lets commits pass between its slices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.blobs import DeferToThread
from ..protocol.errors import StorageFull, StoreRefused
from ..protocol.ids import JobId
from .backup import Backup, disk_usage
from .effects import Write
from .examining import in_short
from .gathering import Gathering
from .kept import ByIds, Found, KeptJob, Listing, Oldest, Page, Question, Remembered, Stored
from .reading import Slices
from .rows import Rows
from .schema import VERSION
from .sqlite_file import Synchronous, broken_when_used
from .sqlite_opening import Opened, open_file
from .sqlite_thread import StoreThread
from .store import StoreBroken

T = TypeVar("T")

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


class SqliteStore:
    """A ``DurableStore``, opened for one term."""

    durable = True

    _log = Logger()

    def __init__(
        self,
        folder: Path,
        thread: StoreThread,
        opened: Opened,
        defer: DeferToThread,
        room: Room | None,
    ) -> None:
        self.folder = folder
        self.id: bytes = opened.id
        self.term: int = opened.term
        self.remembered: Remembered = opened.remembered
        opened.remembered = Remembered()  # who opened the store decides how long it is kept
        self._thread = thread
        self._thread.spare = opened.writer
        self._opened = opened
        self._defer = defer
        self._room: Room = _Plenty() if room is None else room
        self._rows = Rows()
        self._broken: StoreBroken | None = None
        self._closed: Deferred[None] | None = None
        self._backup: Backup | None = None
        self._commits = 0
        self._posting = False
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

        def made(found: Opened) -> SqliteStore:
            store = cls(folder, thread, found, defer, room)
            store._look()
            return store

        def failed(failure: Failure) -> Failure:
            thread.stop()
            return failure

        return thread.do(open_file, folder, synchronous).addCallbacks(made, failed)

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
        if not self._posting:
            self._post()
        if monotonic() - self._looked > USAGE_SECONDS and self._closed is None:
            self._look()

    def _post(self) -> None:
        """Where there are many entries, bring in the oldest; commits have their turn between."""
        self._posting = self._opened.writer.daybook.many and self._closed is None
        if self._posting:
            posting = self._in_thread(self._opened.writer.post)
            posting.addCallbacks(lambda _: self._post(), self._not_posted)

    def _not_posted(self, failure: Failure) -> None:
        """Nothing is lost. Where the disk is full, there is soon too much, and commits fail."""
        self._posting = False
        if not failure.check(StorageFull):
            self._log.failure("what is committed cannot be brought into the tables", failure)

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
        if isinstance(question, Oldest):
            return self._in_slices(self._opened.oldest(question))
        jobs = question.jobs if isinstance(question, ByIds) else None
        return self._in_slices(self._opened.read(self._opened.reader.answer(question), jobs))

    def outcomes(self, jobs: Sequence[JobId]) -> Deferred[list[Stored | None]]:
        """What is kept of these jobs' ends, in their order."""
        return self._in_slices(self._opened.read(self._opened.reader.outcomes(jobs), jobs))

    def page(self, listing: Listing) -> Deferred[Page]:
        """Some of a client's jobs."""
        return self._in_slices(self._opened.read(self._opened.lister.page(listing)))

    def jobs(self, ids: Sequence[JobId]) -> Deferred[list[KeptJob]]:
        """What is kept of these jobs; those that are known, by ascending ids."""
        return self._in_slices(self._opened.read(self._opened.reader.jobs(ids), ids))

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
        opened = self._opened
        backup = self._backup = Backup(folder, self.folder, opened.file, opened.writer.post_all)
        posted = self._in_slices(self._opened.read(_nothing()))
        made = posted.addCallback(
            lambda _: Deferred.fromCoroutine(backup.make(self._defer, self._in_thread))
        )
        return made.addBoth(self._backed_up)

    def _backed_up(self, result: Any) -> Any:
        self._backup = None
        return result

    def close(self) -> Deferred[None]:
        """Finish what was begun, and let go of the file; again: when that is done."""
        if self._closed is None:
            closing = self._thread.do(self._opened.close, self._broken is None)
            self._closed = closing.addBoth(self._ended)
            return self._closed
        again: Deferred[None] = Deferred()
        self._closed.addCallback(lambda _: again.callback(None))
        return again

    def _ended(self, result: Any) -> None:
        if isinstance(result, Failure):
            self._log.failure("the store was not closed well", result)
        self._thread.stop()


def _next(slices: Slices[T]) -> tuple[bool, T | None]:
    """One slice: whether it was the last, and the answer then."""
    with broken_when_used():
        try:
            next(slices)
        except StopIteration as end:
            return True, end.value
        return False, None


def _nothing() -> Slices[None]:
    """A question that asks for nothing."""
    yield from ()
