"""Bringing a database to the schema of this version. Blocking: runs in a thread.

The whole migration is one transaction behind one lock, so a crash leaves the old schema, and of
two processes that open a fresh store at once the second finds the work done.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.pool import NullPool

from bb3.core.errors import StoreError
from bb3.store.models import Base

VERSION_TABLE = "bb3_version"
BUSY_S = 15.0
"""How long a process waits for another that writes."""
CONNECT_S = 10
"""How long a database server may take to answer the door."""
ADVISORY_LOCK = 0x626233
"""PostgreSQL's advisory lock of a migration: the bytes of "bb3"."""

_one_at_a_time = threading.Lock()  # alembic.context is one global per process


def config() -> Config:
    """Alembic's configuration: the migrations lie inside the package."""
    settings = Config()
    settings.set_main_option("script_location", "bb3.store:migrations")
    settings.set_main_option("path_separator", "os")
    return settings


def migrate(url: URL, name: str, revision: str = "head") -> None:
    """Bring the database at ``url`` to ``revision``.

    Raises:
        StoreError: it was written by a newer bb3, or belongs to another program.
        sqlalchemy.exc.SQLAlchemyError, sqlite3.Error: the database failed.
    """
    with _one_at_a_time, _engine(url) as engine:
        if url.get_backend_name() == "sqlite":
            _use_wal(str(url.database))
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                lock = text("SELECT pg_advisory_xact_lock(:key)")
                connection.execute(lock, {"key": ADVISORY_LOCK})
            _check(connection, name)
            settings = config()
            settings.attributes["connection"] = connection
            command.upgrade(settings, revision)


def _check(connection: Connection, name: str) -> None:
    scripts = ScriptDirectory.from_config(config())
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    known = {script.revision for script in scripts.walk_revisions()}
    for found in context.get_current_heads():
        if found not in known:
            raise StoreError(
                f"The store {name} was written by a newer version of bb3 (schema {found!r}; "
                f"this version knows up to {scripts.get_current_head()!r}).",
                remedy="Update bb3, or name another store.",
            )
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in tables and tables & set(Base.metadata.tables):
        raise StoreError(
            f"The database {name} belongs to another program: it has a table "
            f"{min(tables & set(Base.metadata.tables))!r} that bb3 did not make.",
            remedy="Name another file or database.",
        )


@contextmanager
def _engine(url: URL) -> Iterator[Engine]:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url.set(drivername="sqlite"), poolclass=NullPool)
        event.listen(engine, "connect", _manual_transactions)
        event.listen(engine, "begin", _begin_immediate)
    else:
        timeout = {"connect_timeout": CONNECT_S}
        engine = create_engine(url, poolclass=NullPool, connect_args=timeout)
    try:
        yield engine
    finally:
        engine.dispose()


def _manual_transactions(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # else sqlite3 commits before each CREATE TABLE
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _use_wal(path: str) -> None:
    """Set the write-ahead log, which stays set. SQLite's own waiting does not cover the switch."""
    end = time.monotonic() + BUSY_S
    while True:
        with closing(sqlite3.connect(path)) as connection:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > end:
                    raise
            else:
                return
        time.sleep(0.02)
