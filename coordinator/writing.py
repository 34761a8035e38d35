"""Batches on their way into the daybook, and from there into the tables: see ``daybook``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final

from ..protocol.errors import StorageFull
from ..protocol.ids import GroupId, JobId, SessionId
from . import daybook, schema
from .batches import LARGE, Batch, NewSpec, in_parts, jobs_of
from .daybook import Daybook, Portion, entry_seal
from .ledger import Ledger
from .rows import ADDED, PLAIN, Row, Rows, outcome_seal, payload_seal
from .schema import META
from .sqlite_file import DIALECT, SqliteFile, broken_when_used
from .statements import ManyRows, Statement, slices
from .store import StoreBroken
from .writes import META_NAMES, Writes

ANSWERS_KEPT: Final = 128
"""The last answers of a session."""

ANSWERS_MORE: Final = 32
"""Older ones, before they are removed."""

SESSIONS_TRIMMED: Final = 1024
"""Sessions of which it is remembered which answers were removed."""

SPECS_COUNTED: Final = 1024
"""Specs of which it is remembered how many jobs they have."""

FOR_GOOD: Final = 1 << 40
"""References to a blob of which it is not known how many they are."""


class Writer:
    """Writes batches, for one term."""

    def __init__(self, file: SqliteFile, rows: Rows, meta: Row, ledger: Ledger) -> None:
        self._file = file
        self._ledger = ledger
        self._rows = rows
        self._writes = Writes()
        self._meta = meta
        """As it is in the table."""
        self._next_job = meta[3]
        """The lowest id that was never given, entries included."""
        self.daybook = Daybook(rows)
        self._stuck = False
        self._broken: StoreBroken | None = None
        self._specs: dict[bytes, tuple[str | None, int]] = {}
        """Names of specs, and how many jobs they have, as far as it is in the tables."""
        self._trimmed: dict[SessionId, int] = {}
        """Up to which sequence number sessions have no answers here any more."""
        self.spans: dict[GroupId, tuple[JobId, JobId]] = {}
        """Between which ids the known jobs of a group are."""

    # -- entries ----------------------------------------------------------------------------------

    def write(self, batch: Batch) -> None:
        """Write all of a batch, or nothing.

        Raises:
            StorageFull: there was no room for it.
            StoreBroken: the store cannot be relied upon any more.
        """
        while self.daybook.much:
            self.post()
        with broken_when_used():
            self._see_ids(batch)
            payloads, outcomes = _without_large(batch)
            next_job = max(self._next_job, batch.next_job)
            parts = [batch]
            if jobs_of(batch) > daybook.PORTION:
                parts = in_parts(batch, daybook.PORTION)
            packed = [self.daybook.packed(part) for part in parts]
            if not (payloads or outcomes or len(parts) > 1):
                self._enter(packed)
        if payloads or outcomes or len(parts) > 1:
            with self._file.transaction():
                self._keep_bodies(payloads, outcomes)
                self._enter(packed)
        self._next_job = next_job
        for part, data in zip(parts, packed, strict=True):
            self.daybook.enter(part, len(data))
        self._stuck = False

    def _see_ids(self, batch: Batch) -> None:
        """An entry that does not fit into the tables would be found out too late."""
        if self._broken is not None:
            raise self._broken
        new = [run.first for run in batch.runs]
        new += [row[0] for row in batch.added]
        if new and min(new) < self._next_job:
            raise ValueError("a new job has the id of another one")

    def _enter(self, entries: Sequence[bytes]) -> None:
        term = self._meta[2]
        for number, packed in enumerate(entries, self.daybook.last + 1):
            seal = entry_seal(number, packed)
            values = {"number": number, "packed": packed, "seal": seal}
            if not self._file.change(self._writes.enter, of_term=term, **values):
                self._check_term(None)

    def _keep_bodies(self, payloads: Sequence[Row], outcomes: Sequence[Row]) -> None:
        self._file.write_many(self._writes.add_payloads, payloads)
        self._file.write_many(self._writes.add_outcomes, outcomes)

    def take_up(self, entries: Iterable[Row]) -> bool:
        """Bring in what a store that was not closed has left; whether its entries are sound."""
        for number, packed, seal in entries:
            if type(packed) is not bytes or entry_seal(number, packed) != seal:
                return False
            if not self.daybook:
                self.daybook.last = number - 1
            if self.daybook.last != number - 1:
                return False
            self.daybook.enter(self.daybook.unpacked(packed), len(packed))
        self.post_all()
        return True

    # -- from there into the tables ---------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether there is something to be done while nothing else is."""
        return bool(self.daybook) and not self._stuck

    def go_on(self) -> None:
        """Do some of that."""
        try:
            self.post()
        except StorageFull:
            self._stuck = True  # until a commit finds room again
        except StoreBroken as error:
            self._stuck, self._broken = True, error  # whoever writes next is told

    def post_all(self) -> None:
        """Bring in everything."""
        while self.daybook:
            self.post()

    def post(self) -> None:
        """Bring the oldest entries into the tables, if there are any.

        Raises:
            StorageFull: there was no room for it; nothing is lost.
            StoreBroken: the store cannot be relied upon any more.
        """
        if not self.daybook:
            return
        portion = self.daybook.portion()
        try:
            with self._file.transaction():
                meta, counts = self._bring_in(portion)
        except BaseException:
            self.daybook.put_back(portion)
            raise
        self._meta, self._ledger.next_job = meta, meta[3]
        self.daybook.strike(portion)
        self._span(portion)
        self._specs.update(counts)
        if len(self._specs) > SPECS_COUNTED:
            self._specs.clear()

    @contextmanager
    def as_if_posted(self) -> Iterator[None]:
        """The tables as they will be, to read them on a full disk: the changes stay in memory."""
        portion, next_job = self.daybook.portion(whole=True), self._ledger.next_job
        with broken_when_used():
            self._file.connection.execute("BEGIN IMMEDIATE")
            try:
                meta, _ = self._bring_in(portion)
                self._ledger.next_job = meta[3]
                self._span(portion)
                yield
            finally:
                self._ledger.next_job = next_job
                self.daybook.put_back(portion)
                self._file.connection.execute("ROLLBACK")

    def _bring_in(self, portion: Portion) -> tuple[Row, dict[bytes, tuple[str | None, int]]]:
        """The row of ``meta``, and how many jobs the specs have then."""
        meta = self._fence(portion.rest)
        counts = self._jobs(portion)
        self._account(portion, meta[3])
        self._rest(portion.rest)
        self._file.change(self._writes.strike, last=portion.last)
        return meta, counts

    def _fence(self, batch: Batch) -> Row:
        """See that the store is still of this term, and note which ids have been given."""
        number, store, term, next_job, next_group, _ = self._meta
        next_job, next_group = max(next_job, batch.next_job), max(next_group, batch.next_group)
        if (next_job, next_group) == self._meta[3:5]:
            self._check_term(term)
            return self._meta
        meta = self._rows.sealed(number, store, term, next_job, next_group)
        values = {f"new_{name}": value for name, value in zip(META_NAMES, meta, strict=True)}
        if not self._file.change(self._writes.meta, of_term=term, **values):
            self._check_term(None)
        return meta

    def _check_term(self, term: int | None) -> None:
        (row,) = self._file.rows(self._writes.term)
        if row[0] != term:
            raise StoreBroken(
                f"the store is of term {row[0]} by now, and this one's is {self._meta[2]}"
            )

    # -- jobs -------------------------------------------------------------------------------------

    def _jobs(self, portion: Portion) -> dict[bytes, tuple[str | None, int]]:
        """Write them; how many jobs their specs have then."""
        file, writes, rest = self._file, self._writes, portion.rest
        file.write_many(writes.add_jobs, portion.added)
        file.write_many(writes.add_plain_jobs, portion.plain)
        file.write_many(writes.change_jobs, portion.changed)
        self._keep_bodies(portion.payloads, portion.outcomes)
        for ids in slices(portion.taken):
            file.write(writes.take_jobs, [ids])
        specs = {digest: spec.jobs for digest, spec in rest.specs.items()}
        more = Counter(specs)
        more.subtract(self._forget(rest.forgotten))
        more = Counter({digest: jobs for digest, jobs in more.items() if jobs})
        return self._count_specs(more, rest.specs)

    def _forget(self, jobs: Sequence[JobId]) -> Counter[bytes]:
        """How many jobs of which spec have gone."""
        file, writes = self._file, self._writes
        gone: Counter[bytes] = Counter()
        for ids in slices(jobs):
            gone.update(spec for _, spec in file.rows_of(writes.specs_of, ids))
            file.write(writes.forget_payloads, [ids])
            file.write(writes.forget_outcomes, [ids])
            file.write(writes.forget_jobs, [ids])
        return gone

    def _account(self, portion: Portion, next_job: int) -> None:
        """Note which ids have no job: those forgotten, and new ones forgotten before they were
        written."""
        given = range(self._meta[3], next_job)
        ids: set[int] = set()
        if len(portion.added) + len(portion.plain) < len(given):
            ids.update(given)
            ids.difference_update(row[0] for row in chain(portion.added, portion.plain))
        ids.update(portion.rest.forgotten)
        if ids:
            self._ledger.forget(ids)

    def _count_specs(
        self, more: Counter[bytes], new: dict[bytes, NewSpec]
    ) -> dict[bytes, tuple[str | None, int]]:
        """Note how many jobs more, or fewer, each of these specs has; and how many that makes."""
        file, writes, rows = self._file, self._writes, self._rows
        counts = self._counted(more)
        added: list[Row] = []
        counted: list[Row] = []
        unused: list[bytes] = []
        for digest, change in more.items():
            if (known := counts.get(digest)) is not None:
                name, jobs = known
                jobs += change
                counts[digest] = name, jobs
                if jobs > 0:
                    counted.append((digest, jobs, rows.seal((digest, name, jobs))))
                else:
                    unused.append(digest)
            elif (spec := new.get(digest)) is not None:
                counts[digest] = spec.name, change
                seal = rows.seal((digest, spec.name, change))
                added.append((digest, change, spec.name, spec.packed, seal))
        file.write_many(writes.add_specs, added)
        file.write_many(writes.count_specs, counted)
        self._forget_all(writes.forget_specs, unused)
        return counts

    def _counted(self, digests: Iterable[bytes]) -> dict[bytes, tuple[str | None, int]]:
        """The names of these specs, and how many jobs they have, of those that are here."""
        known = self._specs
        counts = {digest: known[digest] for digest in digests if digest in known}
        others = [digest for digest in digests if digest not in known]
        for row in self._found(self._writes.specs, others):
            if self._rows.fits(row):
                counts[row[0]] = row[1], row[2]
        return {digest: count for digest, count in counts.items() if count[1] > 0}

    def _found(self, statement: Statement, keys: Iterable[Any]) -> list[Row]:
        """The rows that there are of these keys."""
        return [row for part in slices(list(keys)) for row in self._file.rows_of(statement, part)]

    def _forget_all(self, statement: Statement, keys: Iterable[Any]) -> None:
        """Remove the rows of these keys."""
        for part in slices(list(keys)):
            self._file.write(statement, [part])

    def _span(self, portion: Portion) -> None:
        """Note where the jobs of a group are."""
        spans = self.spans
        for rows, place in ((portion.added, _GROUP), (portion.plain, _PLAIN_GROUP)):
            for row in rows:
                group = row[place]
                if group is not None:
                    first, last = spans.get(group, (row[0], row[0]))
                    spans[group] = (min(first, row[0]), max(last, row[0]))
        for group, saved in portion.rest.groups.items():
            if saved is None:
                spans.pop(group, None)

    # -- the rest ---------------------------------------------------------------------------------

    def _rest(self, batch: Batch) -> None:
        writes = self._writes
        self._keep(batch.groups, writes.save_groups, writes.forget_groups)
        self._forget_all(writes.forget_answers, batch.forgotten_sessions)
        self._keep(batch.sessions, writes.save_sessions, writes.forget_sessions)
        self._keep_answers(batch)
        self._keep(batch.workers, writes.save_workers, writes.forget_workers)
        self._count_blobs({digest: more for digest, more in batch.blobs.items() if more})

    def _keep(self, rows: dict[Any, Row | None], save: ManyRows, forget: Statement) -> None:
        if rows:
            self._file.write_many(save, [row for row in rows.values() if row is not None])
            self._forget_all(forget, [key for key, row in rows.items() if row is None])

    def _keep_answers(self, batch: Batch) -> None:
        if batch.answers:
            last = dict(sorted(batch.answers))  # of each session, the highest number
            kept = [
                row
                for (session, sequence), row in batch.answers.items()
                if sequence > last[session] - ANSWERS_KEPT
            ]
            self._file.write_many(self._writes.save_answers, kept)
            self._trim_answers(last)

    def _trim_answers(self, last: dict[SessionId, int]) -> None:
        """Remove answers that are not needed any more, many at a time."""
        trimmed = self._trimmed
        for session, sequence in last.items():
            old = sequence - ANSWERS_KEPT
            if old >= trimmed.get(session, 0) + ANSWERS_MORE:
                self._file.write(self._writes.trim_answers, [(session, old)])
                trimmed[session] = old
        if len(trimmed) > SESSIONS_TRIMMED:
            trimmed.clear()

    def _count_blobs(self, more: dict[bytes, int]) -> None:
        """A row that is damaged keeps its blob for good."""
        file, writes, rows = self._file, self._writes, self._rows
        uses = {
            row[0]: row[1] if rows.fits(row) else FOR_GOOD
            for row in self._found(writes.blobs, more)
        }
        now = {digest: uses.get(digest, 0) + change for digest, change in more.items()}
        kept = [rows.sealed(digest, count) for digest, count in now.items() if count > 0]
        file.write_many(writes.save_blobs, kept)
        self._forget_all(writes.forget_blobs, [n for n, count in now.items() if count <= 0])


def _without_large(batch: Batch) -> tuple[list[Row], list[Row]]:
    """Take large payloads and outcomes out of a batch: their rows."""
    payloads = [one for one in batch.payloads if len(one[1]) > LARGE]
    outcomes = [one for one in batch.outcomes if len(one[2]) + len(one[3]) > LARGE]
    if payloads:
        batch.payloads = [one for one in batch.payloads if len(one[1]) <= LARGE]
    if outcomes:
        batch.outcomes = [one for one in batch.outcomes if len(one[2]) + len(one[3]) <= LARGE]
    return (
        [(*payload, payload_seal(*payload)) for payload in payloads],
        [(*outcome, outcome_seal(*outcome)) for outcome in outcomes],
    )


_GROUP, _PLAIN_GROUP = ADDED.index("group_id"), PLAIN.index("group_id")


_META = Statement(schema.upsert(META), DIALECT)


def write_meta(file: SqliteFile, row: Row) -> None:
    """The one row of ``meta``."""
    file.write(_META, [row])
