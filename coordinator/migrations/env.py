"""What Alembic runs: the migrations, in the transaction of who opens a store."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], render_as_batch=True)
context.run_migrations()
