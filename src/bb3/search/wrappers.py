"""Providers made of providers: a cache, a fallback, and one that reads the pages it found."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from bb3.core.errors import SearchError
from bb3.core.ports import SearchProvider
from bb3.core.types import Document
from bb3.search.fetch import PageFetcher

log = logging.getLogger(__name__)


class CachedSearch:
    """Remembers answers for a while. Errors are not remembered.

    Args:
        max_entries: the least recently used answer goes first.
        ttl_s: how long an answer is good, in seconds.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        provider: SearchProvider,
        *,
        max_entries: int = 256,
        ttl_s: float = 900.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = provider.name
        self._provider = provider
        self._max_entries = max_entries
        self._ttl_s = ttl_s
        self._clock = clock
        self._answers: OrderedDict[tuple[str, int], tuple[float, list[Document]]] = OrderedDict()

    async def search(self, query: str, k: int) -> list[Document]:
        key = (" ".join(query.casefold().split()), k)
        known = self._answers.get(key)
        if known is not None and self._clock() - known[0] < self._ttl_s:
            self._answers.move_to_end(key)
            return list(known[1])
        documents = await self._provider.search(query, k)
        self._answers[key] = (self._clock(), documents)
        self._answers.move_to_end(key)
        while len(self._answers) > self._max_entries:
            self._answers.popitem(last=False)
        return list(documents)

    async def aclose(self) -> None:
        self._answers.clear()
        await self._provider.aclose()


class FallbackSearch:
    """Asks the next provider when one fails or finds nothing.

    Raises SearchError with all the reasons when every provider failed; when at least one could
    answer and found nothing, there is nothing.
    """

    def __init__(self, providers: Sequence[SearchProvider]) -> None:
        self.name = "+".join(provider.name for provider in providers)
        self.providers = tuple(providers)

    async def search(self, query: str, k: int) -> list[Document]:
        failures: list[SearchError] = []
        for provider in self.providers:
            try:
                documents = await provider.search(query, k)
            except SearchError as error:
                log.warning("search provider %s failed: %s", provider.name, error)
                failures.append(error)
                continue
            if documents:
                return documents
        if failures and len(failures) == len(self.providers):
            raise SearchError(" ".join(str(error) for error in failures)) from failures[-1]
        return []

    async def aclose(self) -> None:
        for provider in self.providers:
            await provider.aclose()


class ReadingSearch:
    """Reads the pages of those hits that come with a snippet only; a page that cannot be read
    in time leaves its snippet.

    Args:
        snippet_chars: a text shorter than this is taken for a snippet.
        deadline_s: for all pages together, in seconds.
    """

    def __init__(
        self,
        provider: SearchProvider,
        fetcher: PageFetcher,
        *,
        snippet_chars: int = 600,
        deadline_s: float = 6.0,
    ) -> None:
        self.name = provider.name
        self._provider = provider
        self._fetcher = fetcher
        self._snippet_chars = snippet_chars
        self._deadline_s = deadline_s

    async def search(self, query: str, k: int) -> list[Document]:
        hits = await self._provider.search(query, k)
        return list(await asyncio.gather(*(self._read(hit) for hit in hits)))

    async def _read(self, hit: Document) -> Document:
        if len(hit.text) >= self._snippet_chars or not hit.url.startswith(("http:", "https:")):
            return hit
        try:
            async with asyncio.timeout(self._deadline_s):
                page = await self._fetcher.fetch(hit.url)
        except (SearchError, TimeoutError) as error:
            log.info("page not read, snippet kept: %s", error)
            return hit
        if len(page.text) <= len(hit.text):
            return hit
        return replace(hit, title=hit.title or page.title, text=page.text)

    async def aclose(self) -> None:
        await self._fetcher.aclose()
        await self._provider.aclose()
