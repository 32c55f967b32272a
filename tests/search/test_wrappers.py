"""Cache, fallback and reading."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from bb3.core.errors import SearchError
from bb3.core.types import Document
from bb3.search.fetch import PageFetcher
from bb3.search.scripted import ScriptedSearch
from bb3.search.wrappers import CachedSearch, FallbackSearch, ReadingSearch
from tests.search.servers import running

JAZZ = Document(title="Jazz", text="Music.", url="x:jazz")
DOWN = SearchError("down")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_cache() -> None:
    inner, clock = ScriptedSearch(otherwise=[JAZZ]), Clock()
    search = CachedSearch(inner, max_entries=2, ttl_s=10, clock=clock)
    first = await search.search("Jazz", 5)
    first.clear()  # the caller's list is the caller's
    assert await search.search(" jazz ", 5) == [JAZZ]
    assert len(inner.queries) == 1
    await search.search("jazz", 3)
    assert len(inner.queries) == 2
    clock.now = 11
    await search.search("jazz", 5)
    assert len(inner.queries) == 3
    for query in "abc":
        await search.search(query, 5)
    await search.search("c", 5)
    await search.search("b", 5)
    assert len(inner.queries) == 6
    await search.search("a", 5)
    assert len(inner.queries) == 7
    await search.aclose()
    assert inner.closed


async def test_errors_are_not_cached() -> None:
    inner = ScriptedSearch(otherwise=DOWN)
    search = CachedSearch(inner)
    for _ in range(2):
        with pytest.raises(SearchError):
            await search.search("jazz", 5)
    assert len(inner.queries) == 2


async def test_fallback(caplog: pytest.LogCaptureFixture) -> None:
    down, empty, good = (ScriptedSearch(otherwise=x) for x in (DOWN, [], [JAZZ]))
    search = FallbackSearch([down, empty, good])
    assert search.name == "scripted+scripted+scripted"
    assert await search.search("jazz", 5) == [JAZZ]
    assert "down" in caplog.text
    assert await FallbackSearch([down, empty]).search("jazz", 5) == []
    assert await FallbackSearch([]).search("jazz", 5) == []
    with pytest.raises(SearchError, match="down down"):
        await FallbackSearch([down, down]).search("jazz", 5)
    await search.aclose()
    assert down.closed
    assert good.closed


async def test_reading() -> None:
    async def page(request: Request) -> Response:
        if request.url.path == "/slow":
            await asyncio.sleep(2)
        text = "Jazz is a music genre that swings. " * 30
        return HTMLResponse(f"<html><title>Page</title><body><p>{text}</p></body></html>")

    routes = [Route("/jazz", page), Route("/slow", page)]
    async with running(Starlette(routes=routes)) as url:
        hits = [
            Document(title="", text="snippet", url=f"{url}/jazz", score=0.5),
            Document(title="kept", text="long " * 200, url=f"{url}/jazz"),
            Document(title="gone", text="snippet", url=f"{url}/404"),
            Document(title="slow", text="snippet", url=f"{url}/slow"),
            Document(title="local", text="snippet", url="file:///etc/passwd"),
        ]
        inner = ScriptedSearch(otherwise=hits)
        fetcher = PageFetcher(allow_private=True)
        search = ReadingSearch(inner, fetcher, deadline_s=1.0)
        found = await search.search("jazz", 5)
        await search.aclose()
    assert found[0].text.count("swings") == 30
    assert (found[0].title, found[0].score) == ("Page", 0.5)
    assert found[1:] == hits[1:]
    assert inner.closed


async def test_reading_does_not_read_private_pages() -> None:
    hit = Document(title="t", text="snippet", url="http://127.0.0.1:9/admin")
    search = ReadingSearch(ScriptedSearch(otherwise=[hit]), PageFetcher())
    assert await search.search("q", 5) == [hit]
    await search.aclose()
