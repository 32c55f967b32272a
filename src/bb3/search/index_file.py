"""The file of a local index: one SQLite database with FTS5. Synchronous; ``local.py`` runs it in
a thread of its own.

    meta        key, value: format, attribution
    documents   one row a document; ``key`` (its url, else its title) makes it unique
    passages    which document a passage belongs to, and its place in it
    passage_fts title and text of each passage, full-text indexed (rowid = passages.id)
    vectors     embeddings of passages, filled as searches need them
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bb3.core.errors import SearchError
from bb3.core.types import Document, Vector
from bb3.search.chunk import MAX_TITLE_CHARS, passages
from bb3.search.query import any_of

FORMAT = "1"
BUSY_SECONDS = 10.0
TITLE_WEIGHT = 5.0

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, title TEXT NOT NULL, url TEXT NOT NULL,
    hash BLOB NOT NULL
);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    position INTEGER NOT NULL
);
CREATE INDEX passages_of_document ON passages (document);
CREATE VIRTUAL TABLE passage_fts USING fts5 (
    title, text, tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TABLE vectors (
    passage INTEGER NOT NULL REFERENCES passages ON DELETE CASCADE, model TEXT NOT NULL,
    vector BLOB NOT NULL, PRIMARY KEY (passage, model)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What an index holds. ``vectors``: passages embedded so far; ``bytes``: size on disk."""

    documents: int
    passages: int
    vectors: int
    bytes: int
    attribution: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What adding documents did to an index."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    empty: int = 0
    """Documents without a single word; they are left out."""

    def __add__(self, other: Changes) -> Changes:
        return Changes(
            self.added + other.added,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.removed + other.removed,
            self.empty + other.empty,
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that the full-text search found. ``bm25``: higher is better."""

    passage: int
    document: int
    title: str
    text: str
    url: str
    bm25: float


class IndexFile:
    """An open index file; used by one thread. Raises SearchError, naming the file."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection

    @classmethod
    def create(cls, path: Path, attribution: str) -> Self:
        """Make an empty index, or open the one that is there (an interrupted build)."""
        with sqlite_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            index = cls(path, connect(path))
            try:
                if is_empty(index.connection):
                    index.connection.execute("PRAGMA journal_mode = WAL")
                    with index.transaction() as db:
                        make_tables(db)
            finally:
                index.close()
        index = cls.open(path)
        if attribution and attribution != index.attribution():
            with index.transaction() as db:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('attribution', ?)", (attribution,))
        return index

    @classmethod
    def open(cls, path: Path) -> Self:
        if not path.is_file():
            raise SearchError(
                f"There is no search index {path}.", remedy="Build one with `bb3 index`."
            )
        with sqlite_errors(path):
            index = cls(path, connect(path))
        try:
            [(found,)] = index.select("SELECT value FROM meta WHERE key = 'format'") or [("none",)]
            if found != FORMAT:
                raise SearchError(
                    f"The search index {path} has format {found!r}, this version reads {FORMAT!r}.",
                    remedy="Build it again with `bb3 index`.",
                )
        except SearchError:
            index.close()
            raise
        return index

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing: rolled back on any exception, and by a crash."""
        with sqlite_errors(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # a full disk has ended it already
                    self.connection.execute("ROLLBACK")
                raise

    def attribution(self) -> str:
        rows = self.select("SELECT value FROM meta WHERE key = 'attribution'")
        return str(rows[0][0]) if rows else ""

    def select(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """All rows of a query."""
        with sqlite_errors(self.path):
            return self.connection.execute(sql, parameters).fetchall()

    def add(self, documents: Iterable[Document]) -> tuple[Changes, set[str]]:
        """Insert or replace documents in one transaction; returns their keys too."""
        changes = Changes()
        keys: set[str] = set()
        with self.transaction() as db:
            for document in documents:
                keys.add(key_of(document))
                changes += add_one(db, document)
        return changes, keys

    def remove(self, keys: Iterable[str]) -> int:
        """Delete documents by key (url, else title) in one transaction; returns how many."""
        removed = 0
        with self.transaction() as db:
            for key in keys:
                row = db.execute("SELECT id FROM documents WHERE key = ?", (clean(key),)).fetchone()
                if row is not None:
                    delete_document(db, row[0])
                    removed += 1
        return removed

    def keys(self) -> set[str]:
        return {row[0] for row in self.select("SELECT key FROM documents")}

    def optimize(self) -> None:
        """Merge the full-text index into one piece after a build."""
        with self.transaction() as db:
            db.execute("INSERT INTO passage_fts (passage_fts) VALUES ('optimize')")

    def stats(self) -> Stats:
        documents, count, vectors = self.select(
            "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM passages),"
            " (SELECT count(*) FROM vectors)"
        )[0]
        return Stats(
            documents=documents,
            passages=count,
            vectors=vectors,
            bytes=self.path.stat().st_size,
            attribution=self.attribution(),
        )

    def candidates(self, words: Sequence[str], limit: int) -> list[Candidate]:
        """Passages with any of the words, best bm25 first, titles weighing more."""
        rows = self.select(
            "SELECT f.rowid, p.document, f.title, f.text, d.url, -bm25(passage_fts, ?)"
            " FROM passage_fts f JOIN passages p ON p.id = f.rowid"
            " JOIN documents d ON d.id = p.document"
            " WHERE passage_fts MATCH ? ORDER BY bm25(passage_fts, ?) LIMIT ?",
            (TITLE_WEIGHT, any_of(words), TITLE_WEIGHT, limit),
        )
        return [Candidate(*row) for row in rows]

    def passage_count(self) -> int:
        return int(self.select("SELECT count(*) FROM passages")[0][0])

    def frequency(self, expression: str) -> int:
        """How many passages match an FTS5 expression."""
        rows = self.select(
            "SELECT count(*) FROM passage_fts WHERE passage_fts MATCH ?", (expression,)
        )
        return int(rows[0][0])

    def matching(self, expression: str, among: Sequence[int]) -> set[int]:
        """Which of the passages match an FTS5 expression."""
        rows = self.select(
            "SELECT rowid FROM passage_fts WHERE passage_fts MATCH ?"  # noqa: S608 (placeholders)
            f" AND rowid IN ({marks(among)})",
            (expression, *among),
        )
        return {row[0] for row in rows}

    def vectors(self, model: str, dim: int, among: Sequence[int]) -> dict[int, Vector[float]]:
        """The embeddings of ``dim`` floats that are there already, by passage."""
        rows = self.select(
            "SELECT passage, vector FROM vectors WHERE model = ? AND length(vector) = ?"  # noqa: S608 (placeholders)
            f" AND passage IN ({marks(among)})",
            (model, dim * Vector("f").itemsize, *among),
        )
        return {passage: Vector("f", blob) for passage, blob in rows}

    def keep_vectors(self, model: str, vectors: dict[int, Vector[float]]) -> None:
        """Store embeddings; those of passages that are gone meanwhile are dropped."""
        with self.transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO vectors (passage, model, vector)"
                " SELECT id, ?, ? FROM passages WHERE id = ?",
                ((model, vector.tobytes(), passage) for passage, vector in vectors.items()),
            )


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether a database has no tables yet."""
    return db.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def make_tables(db: sqlite3.Connection) -> None:
    """The tables of an empty index, unless another process was quicker."""
    if not is_empty(db):
        return
    for statement in SCHEMA.split(";\n"):
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT,))


def connect(path: Path) -> sqlite3.Connection:
    """A connection that waits for other writers and begins transactions only when told."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:  # no database at all
        connection.close()
        raise
    return connection


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Say SQLite's and the system's complaints as SearchError with the file's name."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        message = f"The search index {path} cannot be used: {error}."
        raise SearchError(message, remedy=remedy_of(str(error))) from error
    except OSError as error:
        raise SearchError(f"The search index {path} cannot be used: {error}.") from error


def remedy_of(complaint: str) -> str:
    """What can be done about a complaint of SQLite."""
    if "locked" in complaint:
        return "Another process is writing to it; try again."
    if "full" in complaint:
        return "Free some disk space."
    if "no such module" in complaint:
        return "This Python's SQLite lacks FTS5; use a Python built with it."
    if "readonly" in complaint or "unable to open" in complaint:
        return "Check that the file and its folder can be read and written."
    return "Delete the file and build it again with `bb3 index`."


def marks(values: Sequence[object]) -> str:
    """As many placeholders as there are values."""
    return ",".join("?" * len(values))


def key_of(document: Document) -> str:
    """What tells a document from others: its url, or its title where there is none."""
    return clean(document.url or document.title)


def add_one(db: sqlite3.Connection, document: Document) -> Changes:
    """Insert a document, replace it when its content changed, or leave it."""
    title, text, url = map(clean, (document.title[:MAX_TITLE_CHARS], document.text, document.url))
    digest = hashlib.blake2b(f"{title}\0{text}".encode(), digest_size=16).digest()
    key = key_of(document)
    old = db.execute("SELECT id, hash FROM documents WHERE key = ?", (key,)).fetchone()
    if old is not None and old[1] == digest:
        return Changes(unchanged=1)
    if old is not None:
        delete_document(db, old[0])
    parts = passages(text)
    if not parts:
        return Changes(empty=1)
    number = db.execute(
        "INSERT INTO documents (key, title, url, hash) VALUES (?, ?, ?, ?)",
        (key, title, url, digest),
    ).lastrowid
    for position, part in enumerate(parts):
        passage = db.execute(
            "INSERT INTO passages (document, position) VALUES (?, ?)", (number, position)
        ).lastrowid
        db.execute(
            "INSERT INTO passage_fts (rowid, title, text) VALUES (?, ?, ?)", (passage, title, part)
        )
    return Changes(added=1) if old is None else Changes(changed=1)


def delete_document(db: sqlite3.Connection, number: int) -> None:
    """Delete a document with its passages and their vectors."""
    db.execute(
        "DELETE FROM passage_fts WHERE rowid IN (SELECT id FROM passages WHERE document = ?)",
        (number,),
    )
    db.execute("DELETE FROM documents WHERE id = ?", (number,))


def clean(text: str) -> str:
    """Text that SQLite and UTF-8 can hold: no NUL (it would end the text), no half characters."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
