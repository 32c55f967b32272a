"""Finding a wheel at a package index or among links: PEP 503, 691 and 592, and plain folders.

Nothing is chosen by the running Python: the wheel is a parcel, its code is never run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

import httpx
from packaging.utils import canonicalize_name
from packaging.version import Version

from bb3.assets.index import Place, place, redacted
from bb3.assets.registry import PackageIndexSource
from bb3.core.errors import AssetError

ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.2"
PAGE_LIMIT = 64 * 1024 * 1024


class Unreachable(AssetError):
    """A place that did not answer, or would not: another way in may still work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel that a place offers. ``url`` carries no credentials; ``sha256`` as the place
    states it, None when it does not.
    """

    filename: str
    url: str
    sha256: str | None = None
    yanked: bool = False
    auth: tuple[str, str] | None = field(default=None, repr=False)

    def local(self) -> Path | None:
        """Its path when it lies on this machine."""
        parts = urlsplit(self.url)
        return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


async def find_wheel(
    client: httpx.AsyncClient, where: Place, source: PackageIndexSource
) -> Wheel | None:
    """The wheel of that project and version at one place, None when the place has none.

    Raises:
        Unreachable: the place does not answer, or refuses.
        AssetError: what it answers is not an index page.
    """
    wheels = [w for w in await _wheels(client, where, source.project) if _fits(w, source)]
    # Pure Python ones first: they hold data for any machine; yanked ones last (PEP 592 leaves
    # them to those who ask for exactly that version, which is what happens here).
    wheels.sort(key=lambda w: (w.yanked, not w.filename.endswith("-none-any.whl"), w.filename))
    return wheels[0] if wheels else None


def _fits(wheel: Wheel, source: PackageIndexSource) -> bool:
    if source.filename:
        return wheel.filename == source.filename
    parts = wheel.filename.removesuffix(".whl").split("-")  # name, version, perhaps build, 3 tags
    if len(parts) not in (5, 6) or canonicalize_name(parts[0]) != canonicalize_name(source.project):
        return False
    try:
        return Version(parts[1]) == Version(source.version)
    except ValueError:  # no version, or a number of thousands of digits
        return False


async def _wheels(client: httpx.AsyncClient, where: Place, project: str) -> list[Wheel]:
    url = where.url if where.links else f"{where.url.rstrip('/')}/{canonicalize_name(project)}/"
    folder = Place(url).folder()
    if folder is None:
        body, content_type, final = await _page(client, url, where.auth)
        return list(_parsed(body, content_type, final, where))
    page = folder / "index.html" if folder.is_dir() else folder
    try:
        if page.is_file():
            text = page.read_bytes()[:PAGE_LIMIT]
            return list(_parsed(text, "text/html", page.as_uri(), where))
        files = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    except OSError as error:
        raise Unreachable(f"{folder} cannot be read ({error.strerror}).") from error
    return [Wheel(filename=f.name, url=f.as_uri()) for f in files]


async def _page(
    client: httpx.AsyncClient, url: str, auth: tuple[str, str] | None
) -> tuple[bytes, str, str]:
    """An index page: its bytes, content type and final address; empty when there is none."""
    shown = redacted(url)
    try:
        async with client.stream("GET", url, headers={"Accept": ACCEPT}, auth=auth) as response:
            if response.status_code in (404, 410):
                return b"", "text/html", url
            if response.status_code != 200:
                raise Unreachable(f"{shown} answered {response.status_code}.")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > PAGE_LIMIT:
                    raise AssetError(f"{shown} is larger than {PAGE_LIMIT} bytes.")
            kind = response.headers.get("content-type", "text/html")
            return bytes(body), kind, str(response.url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreachable(f"{shown} cannot be reached ({type(error).__name__}).") from error


def _parsed(body: bytes, content_type: str, url: str, where: Place) -> Iterator[Wheel]:
    if "json" in content_type:
        try:
            files = json.loads(body)["files"]
            links = [(f["url"], f.get("hashes", {}).get("sha256"), f.get("yanked")) for f in files]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise AssetError(f"{redacted(url)} is not an index page (PEP 691).") from error
    else:
        parser = _Links()
        parser.feed(body.decode("utf-8", "replace"))
        url = _joined(url, parser.base)
        links = [(href, None, yanked) for href, yanked in parser.links]
    for href, sha256, yanked in links:
        found = _wheel(_joined(url, str(href)), sha256, bool(yanked) or yanked == "", where)
        if found is not None:
            yield found


def _joined(base: str, href: str) -> str:
    """Where a link leads; nowhere (to the page itself) when it is no address, like ``http://[``."""
    try:
        return urljoin(base, href)
    except ValueError:
        return base


def _wheel(url: str, sha256: object, yanked: bool, where: Place) -> Wheel | None:
    parts = urlsplit(url)
    filename = unquote(parts.path.rpartition("/")[2])
    # A page from the net may not point into this machine's files.
    schemes = ("file",) if where.folder() is not None else ()
    if not filename.endswith(".whl") or parts.scheme not in ("http", "https", *schemes):
        return None
    stated = parts.fragment.removeprefix("sha256=") if "sha256=" in parts.fragment else sha256
    target = place(urlunsplit(parts._replace(fragment="")))
    same_host = target.host == where.host and parts.scheme == urlsplit(where.url).scheme
    return Wheel(
        filename=filename,
        url=target.url,
        sha256=stated.lower() if isinstance(stated, str) else None,
        yanked=yanked,
        auth=target.auth or (where.auth if same_host else None),
    )


class _Links(HTMLParser):
    """The anchors of an index page."""

    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.links: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "base" and values.get("href"):
            self.base = values["href"] or ""
        elif tag == "a" and values.get("href"):
            yanked = (values["data-yanked"] or "") if "data-yanked" in values else None
            self.links.append((values["href"] or "", yanked))
