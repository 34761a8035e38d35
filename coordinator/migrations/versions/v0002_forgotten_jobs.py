"""Which jobs are forgotten is written down, so that one that is missing is missed.

What is missing by now is taken for forgotten: an older release has kept no account of it.
"""

from __future__ import annotations

from zlib import crc32

import msgpack
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table, and account for the ids up to now."""
    forgotten = op.create_table(
        "forgotten",
        sa.Column("first", Number, primary_key=True, autoincrement=False),
        sa.Column("last", Number, nullable=False),
        sa.Column("seal", Number, nullable=False),
    )
    rows = [
        {"first": first, "last": last, "seal": crc32(msgpack.packb((first, last)))}
        for first, last in _gaps()
    ]
    if rows:
        op.bulk_insert(forgotten, rows)


def _gaps() -> list[tuple[int, int]]:
    """The ids that were given and have no job, as first and last ones."""
    connection = op.get_bind()
    gaps = [
        (last + 1, number - 1)
        for last, number in connection.execute(
            sa.text(
                "SELECT before, id FROM (SELECT lag(id, 1, 0) OVER (ORDER BY id) AS before, id"
                " FROM jobs) AS neighbours WHERE id > before + 1"
            )
        )
    ]
    highest = connection.execute(sa.text("SELECT max(id) FROM jobs")).scalar() or 0
    for (following,) in connection.execute(sa.text("SELECT next_job FROM meta")):
        if following > highest + 1:
            gaps.append((highest + 1, following - 1))
    return gaps
