"""SearXNG, a metasearch engine to run oneself (https://docs.searxng.org/dev/search_api.html).

The instance must allow the ``json`` format (``search.formats`` in its settings); most public ones
do not.
"""

from __future__ import annotations

from pydantic import BaseModel

from bb3.core.types import Document
from bb3.search.http import TIMEOUT_S, JsonService
from bb3.search.query import MAX_K, tidy


class Result(BaseModel):
    """One result; ``content`` is a snippet."""

    url: str
    title: str
    content: str | None = None


class SearxngAnswer(BaseModel):
    """The part of the answer that is used."""

    results: list[Result]


class SearxngSearch:
    """The instance at ``url`` (its address without ``/search``).

    Args:
        language: a language code such as ``en``; ``auto`` leaves it to the instance.
        safesearch: 0 off, 1 moderate, 2 strict.
    """

    name = "searxng"

    def __init__(
        self,
        url: str,
        *,
        language: str = "auto",
        safesearch: int = 1,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._service = JsonService(f"{url.strip().rstrip('/')}/search", timeout_s=timeout_s)
        self._params = {"format": "json", "language": language, "safesearch": str(safesearch)}

    async def search(self, query: str, k: int) -> list[Document]:
        query, k = tidy(query), min(k, MAX_K)
        if not query or k <= 0:
            return []
        answer = await self._service.get({"q": query, **self._params}, SearxngAnswer)
        return [
            Document(title=result.title, text=result.content or "", url=result.url)
            for result in answer.results[:k]
        ]

    async def aclose(self) -> None:
        await self._service.aclose()
