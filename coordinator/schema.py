"""The tables of a durable store.

Theory of operation. A job is one row of ``jobs``. Half of it is *fixed* when the job is submitted,
the other half is *changing*; each half ends with a seal, a checksum of its values, so that an
update need not read what it leaves alone. The changing half is one packed value, for every column
of an update costs; beside it stands once more what jobs are found and counted by. What is long,
and read seldom, stands apart: inline payloads, outcomes, and specs, which many jobs share. Every
other row has one seal. A seal covers what a row is found by as well, and ``taken`` is its own:
nothing, or the job's id once more. The order of a table's columns is part of that: where damage
makes a value longer or shorter, those after it move, and do not fit their seal any more.
Seals say nothing of a row that is not found. Ids are given in their order, so each one below the
next one has a job, or is in a run of ``forgotten``: see ``ledger`` and ``examining``.

An index costs every job that it holds, so there is one for a question only where looking through
the jobs in the order of their ids would not do.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeEngine

VERSION: Final = "0002"
"""The newest version in ``migrations``."""

_Number: Final[TypeEngine[int]] = BigInteger().with_variant(Integer(), "sqlite")

METADATA: Final = MetaData()


def _id() -> Column[int]:
    return Column("id", _Number, primary_key=True, autoincrement=False)


def _number(name: str, empty: bool = False) -> Column[int]:
    return Column(name, _Number, nullable=empty)


def _time(name: str, empty: bool = True) -> Column[float]:
    return Column(name, Double, nullable=empty)


def _text(name: str, empty: bool = False) -> Column[str]:
    return Column(name, Text, nullable=empty)


def _bytes(name: str, empty: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=empty)


def _seal(name: str = "seal") -> Column[int]:
    return Column(name, _Number, nullable=False)


META: Final = Table(
    "meta",
    METADATA,
    _id(),  # 1: there is one row
    _bytes("store"),
    _number("term"),
    _number("next_job"),
    _number("next_group"),
    _seal(),
)

JOBS: Final = Table(
    "jobs",
    METADATA,
    _id(),
    _text("client"),
    _bytes("session", empty=True),
    _bytes("spec"),  # its digest
    _text("key", empty=True),
    _number("group_id", empty=True),
    _number("place", empty=True),
    _time("submitted", empty=False),
    _number("orphan", empty=True),  # 1: it ends with its session
    _number("size"),  # bytes of its inline payload
    _bytes("blob", empty=True),  # the digest of a payload that is none
    _number("blob_size", empty=True),
    _number("retry_of", empty=True),
    _seal("fixed_seal"),
    _number("taken", empty=True),
    _number("state"),
    _time("ended"),
    _number("kept"),
    _number("retried", empty=True),
    _bytes("course"),  # all that changes, packed: see ``rows``
    _seal("changing_seal"),
)

SPECS: Final = Table(
    "specs",
    METADATA,
    Column("digest", LargeBinary, primary_key=True),
    _number("jobs"),  # that are known
    _text("name", empty=True),
    _bytes("packed"),
    _seal(),
)

PAYLOADS: Final = Table("payloads", METADATA, _id(), _bytes("body"), _seal())

FORGOTTEN: Final = Table(  # runs of ids that were given and have no job (any more): see ``ledger``
    "forgotten",
    METADATA,
    Column("first", _Number, primary_key=True, autoincrement=False),
    _number("last"),
    _seal(),
)

OUTCOMES: Final = Table(
    "outcomes", METADATA, _id(), _number("ending"), _bytes("body"), _bytes("log"), _seal()
)

GROUPS: Final = Table(
    "groups",
    METADATA,
    _id(),
    _text("client"),
    _bytes("session", empty=True),
    _number("own"),
    _text("name", empty=True),
    _number("size", empty=True),
    _time("submitted", empty=False),
    _seal(),
)

SESSIONS: Final = Table(
    "sessions",
    METADATA,
    Column("id", LargeBinary, primary_key=True),
    _text("client"),
    _number("next_sequence"),
    _bytes("seen"),
    _seal(),
)

ANSWERS: Final = Table(
    "answers",
    METADATA,
    Column("session", LargeBinary, primary_key=True),
    Column("sequence", _Number, primary_key=True, autoincrement=False),
    _bytes("answer"),
    _seal(),
)

WORKERS: Final = Table(
    "workers",
    METADATA,
    Column("name", Text, primary_key=True),
    _bytes("info"),
    _number("local"),
    _time("since", empty=False),
    _seal(),
)

BLOBS: Final = Table(
    "blobs",
    METADATA,
    Column("digest", LargeBinary, primary_key=True),
    _number("uses"),
    _seal(),
)


def _index(name: str, *columns: Column[object], where: object) -> None:
    Index(name, *columns, sqlite_where=where, postgresql_where=where)


_job = JOBS.c
HAS_ENDED: Final = _job.ended.is_not(None)
UNTAKEN: Final = and_(_job.ended.is_not(None), _job.taken.is_(None))
TAKEN: Final = _job.taken.is_not(None)
ORPHAN: Final = and_(_job.orphan.is_not(None), _job.ended.is_(None))

_index("jobs_by_key", _job.client, _job.key, where=_job.key.is_not(None))
_index("jobs_by_place", _job.group_id, _job.place, where=_job.group_id.is_not(None))
_index("jobs_owed", _job.session, _job.id, where=UNTAKEN)
_index("jobs_untaken", _job.ended, where=UNTAKEN)
_index("jobs_taken", _job.ended, where=TAKEN)
_index("jobs_orphan", _job.session, _job.id, where=ORPHAN)


def upsert(table: Table) -> ClauseElement:
    """A whole row, in the place of the one with the same key if there is one.

    SQLite and PostgreSQL know it in the same words.
    """
    names = table.c.keys()
    new = insert(table).values({name: bindparam(name) for name in names})
    keys = [column.name for column in table.primary_key]
    changes = {name: new.excluded[name] for name in names if name not in keys}
    return new.on_conflict_do_update(index_elements=keys, set_=changes)
