"""Floor 2: what survives a restart. SQLAlchemy models, repositories, Alembic migrations."""

from bb3.store.sql import SqlStore, open_store

__all__ = ["SqlStore", "open_store"]
