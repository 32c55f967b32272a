"""The integrity check of database files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bb3.core.errors import StoreError
from bb3.store.check import sqlite_problems


def database(path: Path, rows: int = 2000) -> Path:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        db.execute("CREATE INDEX t_b ON t (b)")
        db.executemany("INSERT INTO t (b) VALUES (?)", ((f"text {i}" * 5,) for i in range(rows)))
    return path


def test_a_whole_file(tmp_path: Path) -> None:
    path = database(tmp_path / "a b?#.sqlite")  # characters that mean something in a URI
    assert sqlite_problems(path) == []


def test_a_damaged_page_is_told(tmp_path: Path) -> None:
    path = database(tmp_path / "x.sqlite")
    body = bytearray(path.read_bytes())
    body[9 * 4096 + 100 : 10 * 4096] = bytes(4096 - 100)
    path.write_bytes(body)
    problems = sqlite_problems(path)
    assert 1 <= len(problems) <= 10


def test_files_that_are_no_database(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(b"this is not a database, " * 100)
    with pytest.raises(StoreError, match="not an SQLite database"):
        sqlite_problems(path)
    with pytest.raises(StoreError, match="cannot be opened"):
        sqlite_problems(tmp_path / "absent.sqlite")
    assert not (tmp_path / "absent.sqlite").exists()


def test_it_ends_in_time(tmp_path: Path) -> None:
    path = database(tmp_path / "x.sqlite", rows=20_000)
    with pytest.raises(StoreError, match="took longer than 0 s"):
        sqlite_problems(path, timeout_s=0.0)
