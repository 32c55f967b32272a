"""One exchange with a JSON server, and everything that can go wrong with it."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import time

import pytest
from pydantic import BaseModel

from bb3.core.errors import SearchError
from bb3.search.http import JsonService, address
from tests.search.servers import (
    Handler,
    answering,
    cut_off,
    dripping,
    endless,
    gibberish,
    raw,
    silent,
)


class Answer(BaseModel):
    items: list[str]


async def ask(handler: Handler, **options: float) -> Answer:
    async with raw(handler) as url:
        service = JsonService(
            url,
            headers={"X-Key": "s3cret"},
            timeout_s=options.get("timeout_s", 2.0),
            max_bytes=int(options.get("max_bytes", 10_000)),
        )
        try:
            return await service.get({"q": "x"}, Answer)
        finally:
            await service.aclose()


async def test_a_good_answer() -> None:
    assert (await ask(answering(b'{"items": ["a"], "more": 1}'))).items == ["a"]


async def test_sends_parameters_beside_those_of_the_address() -> None:
    seen: list[bytes] = []

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(request)
        await answering(b'{"items": []}')(request, writer)

    async with raw(handler) as url:
        service = JsonService(f"{url}/find?lang=en")
        await service.get({"q": "a&b=c ü"}, Answer)
        await service.post({"q": "a&b=c ü"}, Answer)
        await service.aclose()
    assert seen[0].startswith(b"GET /find?lang=en&q=a%26b%3Dc")
    assert seen[1].startswith(b"POST /find?lang=en HTTP")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>no</html>", "Invalid JSON"),
        (b"", "Invalid JSON"),
        (b'{"items": ["a"]', "Invalid JSON"),
        (b"[1, 2]", "should be an object"),
        (b'{"results": []}', "items: Field required"),
        (b'{"items": "abc"}', "items: Input should be a valid array"),
        (b'{"items": ["a", 5]}', "items.1: Input should be a valid string"),
        (b'{"items": ["\xff\xfe"]}', "Invalid JSON"),
        (b"[" * 9000, "Invalid JSON"),
    ],
)
async def test_malformed_answers_are_named(body: bytes, told: str) -> None:
    with pytest.raises(SearchError, match="answered something unreadable") as caught:
        await ask(answering(body))
    assert told in str(caught.value)
    assert "http://127.0.0.1" in str(caught.value)


@pytest.mark.parametrize("status", ["500 Oops", "404 Not Found", "403 Forbidden", "429 Slow"])
async def test_a_status_is_told(status: str) -> None:
    with pytest.raises(SearchError, match=status[:3]):
        await ask(answering(b"{}", status=status))


async def test_redirects_are_not_followed_with_the_key() -> None:
    asked: list[bytes] = []

    async def other(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(request)
        await answering(b'{"items": []}')(request, writer)

    async with raw(other) as target:
        with pytest.raises(SearchError, match=f"redirect to {target}"):
            await ask(answering(b"", status="302 Found", headers=f"Location: {target}\r\n"))
    assert asked == []


@pytest.mark.parametrize("handler", [silent, dripping])
async def test_slow_servers_end_in_time(handler: Handler) -> None:
    begun = time.monotonic()
    with pytest.raises(SearchError, match=r"did not answer within 0\.3 s"):
        await ask(handler, timeout_s=0.3, max_bytes=10**9)
    assert time.monotonic() - begun < 5


async def test_an_endless_body_is_cut() -> None:
    with pytest.raises(SearchError, match="more than 10,000 bytes"):
        await ask(endless)


async def test_packed_answers_are_unpacked_within_the_limit() -> None:
    head = "Content-Encoding: gzip\r\n"
    assert (await ask(answering(gzip.compress(b'{"items": ["a"]}'), headers=head))).items == ["a"]
    bomb = gzip.compress(b" " * 5_000_000)
    assert len(bomb) < 10_000
    with pytest.raises(SearchError, match="more than 10,000 bytes"):
        await ask(answering(bomb, headers=head))
    with pytest.raises(SearchError, match="broken gzip"):
        await ask(answering(b"not packed", headers=head))
    with pytest.raises(SearchError, match="encoding 'br'"):
        await ask(answering(b"{}", headers="Content-Encoding: br\r\n"))


@pytest.mark.parametrize("handler", [cut_off, gibberish])
async def test_broken_http(handler: Handler) -> None:
    with pytest.raises(SearchError, match="cannot be reached"):
        await ask(handler)


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    service = JsonService(f"127.0.0.1:{port}", timeout_s=2)
    with pytest.raises(SearchError, match=f"http://127.0.0.1:{port} cannot be reached"):
        await service.get({}, Answer)
    await service.aclose()


async def test_closed_client() -> None:
    service = JsonService("http://127.0.0.1:9")
    await service.aclose()
    await service.aclose()
    with pytest.raises(SearchError, match="closed"):
        await service.get({}, Answer)


async def test_secrets_are_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service = JsonService(
        "http://me:passw0rd@127.0.0.1:9/?token=t0ken", headers={"X-Key": "s3cret"}, timeout_s=1
    )
    with pytest.raises(SearchError) as caught:
        await service.get({"q": "x"}, Answer)
    await service.aclose()
    shown = f"{service!r} {caught.value} {caplog.text}"
    for secret in ("s3cret", "passw0rd", "t0ken"):
        assert secret not in shown, shown


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "http://", "http://[::1", "file:///etc/passwd", "http://a:99999999/"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(SearchError, match="not the address of a search server"):
        address(url)


async def test_cancelling_a_search_closes_the_connection() -> None:
    gone = asyncio.Event()
    came = asyncio.Event()

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        came.set()
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            try:
                await writer.drain()
            except ConnectionError:
                gone.set()
                raise
            await asyncio.sleep(0.02)

    async with raw(handler) as url:
        service = JsonService(url, timeout_s=20)
        task = asyncio.create_task(service.get({"q": "x"}, Answer))
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 5)
        await service.aclose()
