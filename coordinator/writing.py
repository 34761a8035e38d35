"""A batch of rows on its way into the tables, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Dialect

from ..protocol.ids import GroupId, JobId, SessionId
from . import schema
from .gathering import Batch, NewSpec
from .ledger import Ledger
from .rows import ADDED, CHANGING, GIVEN, PLAIN, SUCCESS, Row, Rows, outcome_seal, payload_seal
from .schema import ANSWERS, BLOBS, GROUPS, JOBS, META, OUTCOMES, PAYLOADS, SESSIONS, SPECS, WORKERS
from .sqlite_file import DIALECT, SqliteFile
from .statements import ManyRows, Statement, inserted, one_of, selected, slices, updated
from .store import StoreBroken

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

META_NAMES: Final = tuple(column.name for column in META.c)


class Writes:
    """The statements."""

    def __init__(self, dialect: Dialect = DIALECT) -> None:
        def one(clause: Any) -> Statement:
            return Statement(clause, dialect)

        def many(clause: Any) -> ManyRows:
            return ManyRows(clause, dialect)

        def upserted(table: Any) -> ManyRows:
            return many(schema.upsert(table))

        def gone(key: Any) -> Statement:
            return one(key.table.delete().where(one_of(key)))

        job = JOBS.c
        self.add_jobs = many(inserted(JOBS, ADDED))
        self.add_plain_jobs = many(inserted(JOBS, PLAIN))
        self.change_jobs = many(updated(JOBS, CHANGING))
        self.give_jobs = many(updated(JOBS, GIVEN))
        self.succeed_jobs = many(updated(JOBS, SUCCESS))
        self.add_payloads = many(inserted(PAYLOADS, PAYLOADS.c.keys()))
        self.add_outcomes = upserted(OUTCOMES)
        self.take_jobs = one(update(JOBS).values(taken=job.id).where(one_of(job.id)))
        self.specs_of = one(select(job.id, job.spec).where(one_of(job.id)))
        self.forget_jobs = gone(job.id)
        self.forget_payloads = gone(PAYLOADS.c.id)
        self.forget_outcomes = gone(OUTCOMES.c.id)
        self.specs = one(
            selected(SPECS, "digest", "name", "jobs", "seal").where(one_of(SPECS.c.digest))
        )
        self.count_specs = many(updated(SPECS, ("digest", "jobs", "seal"), "digest"))
        self.add_specs = upserted(SPECS)
        self.forget_specs = gone(SPECS.c.digest)
        self.save_groups = upserted(GROUPS)
        self.forget_groups = gone(GROUPS.c.id)
        self.save_sessions = upserted(SESSIONS)
        self.forget_sessions = gone(SESSIONS.c.id)
        self.save_answers = upserted(ANSWERS)
        self.forget_answers = gone(ANSWERS.c.session)
        self.trim_answers = one(
            ANSWERS.delete().where(
                ANSWERS.c.session == bindparam("of_session"),
                ANSWERS.c.sequence <= bindparam("last"),
            )
        )
        self.save_workers = upserted(WORKERS)
        self.forget_workers = gone(WORKERS.c.name)
        self.blobs = one(selected(BLOBS).where(one_of(BLOBS.c.digest)))
        self.save_blobs = upserted(BLOBS)
        self.forget_blobs = gone(BLOBS.c.digest)
        self.term = one(selected(META, "term"))
        self.meta = one(
            update(META)
            .values({name: bindparam(f"new_{name}") for name in META_NAMES})
            .where(META.c.term == bindparam("of_term"))
        )


class Writer:
    """Writes batches, for one term."""

    def __init__(self, file: SqliteFile, rows: Rows, meta: Row, ledger: Ledger) -> None:
        self._file = file
        self._ledger = ledger
        self._rows = rows
        self._writes = Writes()
        self._meta = meta
        self._specs: dict[bytes, tuple[str | None, int]] = {}
        """Names of specs, and how many jobs they have, as far as it is committed."""
        self._trimmed: dict[SessionId, int] = {}
        """Up to which sequence number sessions have no answers here any more."""
        self.spans: dict[GroupId, tuple[JobId, JobId]] = {}
        """Between which ids the known jobs of a group are."""

    def write(self, batch: Batch) -> None:
        """Write all of a batch, or nothing.

        Raises:
            StorageFull: there was no room for it.
            StoreBroken: the store cannot be relied upon any more.
        """
        with self._file.transaction():
            meta = self._fence(batch)
            counts = self._jobs(batch)
            self._account(batch, meta[3])
            self._rest(batch)
        self._meta, self._ledger.next_job = meta, meta[3]
        self._span(batch)
        self._specs.update(counts)
        if len(self._specs) > SPECS_COUNTED:
            self._specs.clear()

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

    def _jobs(self, batch: Batch) -> dict[bytes, tuple[str | None, int]]:
        """Write them; how many jobs their specs have then."""
        file, writes = self._file, self._writes
        file.write_many(writes.add_jobs, batch.added)
        file.write_many(writes.add_plain_jobs, batch.plain)
        file.write_many(writes.change_jobs, batch.changed)
        file.write_many(writes.give_jobs, batch.given)
        file.write_many(writes.succeed_jobs, batch.successes)
        file.write_many(
            writes.add_payloads,
            [(job, body, payload_seal(job, body)) for job, body in batch.payloads],
        )
        file.write_many(
            writes.add_outcomes,
            [(*outcome, outcome_seal(*outcome)) for outcome in batch.outcomes],
        )
        for ids in slices(batch.taken):
            file.write(writes.take_jobs, [ids])
        specs = {digest: spec.jobs for digest, spec in batch.specs.items()}
        more = Counter(specs)
        more.subtract(self._forget(batch.forgotten))
        more = Counter({digest: jobs for digest, jobs in more.items() if jobs})
        return self._count_specs(more, batch.specs)

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

    def _account(self, batch: Batch, next_job: int) -> None:
        """Note which ids have no job: those forgotten, and new ones forgotten before they were
        written."""
        given = range(self._meta[3], next_job)
        ids: set[int] = set(batch.forgotten)
        if len(batch.added) + len(batch.plain) < len(given):
            ids.update(given)
            ids.difference_update(row[0] for row in chain(batch.added, batch.plain))
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

    def _span(self, batch: Batch) -> None:
        """Note where the jobs of a group are."""
        spans = self.spans
        for rows, place in ((batch.added, _GROUP), (batch.plain, _PLAIN_GROUP)):
            for row in rows:
                group = row[place]
                if group is not None:
                    first, last = spans.get(group, (row[0], row[0]))
                    spans[group] = (min(first, row[0]), max(last, row[0]))
        for group, saved in batch.groups.items():
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


_GROUP, _PLAIN_GROUP = ADDED.index("group_id"), PLAIN.index("group_id")


_META = Statement(schema.upsert(META), DIALECT)


def write_meta(file: SqliteFile, row: Row) -> None:
    """The one row of ``meta``."""
    file.write(_META, [row])
