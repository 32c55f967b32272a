"""What a database says, in words that name the store and the remedy."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from bb3.core.errors import StoreError

SQLITE = (
    # part of SQLite's error name, what is wrong, what helps
    ("NOTADB", "is not a bb3 store: the file is not an SQLite database.", "Name another file."),
    ("CORRUPT", "is damaged.", "Restore it from a copy, or move it away to start afresh."),
    ("FULL", "cannot be written: the disk is full.", "Free some space; nothing stored is lost."),
    ("READONLY", "cannot be written: it is read-only.", "Make file and folder writable for you."),
    ("CANTOPEN", "cannot be opened.", "Check that its folder exists and that you may write there."),
    ("PERM", "cannot be opened: permission denied.", "Make file and folder writable for you."),
    ("BUSY", "is locked by another process.", "End that process, or try again when it is done."),
    ("LOCKED", "is locked by another process.", "End that process, or try again when it is done."),
    ("IOERR", "cannot be read or written: the disk fails.", "Check the disk and its free space."),
    ("TOOBIG", "cannot take a text that long.", "Shorten it."),
)


def explain(error: Exception, name: str) -> StoreError:
    """A database's error as a StoreError about the store called ``name``."""
    if isinstance(error, IntegrityError):
        return StoreError(f"The store {name} refused a row: {_first_line(error.orig)}.")
    if isinstance(error, DBAPIError) and error.orig is not None:
        return _of_driver(error.orig, name)
    if isinstance(error, SQLAlchemyError):
        return StoreError(f"The store {name} failed: {_first_line(error)}.")
    return _of_driver(error, name)


def _of_driver(error: BaseException, name: str) -> StoreError:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorname", "")
        for part, wrong, remedy in SQLITE:
            if part in code:
                return StoreError(f"The store {name} {wrong}", remedy=remedy)
        return StoreError(f"The store {name} failed: {_first_line(error)}.")
    return StoreError(
        f"The database {name} failed: {_first_line(error)}.",
        remedy="Check that it runs, and its name, user and password.",
    )


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
