"""The clients of ParlAI servers, SearXNG, Brave and DuckDuckGo against servers on loopback that
speak those formats.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from ddgs.engines.duckduckgo import Duckduckgo
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bb3.core.errors import SearchError, UsageError
from bb3.search.brave import BraveSearch
from bb3.search.duckduckgo import DuckDuckGoSearch
from bb3.search.parlai import ParlaiSearch
from bb3.search.searxng import SearxngSearch
from tests.search.servers import answering, raw, running

NASTY = ["", "   ", "\0", "\ud800 half", 'quo"te & a=b', "🙂 ünï", "x" * 100_000, "AND OR NEAR(*"]


def app(path: str, answer: Any, seen: list[dict[str, str]]) -> Starlette:
    async def handle(request: Request) -> Response:
        fields = dict(await request.form()) if request.method == "POST" else {}
        seen.append({**dict(request.query_params), **{k: str(v) for k, v in fields.items()}})
        seen[-1] |= {f"header:{k}": v for k, v in request.headers.items()}
        return answer(seen[-1]) if callable(answer) else JSONResponse(answer)

    return Starlette(routes=[Route(path, handle, methods=["GET", "POST"])])


# --- ParlAI ---------------------------------------------------------------------------------


def pages(n: int) -> dict[str, Any]:
    return {
        "response": [
            {"url": f"http://x/{i}", "title": f"page {i}", "content": f"text {i}"} for i in range(n)
        ]
    }


async def test_parlai() -> None:
    seen: list[dict[str, str]] = []
    async with running(app("/", pages(7), seen)) as url:
        search = ParlaiSearch(url.removeprefix("http://"))
        found = await search.search("what is\n jazz?", 3)
        await search.aclose()
    assert [(d.title, d.text, d.url) for d in found] == [
        (f"page {i}", f"text {i}", f"http://x/{i}") for i in range(3)
    ]
    assert (seen[0]["q"], seen[0]["n"]) == ("what is jazz?", "3")
    assert seen[0]["header:content-type"] == "application/x-www-form-urlencoded"


async def test_parlai_takes_lines_and_missing_titles() -> None:
    async with running(app("/", {"response": [{"content": ["a", "b"], "title": None}]}, [])) as url:
        search = ParlaiSearch(url)
        [found] = await search.search("q", 5)
        await search.aclose()
    assert (found.title, found.text, found.url) == ("", "a\nb", "")


@pytest.mark.parametrize(
    "answer",
    [
        {"response": None},
        {"response": {"a": 1}},
        {"response": [{"title": "t"}]},
        {"response": [{"content": 5}]},
        {"response": [{"content": "x", "title": {"no": 1}}]},
        {"response": ["text"]},
        {"error": "out of order"},
        [],
        None,
    ],
)
async def test_parlai_malformed(answer: Any) -> None:
    async with running(app("/", lambda seen: JSONResponse(answer), [])) as url:
        search = ParlaiSearch(url)
        with pytest.raises(SearchError, match=f"{url}.* unreadable"):
            await search.search("q", 5)
        await search.aclose()


async def test_any_query_can_be_sent() -> None:
    seen: list[dict[str, str]] = []
    async with running(app("/", pages(1), seen)) as url:
        search = ParlaiSearch(url)
        counts = [len(await search.search(query, 5)) for query in NASTY]
        assert await search.search("q", 0) == []
        assert await search.search("q", -3) == []
        await search.search("q", 10**9)
        await search.aclose()
    assert counts == [0, 0, 0, 1, 1, 1, 1, 1]
    assert [s["q"] for s in seen[1:3]] == ['quo"te & a=b', "🙂 ünï"]
    assert len(seen[3]["q"]) == 1000
    assert seen[-1]["n"] == "50"


# --- SearXNG --------------------------------------------------------------------------------

SEARXNG = {
    "query": "jazz",
    "number_of_results": 0,
    "results": [
        {
            "url": "https://en.wikipedia.org/wiki/Jazz",
            "title": "Jazz",
            "content": "Jazz is a music genre.",
            "engine": "wikipedia",
            "engines": ["wikipedia"],
            "score": 1.0,
            "category": "general",
            "publishedDate": None,
        },
        {"url": "https://x.org", "title": "no snippet", "engine": "bing"},
    ],
    "answers": [],
    "infoboxes": [],
    "suggestions": [],
    "unresponsive_engines": [["google", "CAPTCHA"]],
}


async def test_searxng() -> None:
    seen: list[dict[str, str]] = []
    async with running(app("/search", SEARXNG, seen)) as url:
        search = SearxngSearch(f"{url}/", language="en")
        found = await search.search("jazz", 5)
        one = await search.search("jazz", 1)
        await search.aclose()
    assert [(d.title, d.text) for d in found] == [
        ("Jazz", "Jazz is a music genre."),
        ("no snippet", ""),
    ]
    assert len(one) == 1
    assert (seen[0]["q"], seen[0]["format"], seen[0]["language"]) == ("jazz", "json", "en")


async def test_searxng_without_json_says_so() -> None:
    async with raw(answering(b"Forbidden", status="403 Forbidden")) as url:
        search = SearxngSearch(url)
        with pytest.raises(SearchError, match="whether the server allows JSON"):
            await search.search("jazz", 5)
        await search.aclose()


async def test_searxng_malformed() -> None:
    for answer in ({"results": [{"title": "x"}]}, {"results": [{"url": 1, "title": "x"}]}, {}):
        async with running(app("/search", answer, [])) as url:
            search = SearxngSearch(url)
            with pytest.raises(SearchError, match="unreadable"):
                await search.search("jazz", 5)
            await search.aclose()


# --- Brave ----------------------------------------------------------------------------------

BRAVE = {
    "type": "search",
    "query": {"original": "jazz"},
    "web": {
        "type": "search",
        "results": [
            {
                "title": "<strong>Jazz</strong> &amp; blues",
                "url": "https://x.org/jazz",
                "description": "It <strong>swings</strong>.",
                "extra_snippets": ["More &quot;of&quot; it.", "1 < 2 > 0"],
            },
            {"title": "bare", "url": "https://x.org/bare"},
        ],
    },
}


async def test_brave(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[dict[str, str]] = []
    async with running(app("/", BRAVE, seen)) as url:
        search = BraveSearch("BSA-s3cret", url=url)
        found = await search.search("jazz " * 200, 99)
        assert "s3cret" not in f"{search!r} {vars(search)}"
        await search.aclose()
    assert found[0].title == "Jazz & blues"
    assert found[0].text == 'It swings.\nMore "of" it.\n1 < 2 > 0'
    assert found[1].text == ""
    assert seen[0]["header:x-subscription-token"] == "BSA-s3cret"
    assert seen[0]["count"] == "20"
    assert len(seen[0]["q"].split()) == 50
    assert "s3cret" not in caplog.text


async def test_brave_without_hits_and_with_a_bad_key() -> None:
    async with running(app("/", {"type": "search", "query": {}}, [])) as url:
        search = BraveSearch("key", url=url)
        assert await search.search("jazz", 5) == []
        await search.aclose()
    async with raw(answering(b"{}", status="401 Unauthorized")) as url:
        search = BraveSearch("key", url=url)
        with pytest.raises(SearchError, match=r"401.*Check the key"):
            await search.search("jazz", 5)
        await search.aclose()
    for key in ("", " ", "käse", "a\nb"):
        with pytest.raises(UsageError):
            BraveSearch(key)


# --- DuckDuckGo -----------------------------------------------------------------------------

HIT = """<div class="links_main result__body">
<h2 class="result__title"><a href="{url}">{title}</a></h2>
<a class="result__snippet" href="{url}">{text}</a></div>"""
DUCKDUCKGO = "".join(
    HIT.format(url=f"https://x.org/{name}", title=f"Jazz {name}", text=f"Jazz is {name}.")
    for name in ("music", "swing")
)


async def test_duckduckgo(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []
    async with running(app("/html/", lambda s: HTMLResponse(DUCKDUCKGO), seen)) as url:
        monkeypatch.setattr(Duckduckgo, "search_url", f"{url}/html/")
        search = DuckDuckGoSearch(region="no-no")
        found = await search.search("jazz", 1)
        await search.aclose()
    assert (found[0].title, found[0].text, found[0].url) == (
        "Jazz music",
        "Jazz is music.",
        "https://x.org/music",
    )
    assert len(found) == 1
    assert (seen[0]["q"], seen[0]["l"]) == ("jazz", "no-no")


async def test_duckduckgo_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = HTMLResponse("<html><body>No results.</body></html>")
    async with running(app("/html/", lambda seen: empty, [])) as url:
        monkeypatch.setattr(Duckduckgo, "search_url", f"{url}/html/")
        search = DuckDuckGoSearch()
        assert await search.search("zorblax", 5) == []
        assert await search.search(" ", 5) == []


async def test_duckduckgo_unreachable_and_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Duckduckgo, "search_url", "http://127.0.0.1:9/html/")
    with pytest.raises(SearchError, match="DuckDuckGo"):
        await DuckDuckGoSearch(timeout_s=2).search("jazz", 5)

    async def slow(request: Request) -> Response:
        await asyncio.sleep(1.2)
        return PlainTextResponse("late")

    late = Starlette(routes=[Route("/html/", slow, methods=["GET", "POST"])])
    async with running(late) as url:
        monkeypatch.setattr(Duckduckgo, "search_url", f"{url}/html/")
        with pytest.raises(SearchError, match="did not answer within"):
            await DuckDuckGoSearch(timeout_s=0.3).search("jazz", 5)
