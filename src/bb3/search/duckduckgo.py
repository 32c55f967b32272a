"""DuckDuckGo, by the library ddgs, which reads its result pages: no key, no promise either."""

from __future__ import annotations

import asyncio
import math

from ddgs import DDGS
from ddgs.exceptions import RatelimitException, TimeoutException

from bb3.core.errors import SearchError
from bb3.core.types import Document
from bb3.search.http import TIMEOUT_S
from bb3.search.query import MAX_K, tidy

NOTHING = "No results found."
"""How the library says that there are none: an exception with these words."""


class DuckDuckGoSearch:
    """DuckDuckGo's snippets.

    Args:
        region: such as ``us-en`` or ``no-no``.
        safesearch: ``on``, ``moderate`` or ``off``.
    """

    name = "duckduckgo"

    def __init__(
        self, *, region: str = "us-en", safesearch: str = "moderate", timeout_s: float = TIMEOUT_S
    ) -> None:
        self._region = region
        self._safesearch = safesearch
        self._timeout_s = timeout_s
        self._client = DDGS(timeout=math.ceil(timeout_s))

    async def search(self, query: str, k: int) -> list[Document]:
        query, k = tidy(query), min(k, MAX_K)
        if not query or k <= 0:
            return []
        try:
            async with asyncio.timeout(self._timeout_s):
                hits = await asyncio.to_thread(self._ask, query, k)
        except (TimeoutError, TimeoutException) as error:
            raise SearchError(f"DuckDuckGo did not answer within {self._timeout_s:g} s.") from error
        except RatelimitException as error:
            raise SearchError(
                "DuckDuckGo refuses more requests for now.", remedy="Use another provider."
            ) from error
        except Exception as error:  # the library scrapes pages: anything can come
            if NOTHING in str(error):
                return []
            raise SearchError(f"DuckDuckGo cannot be asked: {error}.") from error
        return [
            Document(
                title=str(hit.get("title") or ""),
                text=str(hit.get("body") or ""),
                url=str(hit.get("href") or ""),
            )
            for hit in hits[:k]
        ]

    def _ask(self, query: str, k: int) -> list[dict[str, object]]:
        hits: list[dict[str, object]] = self._client.text(
            query,
            region=self._region,
            safesearch=self._safesearch,
            max_results=k,
            backend="duckduckgo",
        )
        return hits

    async def aclose(self) -> None:
        """Nothing stays open between searches."""
