"""Run by Alembic; ``bb3.store.schema`` brings the connection and its transaction."""

from __future__ import annotations

from alembic import context

from bb3.store.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table="bb3_version",
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
