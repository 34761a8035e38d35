"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    _jobs()
    _beside_jobs()
    _rest()
    _indexes()


def _id() -> sa.Column[int]:
    return sa.Column("id", Number, primary_key=True, autoincrement=False)


def _jobs() -> None:
    op.create_table(
        "jobs",
        _id(),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("session", sa.LargeBinary),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("group_id", Number),
        sa.Column("place", Number),
        sa.Column("submitted", sa.Double, nullable=False),
        sa.Column("orphan", Number),
        sa.Column("size", Number, nullable=False),
        sa.Column("blob", sa.LargeBinary),
        sa.Column("blob_size", Number),
        sa.Column("retry_of", Number),
        sa.Column("fixed_seal", Number, nullable=False),
        sa.Column("taken", Number),
        sa.Column("state", Number, nullable=False),
        sa.Column("ended", sa.Double),
        sa.Column("kept", Number, nullable=False),
        sa.Column("retried", Number),
        sa.Column("course", sa.LargeBinary, nullable=False),
        sa.Column("changing_seal", Number, nullable=False),
    )


def _beside_jobs() -> None:
    op.create_table(
        "specs",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("jobs", Number, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("packed", sa.LargeBinary, nullable=False),
        sa.Column("seal", Number, nullable=False),
    )
    op.create_table(
        "payloads",
        _id(),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("seal", Number, nullable=False),
    )
    op.create_table(
        "outcomes",
        _id(),
        sa.Column("ending", Number, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("log", sa.LargeBinary, nullable=False),
        sa.Column("seal", Number, nullable=False),
    )


def _rest() -> None:
    op.create_table(
        "meta",
        _id(),
        sa.Column("store", sa.LargeBinary, nullable=False),
        sa.Column("term", Number, nullable=False),
        sa.Column("next_job", Number, nullable=False),
        sa.Column("next_group", Number, nullable=False),
        sa.Column("seal", Number, nullable=False),
    )
    op.create_table(
        "groups",
        _id(),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("session", sa.LargeBinary),
        sa.Column("own", Number, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("size", Number),
        sa.Column("submitted", sa.Double, nullable=False),
        sa.Column("seal", Number, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("next_sequence", Number, nullable=False),
        sa.Column("seen", sa.LargeBinary, nullable=False),
        sa.Column("seal", Number, nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("session", sa.LargeBinary, primary_key=True),
        sa.Column("sequence", Number, primary_key=True, autoincrement=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("seal", Number, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("info", sa.LargeBinary, nullable=False),
        sa.Column("local", Number, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("seal", Number, nullable=False),
    )
    op.create_table(
        "blobs",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("uses", Number, nullable=False),
        sa.Column("seal", Number, nullable=False),
    )


def _indexes() -> None:
    _index("jobs_by_key", "client", "key", where='"key" IS NOT NULL')
    _index("jobs_by_place", "group_id", "place", where="group_id IS NOT NULL")
    _index("jobs_owed", "session", "id", where="ended IS NOT NULL AND taken IS NULL")
    _index("jobs_untaken", "ended", where="ended IS NOT NULL AND taken IS NULL")
    _index("jobs_taken", "ended", where="taken IS NOT NULL")
    _index("jobs_orphan", "session", "id", where="orphan IS NOT NULL AND ended IS NULL")


def _index(name: str, *columns: str, where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "jobs", list(columns), sqlite_where=condition, postgresql_where=condition)
