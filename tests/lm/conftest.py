"""The embedded model, loaded once, and a small HTTP server to misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bb3.lm.engine import EngineOptions
from bb3.lm.llamacpp import LlamaCppModel

API_KEY = "a-key-never-shown"


@pytest.fixture(scope="session")
def llama(smollm_path: Path) -> Iterator[LlamaCppModel]:
    """The embedded model on a private socket."""
    options = EngineOptions(threads=1, slots=6, context_tokens=1024, cache_tokens=6144)
    model = LlamaCppModel(smollm_path, options=options, trusted=True)
    yield model
    asyncio.run(model.aclose())


@pytest.fixture(scope="session")
def llama_server(smollm_path: Path) -> Iterator[LlamaCppModel]:
    """The embedded model, its HTTP API at ``.url``."""
    options = EngineOptions(
        threads=1, slots=2, context_tokens=1024, listen="127.0.0.1:0", api_key=API_KEY
    )
    model = LlamaCppModel(smollm_path, options=options, trusted=True)
    yield model
    asyncio.run(model.aclose())


@dataclass
class Served:
    """A running server: its address and what it was asked."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)


Handler = Callable[[int, dict[str, Any]], bytes | None]


@asynccontextmanager
async def serve(handler: Handler, port: int = 0) -> AsyncIterator[Served]:
    """An HTTP server that answers the n-th request with ``handler(n, request)``: raw bytes of a
    response, or None to hang up. The request has ``path``, ``headers`` and ``body``.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *rest = head.strip().split("\r\n")
            headers = {k.lower(): v for k, v in (item.split(": ", 1) for item in rest)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            request = {
                "path": line.split(" ")[1],
                "headers": headers,
                "body": json.loads(body) if body else None,
            }
            served.requests.append(request)
            response = handler(len(served.requests) - 1, request)
            if response == b"hang":
                await reader.read()
            elif response is not None:
                writer.write(response)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    served = Served(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield served
    finally:
        server.close()


def response(
    content: Any, status: str = "200 OK", kind: str = "application/json", headers: str = ""
) -> bytes:
    """The bytes of an HTTP response; anything but bytes is written as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{headers}Connection: close\r\n\r\n".encode() + body


def sse(*events: Any) -> bytes:
    """A response of server-sent events."""
    lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return response((lines + "data: [DONE]\n\n").encode(), kind="text/event-stream")
