import asyncio
import socket
import time

import pytest

from bb3.core.errors import ModelError, ModelTimeout, UsageError
from bb3.lm.http import Endpoint, sent_events
from tests.lm.conftest import API_KEY, response, serve, sse


async def test_sends_and_reads_json():
    async with serve(lambda n, request: response({"n": n})) as server:
        endpoint = Endpoint(server.url, api_key=API_KEY)
        assert await endpoint.post("/a", {"x": "ö\ud800"}) == {"n": 0}
        assert await endpoint.get("/b") == {"n": 1}
        await endpoint.aclose()
    assert server.requests[0]["body"] == {"x": "ö?"}
    assert server.requests[0]["path"] == "/a"
    assert server.requests[0]["headers"]["authorization"] == f"Bearer {API_KEY}"


async def test_tries_again_when_busy_broken_or_gone():
    bad = [response(b"busy", "429 Too Many Requests"), response(b"oops", "503 Unavailable"), None]

    def handler(n, request):
        return bad[n] if n < 3 else response({"ok": True})

    async with serve(handler) as server:
        endpoint = Endpoint(server.url, retries=3)
        assert await endpoint.post("/a", {}) == {"ok": True}
        await endpoint.aclose()
    assert len(server.requests) == 4


async def test_gives_up_after_the_last_try_and_at_once_on_a_refusal():
    async with serve(
        lambda n, r: response({"error": {"message": "no room"}}, "500 Oops")
    ) as server:
        endpoint = Endpoint(server.url, retries=1)
        with pytest.raises(ModelError, match="500: 'no room'"):
            await endpoint.post("/a", {})
        assert len(server.requests) == 2
        await endpoint.aclose()
    async with serve(lambda n, r: response({"error": "bad key"}, "401 Unauthorized")) as server:
        endpoint = Endpoint(server.url, api_key=API_KEY)
        with pytest.raises(ModelError, match="401: 'bad key'") as caught:
            await endpoint.post("/a", {})
        assert len(server.requests) == 1
        assert API_KEY not in str(caught.value)
        await endpoint.aclose()


async def test_retries_stay_within_the_deadline():
    def handler(n, request):
        return response(b"busy", "429 Busy", headers="Retry-After: 30\r\n")

    async with serve(handler) as server:
        endpoint = Endpoint(server.url, retries=9)
        begun = time.monotonic()
        with pytest.raises(ModelError, match="429"):
            await endpoint.post("/a", {}, until=endpoint.until(1))
        assert time.monotonic() - begun < 1
        await endpoint.aclose()


async def test_an_unreachable_server_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{free.getsockname()[1]}"
    endpoint = Endpoint(url, retries=1)
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:\d+/a cannot be reached") as caught:
        await endpoint.post("/a", {})
    assert "secret" not in str(caught.value)
    await endpoint.aclose()


async def test_a_silent_server_times_out():
    async with serve(lambda n, request: b"hang") as server:
        endpoint = Endpoint(server.url)
        with pytest.raises(ModelTimeout):
            await endpoint.post("/a", {}, until=endpoint.until(0.1))
        with pytest.raises(ModelTimeout):
            async for _ in endpoint.events("/a", {}, until=endpoint.until(0.1)):
                pass
        silent = Endpoint(server.url, timeout_s=0.1)
        with pytest.raises(ModelTimeout):
            await silent.post("/a", {}, until=silent.until(5))
        await endpoint.aclose()
        await silent.aclose()


@pytest.mark.parametrize("content", [b"<html>", b"", b'{"a":', b"\xff\xfe", b"[" * 100_000])
async def test_answers_that_are_no_json(content):
    async with serve(lambda n, request: response(content)) as server:
        endpoint = Endpoint(server.url)
        with pytest.raises(ModelError, match="no JSON"):
            await endpoint.post("/a", {})
        await endpoint.aclose()


async def test_answers_that_are_too_long():
    async with serve(lambda n, request: response(b" " * 5000, kind="text/plain")) as server:
        endpoint = Endpoint(server.url, max_bytes=1000)
        with pytest.raises(ModelError, match="more than 1000 bytes"):
            await endpoint.post("/a", {})
        await endpoint.aclose()
    async with serve(lambda n, request: sse(*({"n": n} for n in range(500)))) as server:
        endpoint = Endpoint(server.url, max_bytes=1000)
        with pytest.raises(ModelError, match="more than 1000 bytes"):
            [event async for event in endpoint.events("/a", {})]
        await endpoint.aclose()


async def test_events_come_one_by_one():
    async with serve(lambda n, request: sse({"n": 1}, {"n": 2})) as server:
        endpoint = Endpoint(server.url)
        assert [event async for event in endpoint.events("/a", {})] == [{"n": 1}, {"n": 2}]
        await endpoint.aclose()
    async with serve(lambda n, request: sse({"error": {"message": "out of memory"}})) as server:
        endpoint = Endpoint(server.url)
        with pytest.raises(ModelError, match="out of memory"):
            [event async for event in endpoint.events("/a", {})]
        await endpoint.aclose()
    broken = response(b'data: {"n": 1}\n\ndata: {"n"\n\n', kind="text/event-stream")
    async with serve(lambda n, request: broken) as server:
        endpoint = Endpoint(server.url)
        with pytest.raises(ModelError, match="no JSON"):
            [event async for event in endpoint.events("/a", {})]
        await endpoint.aclose()


@pytest.mark.parametrize(
    "sent",
    [
        'data:{"n": "a b"}\n\ndata:[DONE]\n\n',
        'data: {"n": "a b"}\r\n\r\ndata: [DONE] \r\n\r\n',
        'data: {"n": "a b"}\r\rdata: [DONE]\r\r',
        ': a comment\n\ndata: {"n":\ndata:  "a b"\ndata\ndata:}\n\n: another\n\ndata: [DONE]\n\n',
        'event: word\nid: 7\nretry: 10\ndata: {"n": "a b"}\n\n',
        '\ufeffdata: {"n": "a b"}\n\n\n\n',
        'data: {"n": "a b"}',
        "",
    ],
)
async def test_events_in_all_their_forms(sent):
    """https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    content = response(sent.encode(), kind="text/event-stream")
    async with serve(lambda n, request: content) as server:
        endpoint = Endpoint(server.url)
        wanted = [{"n": "a b"}] if sent else []
        assert [event async for event in endpoint.events("/a", {})] == wanted
        await endpoint.aclose()


async def test_an_event_breaks_only_at_the_ends_of_lines():
    """JSON leaves other characters at which texts are broken as they are."""
    text = "a\u2028b\x85c"
    content = response(f'data: {{"n": "{text}"}}\n\n'.encode(), kind="text/event-stream")
    async with serve(lambda n, request: content) as server:
        endpoint = Endpoint(server.url)
        assert [event async for event in endpoint.events("/a", {})] == [{"n": text}]
        await endpoint.aclose()


async def test_events_however_they_are_cut():
    whole = 'data: {"n": "ö"}\r\n\r\ndata: {"n":\r\ndata: 2}\r\n\r\n'.encode()
    for size in range(1, len(whole)):

        async def pieces(size=size):
            for start in range(0, len(whole), size):
                yield whole[start : start + size]

        assert [data async for data in sent_events(pieces())] == ['{"n": "ö"}', '{"n":\n2}']


async def test_a_connection_that_breaks_in_the_middle():
    whole = response({"text": "long enough to be cut"})
    async with serve(lambda n, request: whole[:-5]) as server:
        endpoint = Endpoint(server.url, retries=0)
        with pytest.raises(ModelError, match="broke"):
            await endpoint.post("/a", {})
        await endpoint.aclose()


async def test_so_many_calls_at_a_time():
    open_calls = 0
    most = 0

    async def answer(reader, writer):
        nonlocal open_calls, most
        await reader.readuntil(b"\r\n\r\n")
        open_calls += 1
        most = max(most, open_calls)
        await asyncio.sleep(0.02)
        open_calls -= 1
        writer.write(response({}))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    endpoint = Endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", concurrency=2)
    await asyncio.gather(*(endpoint.get("/a") for _ in range(6)))
    assert most == 2
    await endpoint.aclose()
    server.close()


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://", "http://a:b:c"])
def test_addresses_that_are_none(url):
    with pytest.raises(UsageError):
        Endpoint(url)
