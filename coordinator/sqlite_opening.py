"""Opening a store's file: it is examined, brought up to date, and read once; a term begins."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes
from typing import TypeVar

from sqlalchemy import select
from twisted.logger import Logger

from ..protocol.blobfiles import make_folder
from ..protocol.errors import StorageFull, StoreRefused
from ..protocol.ids import JobId
from .examining import in_short, mend, rows_named, structure, unaccounted
from .kept import ByIds, Found, Oldest
from .ledger import Ledger
from .listing import Lister
from .migrating import migrate, version_of
from .reading import Reader, Slices
from .remembering import META_ROW, Remembering, spans
from .rows import Row, Rows
from .schema import DAYBOOK, FORGOTTEN, JOBS, SESSIONS, VERSION, WORKERS
from .specs import Specs
from .sqlite_file import DIALECT, RESTORE, SqliteFile, Synchronous, refused_when_opened
from .sqlite_log import damage
from .statements import Statement, selected
from .store import StoreBroken
from .writing import Writer, write_meta

_log = Logger()

T = TypeVar("T")

DATABASE = "queue.db"

FORGOTTEN_HELD = 2000
"""Jobs that wait to be forgotten, before they are, so that the next ones can be looked for."""


class Opened:
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
        self._take_up(rows, path)
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

    def read(self, slices: Slices[T], jobs: Sequence[JobId] | None = None) -> Slices[T]:
        """Answer a question from tables that hold all that was committed before it: about these
        jobs, or about everything."""
        writer = self.writer
        last = writer.daybook.last
        if jobs is None or writer.daybook.about(jobs):
            try:
                while writer.daybook.first <= last:
                    writer.post()
                    yield
            except StorageFull:
                return (yield from self._as_if_posted(slices))
        return (yield from slices)

    def oldest(self, question: Oldest) -> Slices[Found]:
        """The same for the oldest jobs, which are in the tables: entries are about younger ones,
        or they wait there to be forgotten."""
        daybook = self.writer.daybook
        if daybook and len(daybook.forgotten) <= FORGOTTEN_HELD:
            ids = self.reader.oldest(question, daybook.forgotten)
            if len(ids) == question.limit and not daybook.about(ids):
                found = yield from self.reader.answer(ByIds(ids))
                return found._replace(ids=ids)
        return (yield from self.read(self.reader.answer(question)))

    def _as_if_posted(self, slices: Slices[T]) -> Slices[T]:
        while self.writer.daybook:
            with self.writer.as_if_posted():
                try:
                    next(slices)
                except StopIteration as end:
                    found: T = end.value
                    return found
            yield
        return (yield from slices)

    def close(self, whole: bool) -> None:
        """Bring all of a whole store into its tables, and let go of the file."""
        try:
            if whole:
                with suppress(StorageFull):  # it is done when the store is opened again
                    self.writer.post_all()
        finally:
            self.file.close()

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

    def _take_up(self, rows: Rows, path: Path) -> None:
        """Bring into the tables what an earlier process has committed and did not get to."""
        entries, found = self.file.rows(_ENTRIES), self.file.rows(META_ROW)
        if not entries or len(found) != 1 or not rows.fits(found[0]):
            return  # without its first record, it is refused anyway
        meta = found[0]
        try:
            sound = Writer(self.file, rows, meta, Ledger(self.file, meta[3])).take_up(entries)
        except (StorageFull, StoreBroken) as error:
            raise StoreRefused(f"the store {path} cannot be opened: {error}") from error
        if not sound:
            raise _damaged(path, "in its daybook")

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


_ENTRIES = Statement(selected(DAYBOOK).order_by(DAYBOOK.c.number), DIALECT)

_USED = [
    Statement(select(*table.primary_key).limit(1), DIALECT)
    for table in (JOBS, FORGOTTEN, SESSIONS, WORKERS, DAYBOOK)
]
"""What has rows where anything was ever accepted."""


def _damaged(path: Path, what: str) -> StoreRefused:
    return StoreRefused(f"the store {path} is damaged ({what}): {RESTORE}")


def open_file(folder: Path, synchronous: Synchronous) -> Opened:
    path = folder / DATABASE
    with refused_when_opened(path):
        make_folder(folder, durable=True)
        if what := damage(path.with_name(f"{path.name}-wal")):
            raise StoreRefused(f"the store {path} is damaged, {what}: {RESTORE}")
    return Opened(path, synchronous)
