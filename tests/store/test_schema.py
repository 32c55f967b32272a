"""Migrations: complete, refusing what they do not know, all or nothing."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url, text

from bb3.core.errors import StoreError
from bb3.store import models, open_store, schema
from bb3.store.models import Base

REVISIONS = [
    script.revision for script in ScriptDirectory.from_config(schema.config()).walk_revisions()
][::-1]


def sync_url(where: str) -> str:
    return where if "://" in where else f"sqlite:///{where}"


async def test_the_migrations_make_what_the_models_say(where: str) -> None:
    await (await open_store(where)).aclose()
    engine = create_engine(sync_url(where))
    options = {"version_table": schema.VERSION_TABLE, "compare_type": True}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


async def test_every_revision_in_turn_from_an_empty_store(where: str) -> None:
    for revision in REVISIONS:
        schema.migrate(make_url(sync_url(where)), where, revision)
        engine = create_engine(sync_url(where))
        with engine.connect() as connection:
            found = connection.scalar(text(f"SELECT version_num FROM {schema.VERSION_TABLE}"))
        engine.dispose()
        assert found == revision
    store = await open_store(where)
    await store.start_conversation("ada")
    await store.aclose()


async def test_the_migrations_alone_make_the_store() -> None:
    """No ``create_all`` anywhere: else a store's schema would depend on when it was made."""
    package = Path(models.__file__).parent
    assert not [p for p in package.rglob("*.py") if "create_all" in p.read_text(encoding="utf-8")]


async def test_a_newer_versions_store_is_refused_and_left_alone(where: str) -> None:
    await (await open_store(where)).aclose()
    engine = create_engine(sync_url(where))
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StoreError, match="written by a newer version of bb3") as caught:
        await open_store(where)
    assert "Update bb3" in caught.value.remedy
    with engine.begin() as connection:
        found = connection.scalar(text(f"SELECT version_num FROM {schema.VERSION_TABLE}"))
    engine.dispose()
    assert found == "9999"


async def test_a_failing_migration_leaves_the_old_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "migrations"
    shutil.copytree(Path(models.__file__).with_name("migrations"), scripts)
    (scripts / "versions" / "9000_bad.py").write_text(
        "from alembic import op\n"
        f"revision, down_revision = '9000', {REVISIONS[-1]!r}\n"
        "def upgrade():\n"
        "    op.execute('CREATE TABLE half (id INTEGER)')\n"
        "    op.execute('DROP TABLE memories')\n"
        "    op.execute('INSERT INTO nowhere VALUES (1)')\n",
        encoding="utf-8",
    )
    path = tmp_path / "bb3.db"
    await (await open_store(path)).aclose()
    honest = schema.config

    def with_the_bad_one() -> object:
        settings = honest()
        settings.set_main_option("script_location", str(scripts))
        return settings

    monkeypatch.setattr(schema, "config", with_the_bad_one)
    with pytest.raises(StoreError, match="no such table: nowhere"):
        await open_store(path)
    with closing(sqlite3.connect(path)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "memories" in names
    assert "half" not in names
    monkeypatch.undo()
    await (await open_store(path)).aclose()


async def test_a_fresh_store_opened_by_many_tasks_at_once(where: str) -> None:
    stores = await asyncio.gather(*(open_store(where) for _ in range(4)))
    await asyncio.gather(*(store.start_conversation("ada") for store in stores))
    for store in stores:
        await store.aclose()


async def test_pragmas_of_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "bb3.db"
    store = await open_store(path)
    async with store._engine.connect() as connection:
        for pragma, value in (
            ("journal_mode", "wal"),
            ("synchronous", 1),
            ("foreign_keys", 1),
            ("busy_timeout", 15000),
            ("secure_delete", 1),
        ):
            assert (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar() == value
    await store.aclose()
