"""The store: ``open_store`` and the class that is the ``Store`` port over SQLAlchemy."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from bb3.core.errors import StoreError
from bb3.core.types import Conversation, Memory, Trace, Turn, Vector
from bb3.store import conversations, export, memories
from bb3.store.failures import explain
from bb3.store.schema import BUSY_S, CONNECT_S, migrate

P = ParamSpec("P")
T = TypeVar("T")


async def open_store(where: str | Path) -> SqlStore:
    """Open a store, made or migrated where needed.

    Args:
        where: path of an SQLite file, or a URL: ``sqlite:///path`` or
            ``postgresql+psycopg://user:password@host/database``.

    Raises:
        StoreError: it cannot be opened, is not a store, or is a newer version's.
    """
    url, name = _locate(where)
    try:
        if url.get_backend_name() == "sqlite":
            await asyncio.to_thread(_prepare_file, Path(str(url.database)))
        await asyncio.to_thread(migrate, url, name)
        return SqlStore(_engine(url), name)
    except ModuleNotFoundError as error:
        raise StoreError(
            f"The database {name} needs the module {error.name!r}.",
            remedy="Install it: pip install 'bb3[postgres]'",
        ) from error
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise explain(error, name) from error


class SqlStore:
    """The ``Store`` port over SQLite or PostgreSQL; made by ``open_store``.

    Each method is one transaction. Writers of one process queue here, in order, rather than in
    SQLite, whose waiting is by polling; other processes are waited for up to ``BUSY_S`` seconds.
    """

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self.name = name
        self._engine = engine
        self._readers = async_sessionmaker(engine, expire_on_commit=False)
        self._writers = async_sessionmaker(
            engine.execution_options(bb3_begin="BEGIN IMMEDIATE"), expire_on_commit=False
        )
        self._queue = asyncio.Lock() if engine.dialect.name == "sqlite" else None
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def start_conversation(self, user: str) -> Conversation:
        return await self._write(conversations.start, user)

    async def latest_conversation(self, user: str) -> Conversation | None:
        return await self._read(conversations.latest, user)

    async def turns(self, conversation: str, *, limit: int | None = None) -> list[Turn]:
        return await self._read(conversations.turns, conversation, limit)

    async def save_turn(self, conversation: str, turn: Turn) -> None:
        await self._write(conversations.save_turn, conversation, turn)

    async def save_trace(self, trace: Trace) -> None:
        await self._write(conversations.save_trace, trace)

    async def trace(self, trace_id: str) -> Trace | None:
        return await self._read(conversations.trace, trace_id)

    async def latest_trace(self, conversation: str) -> Trace | None:
        return await self._read(conversations.latest_trace, conversation)

    async def memories(self, user: str, *, superseded: bool = False) -> list[Memory]:
        return await self._read(memories.of_user, user, superseded=superseded)

    async def add_memory(
        self, user: str, memory: Memory, *, supersedes: Sequence[int] = ()
    ) -> Memory:
        return await self._write(memories.add, user, memory, supersedes)

    async def edit_memory(
        self, user: str, memory_id: int, text: str, vector: Vector[float] | None
    ) -> Memory | None:
        return await self._write(memories.edit, user, memory_id, text, vector)

    async def forget_memory(self, user: str, memory_id: int) -> bool:
        forgotten = await self._write(memories.forget, user, memory_id)
        if forgotten:
            await self._scrub()
        return forgotten

    async def forget_all_memories(self, user: str) -> int:
        count = await self._write(memories.forget_all, user)
        if count:
            await self._scrub()
        return count

    async def age_memories(self, user: str, used: Sequence[int]) -> None:
        await self._write(memories.age, user, used)

    async def export_user(self, user: str) -> dict[str, Any]:
        return await self._read(export.of_user, user)

    async def aclose(self) -> None:
        self._closed = True
        if self._running:
            await asyncio.wait(self._running)
        await self._engine.dispose()

    async def _read(
        self,
        work: Callable[Concatenate[AsyncSession, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        async def transaction() -> T:
            async with self._readers() as session:
                return await work(session, *args, **kwargs)

        return await self._finish(transaction())

    async def _write(
        self,
        work: Callable[Concatenate[AsyncSession, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        async def transaction() -> T:
            async with self._queue or nullcontext(), self._writers.begin() as session:
                return await work(session, *args, **kwargs)

        return await self._finish(transaction())

    async def _scrub(self) -> None:
        """Take what was deleted out of SQLite's write-ahead log as well, if nobody reads it now."""
        if self._queue is None:
            return

        async def checkpoint() -> None:
            async with self._engine.connect() as connection:
                connection = await connection.execution_options(bb3_begin="")
                await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

        await self._finish(checkpoint())

    async def _finish(self, transaction: Coroutine[Any, Any, T]) -> T:
        """Run a transaction to its end even if the caller is cancelled meanwhile: a connection
        that is left halfway would keep SQLite's lock.
        """
        if self._closed:
            transaction.close()
            raise StoreError(f"The store {self.name} is closed.")
        task = asyncio.create_task(transaction)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except (SQLAlchemyError, OSError) as error:
            raise explain(error, self.name) from error


def _locate(where: str | Path) -> tuple[URL, str]:
    """The URL with its asynchronous driver, and a name fit to be shown (no password)."""
    if isinstance(where, Path) or "://" not in where:
        path = Path(where).expanduser().absolute()
        return URL.create("sqlite+aiosqlite", database=str(path)), str(path)
    try:
        url = make_url(where)
    except (ArgumentError, ValueError) as error:  # a port that is no number is a ValueError
        raise StoreError(
            f"Not a database URL: {where.partition('://')[0]}://…",
            remedy="Write sqlite:///path or postgresql+psycopg://user:password@host/database.",
        ) from error
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database not in (None, "", ":memory:"):
        return _locate(Path(str(url.database)))
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg"), url.render_as_string(hide_password=True)
    raise StoreError(
        f"No store can be kept in {url.render_as_string(hide_password=True)!r}.",
        remedy="Write sqlite:///path or postgresql+psycopg://user:password@host/database.",
    )


def _prepare_file(path: Path) -> None:
    """Make folder and file, readable by their owner only: conversations are private."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(
            f"The store {path} cannot be opened: {error.strerror}.",
            remedy="Name a file in a folder that you may write to.",
        ) from error


def _engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        timeout = {"connect_timeout": CONNECT_S}
        return create_async_engine(url, pool_pre_ping=True, connect_args=timeout)
    engine = create_async_engine(url)
    event.listen(engine.sync_engine, "connect", _set_up_connection)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _set_up_connection(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {int(BUSY_S * 1000)}",
        "synchronous = NORMAL",  # with the write-ahead log: no loss when the process is killed
        "foreign_keys = ON",
        "secure_delete = ON",  # what is forgotten is overwritten
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A writer asks for the lock at once: one that asks later, having read, may be refused.
    if begin := connection.get_execution_options().get("bb3_begin", "BEGIN"):
        connection.exec_driver_sql(begin)
