"""The default provider: a persistent, incremental index of documents on this machine.

Full-text search (SQLite FTS5, bm25, Porter stems) finds candidates; coverage of the query's
content words and, with an embedder, similarity of meaning rank them and decide what is relevant
at all. What is not in the index gives no documents, not bad ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Self, TypeVar

from bb3.core.errors import Bb3Error, SearchError
from bb3.core.ports import Embedder, Progress
from bb3.core.types import Document
from bb3.search.index_file import Changes, IndexFile, Stats
from bb3.search.query import MAX_K, MAX_QUERY_CHARS, Query, parse
from bb3.search.ranking import Evidence, by_meaning, by_words

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH = 250
"""Documents per transaction: an interrupted build loses at most so many."""
CANDIDATES = 40
"""Passages of the full-text search that are looked at closely."""
EMBEDDED = 12
"""Of those, how many are compared by meaning; each costs some 5-20 ms once."""


class LocalIndex:
    """A search provider over one index file. Make it with ``open`` or ``create``.

    All work on the file happens in one thread, so searches of a process wait for each other
    (milliseconds) and for the batch that is being added, never for a whole build.
    """

    name = "local"

    def __init__(
        self,
        file: IndexFile,
        thread: ThreadPoolExecutor,
        embedder: Embedder | None = None,
        *,
        general: bool = True,
    ) -> None:
        self._file = file
        self._thread = thread
        self._embedder = embedder
        self._general = general
        self._closed = False

    @classmethod
    async def open(
        cls, path: Path | str, *, embedder: Embedder | None = None, general: bool = True
    ) -> Self:
        """Open an existing index. Raises SearchError when there is none or it is damaged.

        Args:
            general: it is about the world at large, not about those who ask ("my", "today").
        """
        return await cls._start(lambda: IndexFile.open(Path(path)), embedder, general=general)

    @classmethod
    async def create(
        cls, path: Path | str, *, attribution: str = "", embedder: Embedder | None = None
    ) -> Self:
        """Make an index, or go on with the one at ``path``. Raises SearchError.

        Args:
            attribution: whose texts these are and under which licence; shown with results.
        """
        return await cls._start(lambda: IndexFile.create(Path(path), attribution), embedder)

    @classmethod
    async def _start(
        cls,
        opening: Callable[[], IndexFile],
        embedder: Embedder | None,
        *,
        general: bool = True,
    ) -> Self:
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bb3-index")
        try:
            file = await asyncio.get_running_loop().run_in_executor(thread, opening)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(file, thread, embedder, general=general)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise SearchError(f"The search index {self._file.path} is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def add(
        self,
        documents: Iterable[Document],
        progress: Progress | None = None,
        *,
        prune: bool | Callable[[], bool] = False,
    ) -> Changes:
        """Add documents; those already there unchanged cost next to nothing.

        Committed in batches: after an interruption, adding the same documents again goes on
        where it stopped. A later document with the same url (or title, without a url) replaces
        the earlier one.

        Args:
            progress: advanced by one a document.
            prune: whether to remove, afterwards, what is in the index but not among ``documents``;
                a function is asked then.
        """
        source = iter(documents)
        changes = Changes()
        seen: set[str] = set()
        while batch := await asyncio.to_thread(lambda: list(islice(source, BATCH))):
            done, keys = await self._run(lambda batch=batch: self._file.add(batch))  # type: ignore[misc]
            changes += done
            seen |= keys
            if progress is not None:
                progress.advance(len(batch))
        if prune() if callable(prune) else prune:
            gone = await self._run(lambda: self._file.remove(self._file.keys() - seen))
            changes += Changes(removed=gone)
        if changes.added or changes.changed or changes.removed:
            await self._run(self._file.optimize)
        return changes

    async def remove(self, keys: Iterable[str]) -> int:
        """Remove documents by url (or title, for those without); returns how many there were."""
        return await self._run(lambda: self._file.remove(keys))

    async def stats(self) -> Stats:
        return await self._run(self._file.stats)

    async def search(self, query: str, k: int) -> list[Document]:
        """At most k documents that answer the query, best first, each by its best passage."""
        asked = parse(query, general=self._general)
        k = min(k, MAX_K)
        if not asked.words or k <= 0:
            return []
        found = await self._run(lambda: self._find(asked))
        if self._embedder is not None and found:
            found = await self._by_meaning(self._embedder, query[:MAX_QUERY_CHARS], found)
        best = {e.passage.document: e for e in reversed(found)}  # the first of each document
        return [
            Document(title=e.passage.title, text=e.passage.text, url=e.passage.url, score=e.score)
            for e in sorted(best.values(), key=lambda e: -e.score)[:k]
        ]

    def _find(self, asked: Query) -> list[Evidence]:
        candidates = self._file.candidates(asked.words, CANDIDATES)
        return by_words(self._file, asked, candidates)

    async def _by_meaning(
        self, embedder: Embedder, query: str, found: list[Evidence]
    ) -> list[Evidence]:
        """Order by meaning too. Only the passages looked at are embedded, once: their vectors
        stay in the index file, so that building an index costs no embedding at all.
        """
        found = found[:EMBEDDED]
        ids = [e.passage.passage for e in found]
        vectors = await self._run(lambda: self._file.vectors(embedder.name, embedder.dim, ids))
        missing = [e.passage for e in found if e.passage.passage not in vectors]
        try:
            asked, *made = await embedder.embed([query, *(f"{p.title}. {p.text}" for p in missing)])
        except Bb3Error as error:
            log.warning("search goes on without embeddings: %s", error)
            return found
        fresh = {p.passage: vector for p, vector in zip(missing, made, strict=True)}
        if fresh:
            try:
                await self._run(lambda: self._file.keep_vectors(embedder.name, fresh))
            except SearchError as error:  # a full disk costs time, not the answer
                log.warning("embeddings are not kept: %s", error)
        return by_meaning(found, asked, vectors | fresh)

    async def aclose(self) -> None:
        """Close the file. Safe to call twice."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
            self._thread.shutdown(wait=False)
