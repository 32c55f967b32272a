"""From the name of a search to the provider, wrapped as the settings say."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from bb3.app.places import shown
from bb3.app.settings import Settings
from bb3.assets.registry import Asset, Registry
from bb3.core.errors import AssetError, UsageError
from bb3.core.ports import Embedder, Progress, SearchProvider
from bb3.core.types import Document
from bb3.search.best import ChunkRule, cut
from bb3.search.brave import BraveSearch
from bb3.search.duckduckgo import DuckDuckGoSearch
from bb3.search.fetch import PageFetcher
from bb3.search.local import LocalIndex
from bb3.search.parlai import ParlaiSearch
from bb3.search.searxng import SearxngSearch
from bb3.search.wrappers import CachedSearch, FallbackSearch, ReadingSearch

DEMO_INDEX = "wikipedia"
DEMO_CORPUS = "wikipedia-vital-en"
_INDEX_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def index_path(settings: Settings, name: str) -> Path:
    """The file of a local index. Raises UsageError for a name that is no file's name."""
    if not _INDEX_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name an index.", remedy="Use letters, digits, '-', '_' and '.'."
        )
    return settings.data_dir / "indexes" / f"{name}.sqlite"


async def open_search(
    settings: Settings,
    registry: Registry,
    fetch: Callable[[Asset], Awaitable[Path]],
    *,
    embedder: Embedder | None = None,
    dialect: str = "chat",
    progress: Callable[[Progress], None] | None = None,
) -> SearchProvider | None:
    """The provider that the settings name, or several, of which the next is asked when one fails
    or finds nothing; None for ``none``.

    Raises:
        UsageError: no such provider, or no such index.
        AssetError: the demo corpus cannot be had.
    """
    names = searches(settings)
    if names == ["none"]:
        return None
    if any(name in ("local", f"local:{DEMO_INDEX}") for name in names):
        await _build_demo(settings, registry, fetch, progress)
    async with AsyncExitStack() as opened:
        providers = []
        for name in names:
            providers.append(await _provider(name, settings, embedder, dialect))
            opened.push_async_callback(providers[-1].aclose)
        opened.pop_all()
    return providers[0] if len(providers) == 1 else FallbackSearch(providers)


def searches(settings: Settings) -> list[str]:
    """The names of the providers to ask, in order."""
    return [name.strip() for name in settings.search.split(",")]


async def _provider(
    name: str, settings: Settings, embedder: Embedder | None, dialect: str
) -> SearchProvider:
    kind, _, rest = name.partition(":")
    if kind == "local":
        local = await _local(settings, rest or DEMO_INDEX, embedder)
        return _cut_as_trained(local, settings, dialect)
    provider: SearchProvider
    retrieval = settings.retrieval
    key, timeout_s = retrieval.api_key.get_secret_value(), retrieval.timeout_s
    match kind:
        case "parlai" if rest:
            provider = ParlaiSearch(rest, timeout_s=timeout_s)
        case "searxng" if rest:
            provider = SearxngSearch(rest, timeout_s=timeout_s)
        case "brave":
            provider = BraveSearch(key, timeout_s=timeout_s)
        case "duckduckgo":
            provider = DuckDuckGoSearch(timeout_s=timeout_s)
        case _:
            raise UsageError(
                f"There is no search {shown(name)!r}.",
                remedy="Use local, local:NAME, parlai:URL, searxng:URL, brave or duckduckgo, "
                "several with commas between them, or none.",
            )
    if retrieval.read_pages and kind != "parlai":
        provider = ReadingSearch(provider, PageFetcher(allow_private=retrieval.allow_private))
    provider = CutSearch(provider, _rule(settings, dialect), embedder)
    if retrieval.cache_s:
        provider = CachedSearch(provider, ttl_s=retrieval.cache_s)
    return provider


def _cut_as_trained(provider: SearchProvider, settings: Settings, dialect: str) -> SearchProvider:
    """A local index gives its best passages; models trained on another cut get that."""
    rule = _rule(settings, dialect)
    return provider if rule == "best" else CutSearch(provider, rule)


def _rule(settings: Settings, dialect: str) -> ChunkRule:
    """The large and the 3B model were trained on documents cut in their own ways."""
    rule = settings.retrieval.chunk
    if rule != "auto":
        return rule
    return dialect if dialect in ("opt", "r2c2") else "best"  # type: ignore[return-value]


async def _local(settings: Settings, name: str, embedder: Embedder | None) -> SearchProvider:
    path = index_path(settings, name)
    if not path.exists():
        there = sorted(p.stem for p in path.parent.glob("*.sqlite"))
        raise UsageError(
            f"There is no index {name!r}.",
            remedy=f"Make it with `bb3 index PATH --name {name}`."
            + (f" There are: {', '.join(there)}." if there else ""),
        )
    # An encyclopedia knows nothing of the person who asks; one's own texts may.
    return await LocalIndex.open(path, embedder=embedder, general=name == DEMO_INDEX)


@dataclass(frozen=True, slots=True)
class CutSearch:
    """Another provider's documents without duplicates, each cut to one chunk."""

    provider: SearchProvider
    rule: ChunkRule
    embedder: Embedder | None = None

    @property
    def name(self) -> str:
        """As the provider's."""
        return self.provider.name

    async def search(self, query: str, k: int) -> list[Document]:
        return await cut(query, await self.provider.search(query, k), self.rule, self.embedder)

    async def aclose(self) -> None:
        await self.provider.aclose()


# --- the demo corpus ------------------------------------------------------------------------


async def _build_demo(
    settings: Settings,
    registry: Registry,
    fetch: Callable[[Asset], Awaitable[Path]],
    report: Callable[[Progress], None] | None,
) -> None:
    """Index the demo corpus on first use. An interrupted build goes on where it stopped; a mark
    beside the index says that it is whole."""
    path = index_path(settings, DEMO_INDEX)
    asset = registry.find(DEMO_CORPUS)
    mark = path.with_suffix(".complete")
    whole = f"{asset.name} {asset.sha256}"
    try:
        if path.exists() and mark.exists() and mark.read_text(encoding="utf-8") == whole:
            return
        corpus = await fetch(asset)
        documents = list(_summaries(corpus))
        progress = Progress(what="indexing the demo corpus", total=len(documents),
                            unit="articles", report=report)  # fmt: skip
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # what is said lies there
        path.parent.mkdir(exist_ok=True)
        index = await LocalIndex.create(path, attribution=asset.notice)
        try:
            await index.add(documents, progress, prune=True)
        finally:
            await index.aclose()
        mark.write_text(whole, encoding="utf-8")
    except OSError as error:
        raise AssetError(
            f"The demo index {path} cannot be written: {error}.",
            remedy="Free some disk space, or set data_dir to a folder that can be written.",
        ) from error


def _summaries(path: Path) -> Iterator[Document]:
    """``{title: {"title", "extract"}}``, as the corpus is published."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        for title, entry in table.items():
            if text := entry["extract"]:
                url = f"https://en.wikipedia.org/wiki/{title.replace(' ', '_')}"
                yield Document(title=entry["title"], text=text, url=url)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssetError(
            f"The corpus {path} is not in the format it should be: {error!r}.",
            remedy="Delete it and pull it again with `bb3 models pull`.",
        ) from error
