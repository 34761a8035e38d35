"""What Alembic runs: the migrations, on the connection and in the transaction of who opens a store."""

from __future__ import annotations

from alembic import context

from ampacity.coordinator.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
)
context.run_migrations()
