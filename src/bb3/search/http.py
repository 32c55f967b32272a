"""How providers talk to a server: one request, one JSON answer, everything limited and checked."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from bb3.core.errors import SearchError

Answer = TypeVar("Answer", bound=BaseModel)

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 8 * 2**20


class JsonService:
    """A server that answers in JSON. Raises SearchError only, naming its address.

    Redirects are not followed: they would carry the headers (a key) to another server.

    Args:
        url: the address that is asked.
        headers: sent with every request; never shown in messages, logs or the repr.
        timeout_s: for the whole exchange, however slowly the server drips.
        max_bytes: the longest answer, unpacked.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self.url = address(url)
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._client = httpx.AsyncClient(
            headers={"Accept": "application/json", "Accept-Encoding": "identity"}
            | dict(headers or {}),
            timeout=timeout_s,
        )

    def __repr__(self) -> str:
        return f"JsonService({self.shown!r})"

    @property
    def shown(self) -> str:
        """The address as it may be shown: without user, password and query."""
        return str(self.url.copy_with(userinfo=b"", query=None, fragment=None))

    async def get(self, params: Mapping[str, str], shape: type[Answer]) -> Answer:
        """The checked answer to a GET with these parameters."""
        merged = self.url.copy_merge_params(dict(params))
        return await self._exchange(self._client.build_request("GET", merged), shape)

    async def post(self, form: Mapping[str, str], shape: type[Answer]) -> Answer:
        """The checked answer to a POST of a form."""
        request = self._client.build_request("POST", self.url, data=dict(form))
        return await self._exchange(request, shape)

    async def _exchange(self, request: httpx.Request, shape: type[Answer]) -> Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.send(request, stream=True)
                try:
                    body = await read_limited(response, self._max_bytes)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException) as error:
            raise SearchError(
                f"The search server {self.shown} did not answer within {self._timeout_s:g} s."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise SearchError(
                f"The search server {self.shown} cannot be reached: {said(error)}.",
                remedy="Is the address right and the server running?",
            ) from error
        except RuntimeError as error:  # what httpx raises once it is closed
            raise SearchError(f"The search client of {self.shown} is closed.") from error
        check_status(response, self.shown)
        try:
            return shape.model_validate_json(body)
        except ValidationError as error:
            raise SearchError(
                f"The search server {self.shown} answered something unreadable: {first(error)}."
            ) from error

    async def aclose(self) -> None:
        await self._client.aclose()


def address(url: str) -> httpx.URL:
    """A search server's checked address; ``host:port`` alone gets ``http://``."""
    full = url.strip() if "://" in url else f"http://{url.strip()}"
    return http_url(full, "a search server")


def http_url(url: str, what: str) -> httpx.URL:
    """A checked http or https address. Raises SearchError, saying that it is none of ``what``."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        why = "" if "@" in url else f": {error}"  # it may quote a password
        raise SearchError(f"{url!r} is not the address of {what}{why}.") from error
    port_fits = parsed.port is None or 0 < parsed.port < 65536
    if parsed.scheme not in ("http", "https") or not parsed.host or not port_fits:
        raise SearchError(
            f"{url!r} is not the address of {what}.",
            remedy="It should begin with http:// or https://.",
        )
    return parsed


async def read_limited(response: httpx.Response, max_bytes: int) -> bytes:
    """The body, unpacked, never holding much more than ``max_bytes``. Raises SearchError.

    We ask for no compression; a server that compresses all the same is unpacked with the limit
    in force, so that a few kilobytes cannot become gigabytes.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > max_bytes:
            raise too_long(response, max_bytes)
    if encoding == "identity":
        return bytes(body)
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise SearchError(f"{shown_url(response)} answered in encoding {encoding!r}, unasked.")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either header
    try:
        unpacked = unpacker.decompress(bytes(body), max_bytes + 1)
    except zlib.error as error:
        raise SearchError(f"{shown_url(response)} answered broken {encoding}: {error}.") from error
    if len(unpacked) > max_bytes:
        raise too_long(response, max_bytes)
    return unpacked


def too_long(response: httpx.Response, max_bytes: int) -> SearchError:
    """The error for a body over the limit."""
    return SearchError(f"{shown_url(response)} answered more than {max_bytes:,} bytes.")


def shown_url(response: httpx.Response) -> str:
    """Where an answer came from, without user, password and query."""
    return str(response.request.url.copy_with(userinfo=b"", query=None, fragment=None))


def check_status(response: httpx.Response, where: str) -> None:
    """Raise SearchError unless the status is 200, with the remedy where there is one."""
    status = response.status_code
    if status == httpx.codes.OK:
        return
    if response.is_redirect:
        target = response.headers.get("location", "nowhere")[:200]
        raise SearchError(
            f"The search server {where} answers with a redirect to {target}.",
            remedy="Give the address it points to.",
        )
    remedies = {
        401: "Check the key.",
        403: "Check the key, and whether the server allows JSON answers.",
        429: "Too many requests: wait, or use another provider.",
    }
    raise SearchError(
        f"The search server {where} answered with status {status} ({response.reason_phrase}).",
        remedy=remedies.get(status, ""),
    )


def said(error: Exception) -> str:
    """What an exception says, or its name when it says nothing."""
    return str(error).rstrip(".") or type(error).__name__


def first(error: ValidationError) -> str:
    """The first complaint about an answer: where, and what."""
    complaint = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in complaint["loc"])
    return f"{place}: {complaint['msg']}" if place else str(complaint["msg"])
