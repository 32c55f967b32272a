"""Fetch a page of the public web and keep its text."""

from __future__ import annotations

import asyncio

import httpx

from bb3.core.errors import SearchError
from bb3.core.types import Document
from bb3.search.addresses import CheckedTransport
from bb3.search.http import http_url, read_limited, said
from bb3.search.pages import decode_page, extract

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
TEXT_TYPES = frozenset({"text/plain", "text/markdown"})
MAX_URL_CHARS = 4000


class PageFetcher:
    """Reads pages by http and https. Raises SearchError only, naming the page.

    Args:
        allow_private: also read from loopback and private networks (tests, an intranet).
        timeout_s: for one page with all its redirects, however slowly it drips.
        max_bytes: the longest page, unpacked.
        max_redirects: each target is checked like the first address.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        timeout_s: float = 8.0,
        max_bytes: int = 2 * 2**20,
        max_redirects: int = 4,
        user_agent: str = "bb3",
    ) -> None:
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._max_redirects = max_redirects
        self._client = httpx.AsyncClient(
            transport=CheckedTransport(allow_private=allow_private),
            headers={
                "User-Agent": user_agent,
                "Accept": "text/html, application/xhtml+xml, text/plain;q=0.8",
                "Accept-Encoding": "identity",
            },
            timeout=httpx.Timeout(
                timeout_s, connect=timeout_s / 3
            ),  # leaves time for other addresses
            trust_env=False,
        )

    async def fetch(self, url: str) -> Document:
        """The page's title and main text; ``url`` of the document is where it was found."""
        try:
            async with asyncio.timeout(self._timeout_s):
                response, body = await self._follow(page_address(url))
                return await asyncio.to_thread(read_page, response, body)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise SearchError(f"{url} did not answer within {self._timeout_s:g} s.") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise SearchError(f"{url} cannot be read: {said(error)}.") from error
        except RuntimeError as error:  # what httpx raises once it is closed
            raise SearchError("The page fetcher is closed.") from error

    async def _follow(self, url: httpx.URL) -> tuple[httpx.Response, bytes]:
        """The answer at the end of the redirects."""
        start = url
        for _ in range(self._max_redirects + 1):
            self._client.cookies.clear()  # nobody is recognised from page to page
            response = await self._client.send(
                self._client.build_request("GET", url), stream=True, follow_redirects=False
            )
            try:
                if not response.has_redirect_location:
                    check_page(response)
                    return response, await read_limited(response, self._max_bytes)
            finally:
                await response.aclose()
            url = page_address(str(url.join(response.headers["location"])))
        raise SearchError(f"{start} redirects more than {self._max_redirects} times.")

    async def aclose(self) -> None:
        await self._client.aclose()


def page_address(url: str) -> httpx.URL:
    """A checked address of a page. Raises SearchError."""
    if len(url) > MAX_URL_CHARS:
        raise SearchError(f"The address {url[:80]}… is longer than {MAX_URL_CHARS} characters.")
    parsed = http_url(url.strip(), "a page")
    if parsed.userinfo:
        raise SearchError(f"The address of a page at {parsed.host!r} carries a user or password.")
    return parsed


def check_page(response: httpx.Response) -> None:
    """Raise SearchError unless this is a page of text."""
    url = response.request.url
    if response.status_code != httpx.codes.OK:
        raise SearchError(f"{url} answered with status {response.status_code}.")
    if (kind := media_type(response)) not in HTML_TYPES | TEXT_TYPES:
        raise SearchError(f"{url} is {kind or 'of no stated type'}, not a page of text.")


def media_type(response: httpx.Response) -> str:
    """The media type of an answer, lower-cased, without parameters."""
    return str(response.headers.get("content-type", "")).split(";")[0].strip().lower()


def read_page(response: httpx.Response, body: bytes) -> Document:
    """The document that a page is. Raises SearchError when it has no text."""
    url = str(response.request.url)
    text = decode_page(body, response.charset_encoding)
    if media_type(response) in HTML_TYPES:
        title, text = extract(text, url)
    else:
        title, text = "", text.replace("\0", " ").strip()
        if not text:
            raise SearchError(f"The page {url} has no text.")
    return Document(title=title or response.request.url.host, text=text, url=url)
