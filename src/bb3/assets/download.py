"""Bringing a file over HTTP, in spite of cut connections, and only once.

What has come lies in ``NAME.part``; ``NAME.part.json`` beside it says what it is a part of.
A part is continued by ``Range`` with ``If-Range`` where the server gave a validator, else
only if the total length is still the same (the caller checks a hash at the end).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import re
import shutil
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

import httpx

from bb3.assets.index import redacted
from bb3.assets.simple import Unreachable
from bb3.core.errors import AssetError
from bb3.core.ports import Progress

RETRIES = 5
"""Attempts in a row that bring nothing new before giving up."""
MOST_ATTEMPTS = 100
BACKOFF_S = 0.5
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNSTATED_LIMIT = 64 * 2**30
"""The most bytes of a file whose size no list states."""
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18}|\*)")


class CacheError(AssetError):
    """The cache folder cannot take the file: no other source would help."""


def cache_error(path: Path, error: OSError) -> CacheError:
    """What an ``OSError`` while writing to the cache means to a person."""
    if error.errno in FULL:
        return CacheError(
            f"The disk is full: {path} cannot be written.",
            remedy="Free some space and pull again; what has come already is kept.",
        )
    return CacheError(
        f"{path} cannot be written ({error.strerror or type(error).__name__}).",
        remedy="Make the cache folder writable, or name another.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A file on the net."""

    url: str
    auth: tuple[str, str] | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)

    def headers(self) -> dict[str, str]:
        """Bytes as they lie there, so that ranges mean what they say."""
        plain = {"Accept-Encoding": "identity"}
        return plain | ({"Authorization": f"Bearer {self.bearer}"} if self.bearer else {})


class Part:
    """The beginning of a file, on disk, with the note that lets it be continued."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.note = path.with_name(path.name + ".json")
        self.url = redacted(url)
        self.done = 0
        self.total: int | None = None
        self.validator = ""
        self._file: FileIO | None = None
        self._recall()

    def _recall(self) -> None:
        try:
            note: dict[str, Any] = json.loads(self.note.read_text(encoding="utf-8"))
            if note["url"] == self.url:
                self.total, self.validator = note["total"], str(note["validator"])
                self.done = self.path.stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            self.done = 0  # nothing usable: begin anew

    def range_headers(self) -> dict[str, str]:
        """What asks for the rest; nothing while there is no beginning."""
        if not self.done:
            return {}
        headers = {"Range": f"bytes={self.done}-"}
        return headers | ({"If-Range": self.validator} if self.validator else {})

    def restart(self, total: int | None, validator: str) -> None:
        """Begin at byte 0 with what the server says now."""
        self.close()
        self.done, self.total, self.validator = 0, total, validator
        self.path.write_bytes(b"")
        note = {"url": self.url, "total": total, "validator": validator}
        self.note.write_text(json.dumps(note), encoding="utf-8")

    def write(self, chunk: bytes) -> None:
        if self._file is None:
            self._file = FileIO(self.path, "ab")
        view = memoryview(chunk)
        while view:  # a raw file may take less than it is offered
            taken = self._file.write(view)
            self.done += taken
            view = view[taken:]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def drop(self) -> None:
        """Throw the part away."""
        self.close()
        self.done = 0
        for path in (self.path, self.note):
            path.unlink(missing_ok=True)


class _TryAgain(Exception):
    """The answer is no use, another attempt may be. ``after_s``: when the server says so."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


async def download(
    client: httpx.AsyncClient, remote: Remote, part: Part, progress: Progress, *, limit: int
) -> None:
    """Complete ``part``. Cancelling leaves it to be continued by the next call.

    Args:
        limit: more bytes than this are refused.

    Raises:
        Unreachable: the server does not answer, refuses, or keeps cutting the connection.
        CacheError: the part cannot be written.
        AssetError: there is no such file, or it is too large.
    """
    furthest, fruitless = part.done, 0
    try:
        for _ in range(MOST_ATTEMPTS):
            try:
                return await _attempt(client, remote, part, progress, limit)
            except (httpx.TransportError, _TryAgain) as error:
                fruitless = 0 if part.done > furthest else fruitless + 1
                furthest = max(furthest, part.done)
                why = str(error) if isinstance(error, _TryAgain) else type(error).__name__
                if fruitless >= RETRIES:
                    break
                wait = getattr(error, "after_s", 0.0) or BACKOFF_S * 2**fruitless
                await asyncio.sleep(min(wait, 30.0))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreachable(f"{part.url} cannot be had ({type(error).__name__}).") from error
    except OSError as error:
        raise cache_error(part.path, error) from error
    finally:
        part.close()
    raise Unreachable(
        f"{part.url} broke off again and again ({why}).",
        remedy="Pull again later; what has come already is kept.",
    )


async def _attempt(
    client: httpx.AsyncClient, remote: Remote, part: Part, progress: Progress, limit: int
) -> None:
    headers = remote.headers() | part.range_headers()
    async with client.stream("GET", remote.url, headers=headers, auth=remote.auth) as response:
        if not _starts(response, part):
            return
        if (part.total or 0) > limit:
            raise AssetError(f"{part.url} is {part.total} bytes, not at most {limit}.")
        missing = (part.total or 0) - part.done
        if missing > shutil.disk_usage(part.path.parent).free:
            raise cache_error(part.path, OSError(errno.ENOSPC, "No space left on device"))
        progress.done, progress.total = part.done, part.total or 0
        progress.advance(0)
        async for chunk in response.aiter_raw():
            if part.done + len(chunk) > limit:
                raise AssetError(f"{part.url} is more than {limit} bytes.")
            part.write(chunk)
            progress.advance(len(chunk))
    if part.total is not None and part.done != part.total:
        raise _TryAgain(f"{part.done} of {part.total} bytes came")


def _starts(response: httpx.Response, part: Part) -> bool:
    """Settle where the answer's bytes belong; False when the part is already whole."""
    status = response.status_code
    span = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    total = int(span[2]) if span and span[2] != "*" else None
    if status == 206 and span and span[1] == str(part.done) and total == part.total:
        return True
    if status == 416 and total is not None and total == part.done == part.total:
        return False
    if status in (206, 416):
        part.drop()  # the file has changed behind the part
        raise _TryAgain("the file changed on the server")
    if status == 200:
        with contextlib.suppress(ValueError):
            total = int(response.headers.get("content-length", ""))
        etag = response.headers.get("etag", "")
        strong = etag if not etag.startswith("W/") else ""
        part.restart(total, strong or response.headers.get("last-modified", ""))
        return True
    if status == 429 or status >= 500:
        after = response.headers.get("retry-after", "")
        raise _TryAgain(f"it answered {status}", float(after) if after.isdecimal() else 0.0)
    if status in (401, 403, 407):
        raise Unreachable(
            f"{part.url} refuses (status {status}).",
            remedy="Check the credentials in your package index or hub settings.",
        )
    raise AssetError(f"{part.url} is not there (status {status}).")
