"""Alembic's migrations. Released revisions are never edited; a change is a new one."""
