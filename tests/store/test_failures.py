"""What a person reads when a store cannot be used."""

from __future__ import annotations

import os
import random
import socket
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from bb3.core.errors import StoreError
from bb3.core.types import Memory, Speaker, Turn
from bb3.store import open_store, schema, sql


async def refusal(where: str | Path) -> str:
    with pytest.raises(StoreError) as caught:
        await open_store(where)
    assert caught.value.remedy
    return str(caught.value)


async def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear store, " * 100)
    message = await refusal(path)
    assert str(path) in message
    assert "not an SQLite database" in message
    assert path.read_text().startswith("Dear store")


async def test_a_folder(tmp_path: Path) -> None:
    message = await refusal(tmp_path)
    assert str(tmp_path) in message
    assert "Is a directory" in message


async def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be opened" in await refusal(tmp_path / "file" / "bb3.db")


async def test_a_missing_parent_is_made_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "bb3.db"
    store = await open_store(path)
    await store.start_conversation("ada")
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    assert path.with_name("bb3.db-wal").stat().st_mode & 0o077 == 0
    await store.aclose()


async def test_a_home_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    store = await open_store("~/bb3.db")
    assert (tmp_path / "bb3.db").exists()
    await store.aclose()


async def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE memories (id INTEGER)")
    assert "belongs to another program" in await refusal(path)


async def test_a_truncated_file(tmp_path: Path) -> None:
    path = await _filled(tmp_path)
    path.write_bytes(path.read_bytes()[:9000])
    assert "damaged" in await _first_failure(path)


async def test_a_scribbled_file(tmp_path: Path) -> None:
    path = await _filled(tmp_path)
    data = bytearray(path.read_bytes())
    dice = random.Random(5)
    data[4096:] = dice.randbytes(len(data) - 4096)
    path.write_bytes(data)
    assert "damaged" in await _first_failure(path)


async def _filled(folder: Path) -> Path:
    store = await open_store(folder / "bb3.db")
    conversation = await store.start_conversation("ada")
    for n in range(50):
        await store.save_turn(conversation.id, Turn(speaker=Speaker.USER, text=f"{n} " * 200))
        await store.add_memory("ada", Memory(speaker=Speaker.USER, text=f"I am {n}."))
    await store.aclose()
    return folder / "bb3.db"


async def _first_failure(path: Path) -> str:
    """What is said on opening, or on the first use."""
    with pytest.raises(StoreError) as caught:
        store = await open_store(path)
        try:
            talk = await store.latest_conversation("ada")
            await store.turns(talk.id if talk else "none")
            await store.memories("ada")
            await store.start_conversation("ada")
        finally:
            await store.aclose()
    assert str(path) in str(caught.value)
    return str(caught.value)


async def test_a_store_locked_by_another_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "BUSY_S", 0.2)
    path = tmp_path / "bb3.db"
    store = await open_store(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another process"):
            await store.start_conversation("ada")
        assert await store.memories("ada") == []  # readers need not wait
        other.execute("ROLLBACK")
    await store.start_conversation("ada")
    await store.aclose()


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not count for root")
async def test_a_read_only_file(tmp_path: Path) -> None:
    path = await _filled(tmp_path)
    path.chmod(0o400)
    message = await refusal(path)
    assert f"{path} cannot be opened: Permission denied" in message


async def test_a_read_only_disk(small_disk: Path) -> None:
    path = small_disk / "bb3.db"
    await (await open_store(path)).aclose()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    message = await refusal(path)
    assert f"{path} cannot be opened: Read-only file system" in message


# --- URLs and PostgreSQL ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ada:secret@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://ada:secret@host:port/db",
        "://",
    ],
)
async def test_a_url_that_is_no_store(url: str) -> None:
    message = await refusal(url)
    assert "postgresql+psycopg://" in message
    assert "secret" not in message


async def test_an_sqlite_url(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/bb3.db")
    assert store.name == f"{tmp_path}/bb3.db"
    await store.aclose()
    assert (tmp_path / "bb3.db").exists()


async def test_an_unreachable_server() -> None:
    pytest.importorskip("psycopg")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        message = await refusal(f"postgresql://ada:secret@127.0.0.1:{port}/db")
    assert f"127.0.0.1:{port}" in message
    assert "secret" not in message


async def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setattr(schema, "CONNECT_S", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        message = await refusal(f"postgresql://ada:secret@127.0.0.1:{silent.getsockname()[1]}/db")
    assert "timeout" in message


async def test_a_wrong_password(postgres: str) -> None:
    head, _, tail = postgres.rpartition("@")
    message = await refusal(head.rpartition(":")[0] + ":wrongpass@" + tail)
    assert "password authentication failed" in message
    assert "wrongpass" not in message


async def test_an_unknown_database(postgres: str) -> None:
    assert "does not exist" in await refusal(postgres + "_not")


async def test_a_server_that_dies_and_comes_back_is_reconnected(postgres: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    store = await open_store(postgres)
    conversation = await store.start_conversation("ada")
    plain_url = postgres.replace("+psycopg", "")
    with psycopg.connect(plain_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert await store.latest_conversation("ada") == conversation
    await store.aclose()
