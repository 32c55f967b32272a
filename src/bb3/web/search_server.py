"""Any search provider as a server of the ParlAI search protocol.

    POST /  form fields q, n   -> {"response": [{"url", "title", "content"}, ...]}
    GET  /?q=...&n=...         -> the same, for a browser
    GET  /health               -> {"status": "ok", "provider": name}

BlenderBot's own clients (and ``bb3 --search parlai:URL``) can use it. What goes wrong is told as
``{"error": ...}``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from bb3.core.errors import InputError, SearchError, UsageError
from bb3.core.ports import SearchProvider

MAX_BODY_BYTES = 16 * 1024
MAX_QUERY_CHARS = 1000
MAX_N = 50
DEFAULT_N = 5
FORM = "application/x-www-form-urlencoded"
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]", "[")
"""Names of this machine for itself; ``[`` is what Starlette before 1.8 makes of ``[::1]:8081``."""


def search_app(provider: SearchProvider, *, timeout_s: float = 30.0) -> Starlette:
    """An ASGI application that serves ``provider``; the caller closes the provider.

    Args:
        timeout_s: for one search; then the answer is status 504.
    """
    ends = Endpoints(provider, timeout_s)
    return Starlette(
        routes=[
            Route("/", ends.by_form, methods=["POST"]),
            Route("/", ends.by_address, methods=["GET"]),
            Route("/health", ends.health, methods=["GET"]),
        ]
    )


class Endpoints:
    """What the server answers, each by one method."""

    def __init__(self, provider: SearchProvider, timeout_s: float) -> None:
        self._provider = provider
        self._timeout_s = timeout_s

    async def by_form(self, request: Request) -> Response:
        """POST: the protocol proper."""
        kind = request.headers.get("content-type", FORM).split(";")[0].strip().lower()
        if kind != FORM:
            return failure(415, f"The body is {kind}; send a form ({FORM}) with q and n.")
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                return failure(413, f"The body is longer than {MAX_BODY_BYTES:,} bytes.")
        try:
            fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20))
        except ValueError as error:  # UnicodeDecodeError is one
            return failure(400, f"The form cannot be read: {error}.")
        return await self._answer(fields)

    async def by_address(self, request: Request) -> Response:
        """GET: the same for a browser."""
        if "q" not in request.query_params:
            return failure(400, "There is no query; ask with /?q=your+question&n=5.")
        return await self._answer(request.query_params)

    async def health(self, request: Request) -> Response:
        """GET /health: that the server runs, and what answers."""
        return JSONResponse({"status": "ok", "provider": self._provider.name})

    async def _answer(self, fields: Mapping[str, str]) -> Response:
        try:
            query, n = asked(fields)
            async with asyncio.timeout(self._timeout_s):
                found = await self._provider.search(query, n) if query and n else []
        except InputError as error:
            return failure(400, str(error))
        except SearchError as error:
            return failure(502, str(error))
        except TimeoutError:
            return failure(504, f"The search took longer than {self._timeout_s:g} s.")
        hits = [{"url": d.url, "title": d.title, "content": d.text} for d in found[:n]]
        return JSONResponse({"response": hits})


def asked(fields: Mapping[str, str]) -> tuple[str, int]:
    """The query and the count of a request. Raises InputError."""
    if "q" not in fields:
        raise InputError("There is no field q (the query).")
    query = " ".join(fields["q"].split())
    if len(query) > MAX_QUERY_CHARS:
        raise InputError(f"The query is longer than {MAX_QUERY_CHARS} characters.")
    count = fields.get("n", "").strip() or str(DEFAULT_N)
    if not (count.isascii() and count.isdigit() and len(count) < 10):
        raise InputError(f"The field n is {count[:40]!r}, not a count.")
    return query, min(int(count), MAX_N)


def failure(status: int, message: str) -> JSONResponse:
    """An error as the protocol's clients can show it. The connection ends with it: what is left of
    a body that was refused is not read.
    """
    return JSONResponse({"error": message}, status_code=status, headers={"connection": "close"})


async def serve(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 8081,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until interrupted.

    Bound to this machine alone, it answers only to names of this machine: a web page whose name
    is made to lead here (DNS rebinding) must not read in it by the browser of who runs it.

    Args:
        ready: told the address as soon as it takes connections.

    Raises:
        UsageError: the address cannot be had.
    """
    remedy = "Choose another with --port."
    if not 0 <= port <= 65535:
        raise UsageError(
            f"The port {port} cannot be used: it is not from 0 to 65535.", remedy=remedy
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        message = f"The address {host}:{port} cannot be used: {error}."
        raise UsageError(message, remedy=remedy) from error
    with listening:
        # Accepted connections inherit it; without it every answer waits for an acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address, bound_port = listening.getsockname()[:2]
        if ip_address(address).is_loopback:
            app = TrustedHostMiddleware(app, allowed_hosts=(*LOOPBACK_HOSTS, host))
        if ready is not None:
            shown = f"[{host}]" if family is socket.AF_INET6 else host
            ready(f"http://{shown}:{bound_port}")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", lifespan="off"))
        await server.serve(sockets=[listening])
