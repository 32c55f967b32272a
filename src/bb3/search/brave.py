"""Brave Search, by its web search API (https://api-dashboard.search.brave.com/app/documentation)."""

from __future__ import annotations

import html
import re

from pydantic import BaseModel

from bb3.core.errors import UsageError
from bb3.core.types import Document
from bb3.search.http import TIMEOUT_S, JsonService
from bb3.search.query import tidy

URL = "https://api.search.brave.com/res/v1/web/search"
MAX_COUNT = 20
MAX_CHARS = 400
MAX_WORDS = 50
"""The service refuses longer queries and more results."""

MAX_SNIPPET = 4000
"""Characters; a snippet has some 200, and ``html`` fails at an entity of over 4300 digits."""
TAG = re.compile(r"</?\w[^<>]*>")


class Result(BaseModel):
    """One result; the texts are snippets with HTML marks in them."""

    url: str
    title: str
    description: str | None = None
    extra_snippets: list[str] | None = None


class Web(BaseModel):
    """The web results."""

    results: list[Result]


class BraveAnswer(BaseModel):
    """The part of the answer that is used; without hits there is no ``web``."""

    web: Web | None = None


class BraveSearch:
    """Brave Search with an API key, which goes into a header and nowhere else.

    Raises UsageError when the key is empty or cannot stand in a header.
    """

    name = "brave"

    def __init__(
        self,
        key: str,
        *,
        safesearch: str = "moderate",
        timeout_s: float = TIMEOUT_S,
        url: str = URL,
    ) -> None:
        if not key.strip() or not key.isascii() or not key.isprintable():
            raise UsageError(
                "The key of Brave Search is empty or has characters that no key has.",
                remedy="Get one at https://brave.com/search/api and set it in the settings.",
            )
        self._safesearch = safesearch
        self._service = JsonService(
            url, headers={"X-Subscription-Token": key.strip()}, timeout_s=timeout_s
        )

    async def search(self, query: str, k: int) -> list[Document]:
        query = " ".join(tidy(query)[:MAX_CHARS].split()[:MAX_WORDS])
        if not query or k <= 0:
            return []
        k = min(k, MAX_COUNT)
        answer = await self._service.get(
            {"q": query, "count": str(k), "safesearch": self._safesearch}, BraveAnswer
        )
        results = answer.web.results if answer.web else []
        return [
            Document(title=plain(result.title), text=snippets(result), url=result.url)
            for result in results[:k]
        ]

    async def aclose(self) -> None:
        await self._service.aclose()


def snippets(result: Result) -> str:
    """All that the answer says of a page, one snippet a line."""
    parts = [result.description or "", *(result.extra_snippets or [])]
    return "\n".join(plain(part) for part in parts if part)


def plain(text: str) -> str:
    """A snippet without tags and entities."""
    return html.unescape(TAG.sub("", text[:MAX_SNIPPET])).strip()
