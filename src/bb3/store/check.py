"""Whether a database file is whole. Blocking: runs in a thread."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from bb3.core.errors import StoreError
from bb3.store.failures import explain

PROBLEMS = 10
STEPS = 100_000
"""Instructions of SQLite between two looks at the clock."""


def sqlite_problems(path: Path, *, timeout_s: float = 60.0) -> list[str]:
    """What SQLite's integrity check complains of in the file, at most ten; none when it is whole.

    The file is only read; other processes may go on writing.

    Raises:
        StoreError: it cannot be opened, is no SQLite database, or the check took too long.
    """
    end = time.monotonic() + timeout_s
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.set_progress_handler(lambda: time.monotonic() > end, STEPS)
            rows = db.execute(f"PRAGMA integrity_check({PROBLEMS})").fetchall()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
            raise StoreError(
                f"The check of {path} took longer than {timeout_s:g} s.",
                remedy="Give it more time, or check the file with the sqlite3 program.",
            ) from error
        raise explain(error, str(path)) from error
    return [text for (text,) in rows if text != "ok"]
