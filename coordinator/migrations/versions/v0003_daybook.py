"""A commit is one entry of a daybook, and is brought into the other tables later.

An older release would not know of what is only there, and refuses the store.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "daybook",
        sa.Column("number", Number, primary_key=True, autoincrement=False),
        sa.Column("packed", sa.LargeBinary, nullable=False),
        sa.Column("seal", Number, nullable=False),
    )
