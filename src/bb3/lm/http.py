"""JSON over HTTP to a model server: one pool, retries under a deadline, limits on everything."""

from __future__ import annotations

import asyncio
import codecs
import io
import json
import random
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from bb3.core.errors import ModelError, ModelTimeout, UsageError

_RETRIED_STATUS = frozenset({429, 500, 502, 503, 504})
_RETRIED_ERRORS = (httpx.ConnectError, httpx.ConnectTimeout, httpx.RemoteProtocolError)
JSON = {"Content-Type": "application/json"}

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 8.0


class Endpoint:
    """A server that speaks JSON.

    Args:
        url: its address; paths of the calls are appended.
        api_key: sent as a bearer token, never shown.
        concurrency: calls at a time; more wait.
        retries: further tries when it cannot be reached, is busy or stumbles.
        timeout_s: longest silence, and the deadline of calls that bring none.
        max_bytes: longest answer.
        transport: for tests.

    Raises:
        UsageError: not an ``http`` or ``https`` address.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str = "",
        concurrency: int = 8,
        retries: int = 3,
        timeout_s: float = 120.0,
        max_bytes: int = 16 << 20,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            why = "" if "@" in url else f": {error}"  # it may quote a password
            raise UsageError(f"{url!r} is not an address{why}.") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise UsageError(
                f"{url!r} is not the address of a server.",
                remedy="It begins with http:// or https://.",
            )
        self.url = str(parsed.copy_with(userinfo=b"", query=None, fragment=None)).rstrip("/")
        self.retries = retries
        self.timeout_s = timeout_s
        self.max_bytes = max_bytes
        self._places = asyncio.Semaphore(concurrency)
        self._client = httpx.AsyncClient(
            base_url=str(parsed).rstrip("/"),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout_s, connect=min(10.0, timeout_s), pool=None),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            transport=transport,
        )

    def until(self, deadline_s: float | None) -> float:
        """When a call that begins now must be over, by the loop's clock. What takes several
        requests gives this time to each of them.
        """
        longest = self.timeout_s if deadline_s is None else deadline_s
        return asyncio.get_running_loop().time() + longest

    async def get(self, path: str, *, until: float | None = None) -> Any:
        """The JSON at a path."""
        return await self._whole("GET", path, None, until)

    async def post(self, path: str, body: dict[str, Any], *, until: float | None = None) -> Any:
        """The JSON answer to a body. Raises ModelError, ModelTimeout."""
        return await self._whole("POST", path, body, until)

    async def events(
        self, path: str, body: dict[str, Any], *, until: float | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Server-sent events of an answer. Closing the generator closes the connection."""
        until = until or self.until(None)
        async with self.in_time(until), self._places:
            response = await self._answer("POST", path, body, until)
        try:
            sent = sent_events(self._pieces(response))
            while True:
                async with self.in_time(until):
                    data = await anext(sent, "[DONE]")
                if data.strip() == "[DONE]":
                    return
                event = self._parsed(data, path)
                if not isinstance(event, dict) or event.get("error"):
                    raise self._failed(path, f"reports {_reason(event)}")
                yield event
        finally:
            await response.aclose()

    @asynccontextmanager
    async def in_time(self, until: float) -> AsyncGenerator[None, None]:
        """Limits what is done within; what goes wrong with the connection is a ModelError."""
        try:
            async with asyncio.timeout_at(until):
                yield
        except (TimeoutError, httpx.TimeoutException) as error:
            raise ModelTimeout(
                f"{self.url} did not answer in time.",
                remedy="Give the module a longer deadline, or look how busy the server is.",
            ) from error
        except httpx.HTTPError as error:
            raise ModelError(
                f"The connection to {self.url} broke: {error or type(error).__name__}."
            ) from error

    async def aclose(self) -> None:
        await self._client.aclose()

    # --- how ----------------------------------------------------------------------------------

    async def _whole(
        self, method: str, path: str, body: dict[str, Any] | None, until: float | None
    ) -> Any:
        until = until or self.until(None)
        async with self.in_time(until), self._places:
            response = await self._answer(method, path, body, until)
            try:
                return self._parsed(await self._read(response), path)
            finally:
                await response.aclose()

    async def _answer(
        self, method: str, path: str, body: dict[str, Any] | None, until: float
    ) -> httpx.Response:
        """The first good answer, its body unread."""
        for attempt in range(self.retries + 1):
            request = self._client.build_request(
                method, path, content=None if body is None else encoded(body), headers=JSON
            )
            pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1)  # noqa: S311
            try:
                response = await self._client.send(request, stream=True)
            except _RETRIED_ERRORS as error:
                failure = self._failed(path, f"cannot be reached ({error or type(error).__name__})")
            else:
                if response.is_success:
                    return response
                text = await self._read(response)
                await response.aclose()
                failure = self._failed(path, f"answers {response.status_code}: {_reason(text)}")
                if response.status_code not in _RETRIED_STATUS:
                    raise failure
                pause = max(pause, _retry_after(response))
            if attempt == self.retries or asyncio.get_running_loop().time() + pause > until:
                raise failure
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _read(self, response: httpx.Response) -> bytes:
        return b"".join([piece async for piece in self._pieces(response)])

    async def _pieces(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        size = 0
        async for piece in response.aiter_bytes():
            size += len(piece)
            if size > self.max_bytes:
                raise self._failed(response.url.path, f"answers more than {self.max_bytes} bytes")
            yield piece

    def _parsed(self, content: bytes | str, path: str) -> Any:
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._failed(path, f"answers no JSON: {_reason(content)}") from error

    def _failed(self, path: str, what: str) -> ModelError:
        return ModelError(
            f"{self.url}/{path.lstrip('/')} {what}.",
            remedy="Check the address and that the server runs this model.",
        )


async def sent_events(pieces: AsyncIterable[bytes]) -> AsyncGenerator[str, None]:
    """The data of server-sent events, also of a last one that no empty line ends.

    https://html.spec.whatwg.org/multipage/server-sent-events.html; comments and other fields are
    passed over, but for ``error``, in which older servers of llama.cpp say what went wrong.
    """
    data: list[str] = []
    async for line in _lines(pieces):
        name, _, value = line.partition(":")
        if name in ("data", "error"):
            data.append(value.removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
    if data:
        yield "\n".join(data)


async def _lines(pieces: AsyncIterable[bytes]) -> AsyncGenerator[str, None]:
    """Lines as events have them: httpx also breaks at characters that JSON leaves as they are."""
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder("utf-8-sig")("replace"), translate=True
    )
    begun = ""
    async for piece in pieces:
        first, *more = decoder.decode(piece).split("\n")
        begun += first
        for text in more:
            yield begun
            begun = text
    yield begun + decoder.decode(b"", final=True)


def encoded(body: Any) -> bytes:
    """JSON as bytes. What is no character (half a surrogate pair) becomes a question mark."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def _reason(answer: Any) -> str:
    """What an answer says is wrong, short."""
    if isinstance(answer, bytes | str):
        text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = text
    if isinstance(answer, dict):
        error = answer.get("error") or answer
        answer = error.get("message", error) if isinstance(error, dict) else error
    return repr(answer)[:200]


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0
