"""The ParlAI search server, asked by the real client over a real connection."""

from __future__ import annotations

import asyncio
import socket
import time

import httpx
import pytest

from bb3.core.errors import SearchError, UsageError
from bb3.core.types import Document
from bb3.search.parlai import ParlaiSearch
from bb3.search.scripted import ScriptedSearch
from bb3.web.search_server import search_app, serve
from tests.search.servers import running

JAZZ = [
    Document(title=f"Jazz {i}", text=f"Text – {i}", url=f"http://x/{i}", score=0.5)
    for i in range(9)
]


async def test_the_client_gets_what_the_provider_found() -> None:
    provider = ScriptedSearch({"what is jazz?": JAZZ})
    async with running(search_app(provider)) as url:
        client = ParlaiSearch(url)
        found = await client.search("what is jazz?", 5)
        assert await client.search("zorblax", 5) == []
        await client.aclose()
    assert [(d.title, d.text, d.url) for d in found] == [(d.title, d.text, d.url) for d in JAZZ[:5]]
    assert provider.queries == [("what is jazz?", 5), ("zorblax", 5)]
    assert not provider.closed  # its owner closes it


async def test_as_the_reference_asks() -> None:
    """Form fields on the root, the count as text, an Accept of anything."""
    async with running(search_app(ScriptedSearch(otherwise=JAZZ))) as url, httpx.AsyncClient() as c:
        answer = await c.post(url, data={"q": "mars", "n": 5})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.json()["response"]) == 5
    assert set(answer.json()["response"][0]) == {"url", "title", "content"}


async def test_for_a_browser_and_a_monitor() -> None:
    async with running(search_app(ScriptedSearch(otherwise=JAZZ))) as url, httpx.AsyncClient() as c:
        assert len((await c.get(url, params={"q": "jazz ü", "n": "2"})).json()["response"]) == 2
        assert len((await c.get(url, params={"q": "jazz"})).json()["response"]) == 5
        assert (await c.get(url)).status_code == 400
        health = await c.get(f"{url}/health")
        assert health.json() == {"status": "ok", "provider": "scripted"}
        assert (await c.get(f"{url}/nowhere")).status_code == 404
        assert (await c.put(url)).status_code == 405


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"n": "5"}, 400),
        ({"q": "x" * 1001}, 400),
        ({"q": "x", "n": "many"}, 400),
        ({"q": "x", "n": "-1"}, 400),
        ({"q": "x", "n": "1.5"}, 400),
        ({"q": "x", "n": "٣"}, 400),
        ({"q": "x", "n": "9" * 30}, 400),
        ({str(i): "x" for i in range(50)}, 400),
        ({"q": "x" * 20_000}, 413),
        ({"q": ""}, 200),
        ({"q": "x", "n": "0"}, 200),
        ({"q": "x", "n": ""}, 200),
        ({"q": "x", "n": "999"}, 200),
    ],
)
async def test_limits(fields: dict[str, str], status: int) -> None:
    provider = ScriptedSearch(otherwise=JAZZ)
    async with running(search_app(provider)) as url, httpx.AsyncClient() as c:
        answer = await c.post(url, data=fields)
    assert answer.status_code == status
    assert ("error" if status != 200 else "response") in answer.json()
    assert all(0 < n <= 50 and q for q, n in provider.queries)


async def test_bodies_that_are_no_form() -> None:
    async with running(search_app(ScriptedSearch())) as url, httpx.AsyncClient() as c:
        assert (await c.post(url, json={"q": "x"})).status_code == 415
        head = {"content-type": "application/x-www-form-urlencoded"}
        assert (await c.post(url, content=b"\xff\xfe", headers=head)).status_code == 400

        async def endless() -> object:
            while time.monotonic() - begun < 20:
                sent.append(1)
                yield b"q=" + b"x" * 10_000
                await asyncio.sleep(0)

        sent: list[int] = []
        begun = time.monotonic()
        try:
            answer = await c.post(url, content=endless(), headers=head)  # type: ignore[arg-type]
            assert answer.status_code == 413
        except httpx.NetworkError:
            pass  # the server hung up before the client looked for its answer
        assert time.monotonic() - begun < 10
        assert len(sent) < 10_000


async def test_a_failing_provider_is_told() -> None:
    provider = ScriptedSearch(otherwise=SearchError("the index is gone"))
    async with running(search_app(provider)) as url:
        async with httpx.AsyncClient() as c:
            answer = await c.post(url, data={"q": "x"})
        client = ParlaiSearch(url)
        with pytest.raises(SearchError, match="502"):
            await client.search("x", 5)
        await client.aclose()
    assert answer.status_code == 502
    assert answer.json() == {"error": "the index is gone"}


async def test_a_slow_provider_is_cut() -> None:
    slow = search_app(ScriptedSearch(delay_s=30), timeout_s=0.2)
    async with running(slow) as url, httpx.AsyncClient() as c:
        begun = time.monotonic()
        answer = await c.post(url, data={"q": "x"})
    assert answer.status_code == 504
    assert time.monotonic() - begun < 5


async def test_serve_until_cancelled() -> None:
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    app = search_app(ScriptedSearch(otherwise=JAZZ))
    task = asyncio.create_task(serve(app, port=0, ready=address.set_result))
    client = ParlaiSearch(await address)  # connections are taken from now on
    assert (await client.search("jazz", 1))[0].title == "Jazz 0"
    await client.aclose()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("bound", "asked", "status"),
    [
        ("127.0.0.1", "127.0.0.1", 200),
        ("127.0.0.1", "localhost", 200),
        ("127.0.0.1", "LOCALHOST", 200),
        ("127.0.0.1", "rebound.example", 400),
        ("127.0.0.1", "127.0.0.1.rebound.example", 400),
        ("127.0.0.1", "", 400),
        ("localhost", "localhost", 200),
        ("127.0.0.2", "127.0.0.2", 200),
        ("::1", "[::1]", 200),
        ("::1", "rebound.example", 400),
        ("0.0.0.0", "my-machine.example", 200),
    ],
)
async def test_names_it_answers_to(bound: str, asked: str, status: int) -> None:
    """A web page may lead its own name to this machine; one that serves a network has any name."""
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    provider = ScriptedSearch(otherwise=JAZZ)
    task = asyncio.create_task(serve(search_app(provider), bound, 0, address.set_result))
    await asyncio.wait({task, address}, return_when=asyncio.FIRST_COMPLETED)
    if bound == "::1" and task.done() and isinstance(task.exception(), UsageError):
        pytest.skip("no IPv6 here")
    port = address.result().rpartition(":")[2]
    async with httpx.AsyncClient() as c:
        for host in (asked, f"{asked}:{port}") if asked else ("",):
            answer = await c.get(f"{address.result()}/?q=jazz", headers={"host": host})
            assert answer.status_code == status, host
    assert bool(provider.queries) == (status == 200)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_address_that_is_taken() -> None:
    app = search_app(ScriptedSearch())
    told: list[str] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UsageError, match="cannot be used"),
    ):
        await serve(app, port=taken.getsockname()[1])
    for host, port in (("127.0.0.1", 99999), ("no-such-host.invalid", 8081)):
        with pytest.raises(UsageError, match="cannot be used"):
            await serve(app, host, port, told.append)
    assert told == []
