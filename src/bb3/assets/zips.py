"""One member out of a ZIP file: a local one, or a remote one without the rest of it."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO

import httpx

from bb3.assets.download import UNSTATED_LIMIT, Remote, cache_error
from bb3.core.errors import AssetError

TAIL = 128 * 1024
"""Bytes fetched at the end of a remote ZIP file: its directory, as a rule."""
MEMBER_LIMIT = 32 * 1024 * 1024
"""Larger members come by an ordinary download, which can be resumed."""
CHUNK = 1024 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})")


def sha256_of(path: Path) -> str:
    """Hash of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def extract(archive: Path | io.RawIOBase, member: str, target: Path, size: int | None) -> str:
    """Write one member to ``target``; returns its sha256.

    Args:
        archive: a ZIP file.
        size: its declared size in bytes; a member that unpacks to more is not unpacked further.

    Raises:
        CacheError: the target cannot be written.
        AssetError: not a ZIP file, no such member, damaged, or not of the declared size.
    """
    with _opened(archive) as parcel, _unpacking(parcel, member, size) as packed:
        limit = UNSTATED_LIMIT if size is None else size
        digest, done = hashlib.sha256(), 0
        try:
            with target.open("wb") as out:
                while chunk := _read(packed, member):
                    done += len(chunk)
                    if done > limit:
                        raise AssetError(f"{member} unpacks to more than {limit} bytes.")
                    digest.update(chunk)
                    out.write(chunk)
        except OSError as error:
            raise cache_error(target, error) from error
    return digest.hexdigest()


def _opened(archive: Path | io.RawIOBase) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, OSError) as error:
        shown = archive.name if isinstance(archive, Path) else "what came"
        raise AssetError(f"{shown} is not a readable ZIP file: {error}.") from error


def _info(parcel: zipfile.ZipFile, member: str, size: int | None) -> zipfile.ZipInfo:
    try:
        info = parcel.getinfo(member)
    except KeyError:
        raise AssetError(f"The archive has no member {member!r}.") from None
    if size is not None and info.file_size != size:
        raise AssetError(f"{member} is {info.file_size} bytes there, not {size}.")
    return info


def _unpacking(parcel: zipfile.ZipFile, member: str, size: int | None) -> IO[bytes]:
    info = _info(parcel, member, size)
    try:
        return parcel.open(info)
    except (zipfile.BadZipFile, RuntimeError) as error:  # encrypted, or an unknown method
        raise AssetError(f"{member} cannot be unpacked: {error}.") from error


def _read(packed: IO[bytes], member: str) -> bytes:
    try:
        return packed.read(CHUNK)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise AssetError(f"{member} is damaged inside its archive: {error}.") from error


async def remote_member(
    client: httpx.AsyncClient, remote: Remote, member: str, size: int | None
) -> io.RawIOBase | None:
    """As much of a remote ZIP file as ``extract`` needs for one member.

    Returns:
        A file that holds only those bytes; None when that is not possible or not worth it:
        the server gives no ranges, or the member is most of the file or very large.

    Raises:
        AssetError: no such member, or not of that size.
    """
    try:
        sparse = await _Sparse.tail(client, remote)
        while True:
            try:
                parcel = _opened(sparse)
                info = _info(parcel, member, size)
                if info.compress_size > min(MEMBER_LIMIT, sparse.size // 2):
                    return None
                # Local header: 30 bytes, name, an extra field of unknown, small length.
                ahead = 30 + len(info.filename.encode()) + 1024
                await sparse.fetch(info.header_offset, info.compress_size + ahead)
                with _unpacking(parcel, member, size) as packed:
                    while _read(packed, member):
                        pass
            except _Gap as gap:
                await sparse.fetch(gap.start, gap.length)
            else:
                return sparse
    except (httpx.HTTPError, httpx.InvalidURL, _NoRanges):
        return None


class _NoRanges(Exception):
    """The server answered something other than the bytes asked for."""


class _Gap(Exception):
    """A read touched bytes that were not fetched."""

    def __init__(self, start: int, length: int) -> None:
        super().__init__(start, length)
        self.start, self.length = start, length


class _Sparse(io.RawIOBase):
    """A seekable file of which only some spans are there."""

    def __init__(self, client: httpx.AsyncClient, remote: Remote, size: int) -> None:
        super().__init__()
        self._client, self._remote, self.size = client, remote, size
        self._spans: dict[int, bytes] = {}
        self._fetched = 0
        self._at = 0

    @classmethod
    async def tail(cls, client: httpx.AsyncClient, remote: Remote) -> _Sparse:
        """The file with its last bytes fetched."""
        start, size, body = await _range(client, remote, f"bytes=-{TAIL}", TAIL)
        sparse = cls(client, remote, size)
        sparse._spans[start] = body
        return sparse

    async def fetch(self, start: int, length: int) -> None:
        """Get a span. Raises _NoRanges also when reading goes in circles."""
        length = min(max(length, 1), self.size - start)
        self._fetched += length
        if length <= 0 or self._fetched > 2 * MEMBER_LIMIT:
            raise _NoRanges
        span = f"bytes={start}-{start + length - 1}"
        got, size, body = await _range(self._client, self._remote, span, length)
        if (got, size, len(body)) != (start, self.size, length):
            raise _NoRanges
        self._spans[start] = body

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError("seek before the beginning")
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self.size if size < 0 else min(self.size, self._at + size)
        if self._at >= end:
            return b""
        for start, body in self._spans.items():
            if start <= self._at and end <= start + len(body):
                found = body[self._at - start : end - start]
                self._at = end
                return found
        raise _Gap(self._at, end - self._at)


async def _range(
    client: httpx.AsyncClient, remote: Remote, span: str, most: int
) -> tuple[int, int, bytes]:
    """Where a span starts, the size of the whole file, and the span's bytes."""
    headers = remote.headers() | {"Range": span}
    async with client.stream("GET", remote.url, headers=headers, auth=remote.auth) as response:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if response.status_code != 206 or found is None:
            raise _NoRanges
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > most:
                raise _NoRanges
    return int(found[1]), int(found[2]), bytes(body)
