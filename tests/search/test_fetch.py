"""The page fetcher: what it reads, and all that it refuses."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from bb3.core.errors import SearchError
from bb3.search import addresses
from bb3.search.fetch import PageFetcher
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

PAGE = """<!doctype html><html><head><title>All about jazz</title></head><body>
<nav><a href="/">Home</a> <a href="/x">Menu entry</a></nav>
<article><h1>All about jazz</h1><p>Jazz is a music genre that began in the African-American
communities of New Orleans in the late nineteenth century, with its roots in blues.</p>
<p>It is known for swing and blue notes, complex chords and, above all, improvisation.</p></article>
<script>alert("not text")</script><footer>Copyright, cookies</footer></body></html>"""
HTML = "Content-Type: text/html; charset=utf-8\r\n"
TEXT = "Content-Type: text/plain; charset=utf-8\r\n"


async def fetch(handler: Handler, path: str = "/p", **options: Any) -> Any:
    async with raw(handler) as url:
        fetcher = PageFetcher(**{"allow_private": True, "timeout_s": 3.0} | options)
        try:
            return await fetcher.fetch(url + path)
        finally:
            await fetcher.aclose()


async def test_reads_the_text_of_a_page() -> None:
    page = await fetch(answering(PAGE.encode(), headers=HTML))
    assert page.title == "All about jazz"
    assert "improvisation" in page.text
    for noise in ("Menu entry", "alert", "cookies", "<p>"):
        assert noise not in page.text
    assert page.url.endswith("/p")


async def test_keeps_plain_text() -> None:
    page = await fetch(answering("Blåbær <b>og</b> \0salt\n".encode(), headers=TEXT))
    assert page.text == "Blåbær <b>og</b>  salt"
    assert page.title == "127.0.0.1"


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("Blåbær på fjellet".encode("latin-1"), "; charset=iso-8859-1"),
        ("Blåbær på fjellet".encode("latin-1"), ""),
        ("Blåbær på fjellet".encode("latin-1"), "; charset=utf-8"),
        ("Blåbær på fjellet".encode(), "; charset=no-such"),
        ("Blåbær på fjellet".encode(), "; charset=zlib"),
        ("Blåbær på fjellet".encode(), '; charset="utf-8"'),
        ("\ufeffBlåbær på fjellet".encode("utf-16-le"), "; charset=latin-1"),
        ("\ufeffBlåbær på fjellet".encode(), ""),
    ],
)
async def test_charsets(body: bytes, charset: str) -> None:
    page = await fetch(answering(body, headers=f"Content-Type: text/plain{charset}\r\n"))
    assert page.text == "Blåbær på fjellet"


async def test_a_page_tells_its_own_charset() -> None:
    page = PAGE.replace("<head>", '<head><meta charset="shift_jis">').replace("blues", "東京の音楽")
    found = await fetch(answering(page.encode("shift_jis"), headers="Content-Type: text/html\r\n"))
    assert "東京の音楽" in found.text


@pytest.mark.parametrize(
    "kind", ["image/png", "application/pdf", "application/octet-stream", "video/mp4"]
)
async def test_other_types_are_refused(kind: str) -> None:
    with pytest.raises(SearchError, match=kind):
        await fetch(answering(b"x", headers=f"Content-Type: {kind}\r\n"))


async def test_no_type_is_refused() -> None:
    with pytest.raises(SearchError, match="no stated type"):
        await fetch(answering(b"x"))


@pytest.mark.parametrize("body", [b"", b"   ", b"<html><body></body></html>", b"<<<>>>&&&", b"\0"])
async def test_pages_without_text(body: bytes) -> None:
    with pytest.raises(SearchError, match=r"has no text|cannot be parsed"):
        await fetch(answering(body, headers=HTML))


async def test_deeply_nested_pages_end_well() -> None:
    body = b"<div>" * 50_000 + b"deep" + b"</div>" * 50_000
    try:
        page = await fetch(answering(body, headers=HTML), timeout_s=20.0)
    except SearchError:
        return
    assert "deep" in page.text


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "204 No Content", "304 Same"])
async def test_statuses(status: str) -> None:
    with pytest.raises(SearchError, match=status[:3]):
        await fetch(answering(b"", status=status, headers=HTML))


@pytest.mark.parametrize("handler", [silent, dripping])
async def test_slow_pages_end_in_time(handler: Handler) -> None:
    begun = time.monotonic()
    with pytest.raises(SearchError, match=r"did not answer within 0\.4 s"):
        await fetch(handler, timeout_s=0.4)
    assert time.monotonic() - begun < 5


async def test_endless_pages_are_cut() -> None:
    with pytest.raises(SearchError, match="more than 100,000 bytes"):
        await fetch(endless, max_bytes=100_000)


@pytest.mark.parametrize("handler", [cut_off, gibberish])
async def test_broken_http(handler: Handler) -> None:
    with pytest.raises(SearchError, match="cannot be read"):
        await fetch(handler)


def redirecting(target: str) -> Handler:
    """To ``target``, except at /end, where a page is."""

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        if request.startswith(b"GET /end "):
            await answering(PAGE.encode(), headers=HTML)(request, writer)
        else:
            to = answering(b"", status="302 Found", headers=f"Location: {target}\r\n")
            await to(request, writer)

    return handler


async def test_redirects_are_followed_so_far() -> None:
    assert (await fetch(redirecting("/end"))).url.endswith("/end")
    with pytest.raises(SearchError, match="redirects more than 2 times"):
        await fetch(redirecting("/again"), max_redirects=2)


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://x/y", "javascript:alert(1)", "http://u:p@x.org/", "http://[::1"],
)
async def test_redirects_elsewhere_are_refused(target: str) -> None:
    with pytest.raises(SearchError):
        await fetch(redirecting(target))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f000001:{port}/",
        "http://0x7f.0.0.1:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://017700000001:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::ffff:7f00:1]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://１２７.0.0.1:{port}/",
        "http://localhost.:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
    ],
)
async def test_private_addresses_are_never_connected_to(url: str) -> None:
    asked: list[bytes] = []

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(request)

    async with raw(handler) as base:
        fetcher = PageFetcher(timeout_s=3)
        with pytest.raises(SearchError):
            await fetcher.fetch(url.format(port=base.rsplit(":", 1)[1]))
        await fetcher.aclose()
    assert asked == []


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://x/y", "file:///etc/passwd", "//x/y", "http://", "http://u:p@h/", "a" * 9999],
)
async def test_addresses_that_are_none(url: str) -> None:
    fetcher = PageFetcher()
    with pytest.raises(SearchError):
        await fetcher.fetch(url)
    await fetcher.aclose()


def resolver(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[str]]) -> list[str]:
    """A name server of our own: each question takes the next answer of its host, the last one
    for ever. Literal addresses are answered as always. Returns the questions as they come.
    """
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        if host not in answers:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        address = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    return asked


async def test_a_public_page_cannot_redirect_to_a_private_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the first host counts as public here; the way to the second is the real check."""
    asked: list[bytes] = []

    async def private(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(request)

    real = addresses.is_public
    resolver(monkeypatch, {"public.example": ["127.0.0.1"], "evil.example": ["127.0.0.2"]})
    monkeypatch.setattr(addresses, "is_public", lambda a: str(a) == "127.0.0.1" or real(a))
    async with raw(private) as inner:
        port = inner.rsplit(":", 1)[1]
        for target in (f"http://evil.example:{port}/", f"http://[::1]:{port}/"):
            async with raw(redirecting(target)) as outer:
                fetcher = PageFetcher(timeout_s=3)
                with pytest.raises(SearchError, match="not on the public internet"):
                    await fetcher.fetch(outer.replace("127.0.0.1", "public.example"))
                await fetcher.aclose()
    assert asked == []


async def test_a_name_is_resolved_once_so_that_it_cannot_change_its_mind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts: list[bytes] = []

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        hosts.append(next(x for x in request.split(b"\r\n") if x.lower().startswith(b"host:")))
        await answering(PAGE.encode(), headers=HTML)(request, writer)

    asked = resolver(monkeypatch, {"rebind.example": ["127.0.0.1", "10.255.255.1"]})
    monkeypatch.setattr(addresses, "is_public", lambda a: str(a) == "127.0.0.1")
    async with raw(handler) as url:
        port = url.rsplit(":", 1)[1]
        fetcher = PageFetcher(timeout_s=3)
        page = await fetcher.fetch(f"http://rebind.example:{port}/p")
        await fetcher.aclose()
    assert asked == ["rebind.example"]
    assert hosts == [f"Host: rebind.example:{port}".encode()]
    assert page.url == f"http://rebind.example:{port}/p"


async def test_the_next_address_is_tried_when_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with raw(answering(PAGE.encode(), headers=HTML)) as url:
        fetcher = PageFetcher(allow_private=True, timeout_s=3)
        with monkeypatch.context() as patch:
            patch.setattr(addresses, "checked_addresses", both)
            page = await fetcher.fetch(url.replace("127.0.0.1", "two.example"))
        await fetcher.aclose()
    assert "improvisation" in page.text


async def both(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Two addresses; nobody listens at the first."""
    return ["::1", "127.0.0.1"]


async def test_cookies_are_not_kept() -> None:
    requests: list[bytes] = []

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        requests.append(request)
        head = HTML + "Set-Cookie: who=you\r\n"
        await answering(PAGE.encode(), headers=head)(request, writer)

    async with raw(handler) as url:
        fetcher = PageFetcher(allow_private=True)
        await fetcher.fetch(url)
        await fetcher.fetch(url)
        await fetcher.aclose()
    assert b"cookie" not in requests[1].lower()


async def test_closed() -> None:
    fetcher = PageFetcher(allow_private=True)
    await fetcher.aclose()
    with pytest.raises(SearchError, match="closed"):
        await fetcher.fetch("http://127.0.0.1:9/")


async def test_tls_asks_for_the_name_not_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name stands readable in the first message of TLS (SNI), and is what gets verified."""
    hello = asyncio.Queue[bytes]()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello.put_nowait(await reader.read(4096))
        writer.close()

    resolver(monkeypatch, {"secure.example": ["127.0.0.1"]})
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    fetcher = PageFetcher(allow_private=True, timeout_s=3)
    with pytest.raises(SearchError, match="cannot be read"):
        await fetcher.fetch(f"https://secure.example:{server.sockets[0].getsockname()[1]}/")
    await fetcher.aclose()
    server.close()
    assert b"secure.example" in await hello.get()
