"""Client of the ParlAI search protocol: what BlenderBot's search servers speak.

``POST <server>`` with form fields ``q`` (query) and ``n`` (count) is answered by
``{"response": [{"url": ..., "title": ..., "content": ...}, ...]}``.
"""

from __future__ import annotations

from pydantic import BaseModel

from bb3.core.types import Document
from bb3.search.http import TIMEOUT_S, JsonService
from bb3.search.query import MAX_K, tidy


class Hit(BaseModel):
    """One result. Some servers give ``content`` as a list of lines."""

    content: str | list[str]
    title: str | None = None
    url: str | None = None


class ParlaiAnswer(BaseModel):
    """The whole answer."""

    response: list[Hit]


class ParlaiSearch:
    """A search server of the ParlAI protocol at ``url`` (``host:port`` will do)."""

    name = "parlai"

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._service = JsonService(url, timeout_s=timeout_s)

    async def search(self, query: str, k: int) -> list[Document]:
        query, k = tidy(query), min(k, MAX_K)
        if not query or k <= 0:
            return []
        answer = await self._service.post({"q": query, "n": str(k)}, ParlaiAnswer)
        return [
            Document(title=hit.title or "", text=text_of(hit), url=hit.url or "")
            for hit in answer.response[:k]
        ]

    async def aclose(self) -> None:
        await self._service.aclose()


def text_of(hit: Hit) -> str:
    """The content as one text."""
    return hit.content if isinstance(hit.content, str) else "\n".join(hit.content)
