"""The statements that write a store's tables, compiled once."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.engine import Dialect

from . import schema
from .rows import ADDED, CHANGING, PLAIN
from .schema import (
    ANSWERS,
    BLOBS,
    DAYBOOK,
    GROUPS,
    JOBS,
    META,
    OUTCOMES,
    PAYLOADS,
    SESSIONS,
    SPECS,
    WORKERS,
)
from .sqlite_file import DIALECT
from .statements import ManyRows, Statement, inserted, one_of, selected, updated

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
        entry = [bindparam(column.name, type_=column.type) for column in DAYBOOK.c]
        self.enter = one(
            insert(DAYBOOK).from_select(
                DAYBOOK.c.keys(),
                select(*entry).select_from(META).where(META.c.term == bindparam("of_term")),
            )
        )
        self.strike = one(delete(DAYBOOK).where(DAYBOOK.c.number <= bindparam("last")))
        self.term = one(selected(META, "term"))
        self.meta = one(
            update(META)
            .values({name: bindparam(f"new_{name}") for name in META_NAMES})
            .where(META.c.term == bindparam("of_term"))
        )
