"""The only place that picks implementations: from settings to an agent."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from bb3.app.models import open_model
from bb3.app.places import path_of
from bb3.app.searches import open_search
from bb3.app.settings import Loaded, Settings, load
from bb3.assets.index import index_config
from bb3.assets.pull import Puller
from bb3.assets.registry import Asset, Registry, load_registry
from bb3.chat.agent import Agent
from bb3.core.errors import AssetError, UsageError
from bb3.core.ports import Embedder, Progress, Store
from bb3.lm.minilm import MiniLMEmbedder
from bb3.modules.dialects import dialect
from bb3.safety.guard import Guard, build_guard
from bb3.safety.profanity import ProfanityClassifier
from bb3.store.sql import open_store

log = logging.getLogger(__name__)

EMBEDDER = ("minilm-l6-v2-onnx", "minilm-l6-v2-tokenizer")
PERSONA_LINES = 50
PERSONA_CHARACTERS = 300
"""Of a line. All of them stand before every reply that the model writes."""
PERSONA_BYTES = 100_000
"""So much of the file is read."""

Report = Callable[[Progress], None]


def settings_files() -> list[Path]:
    """The user's file, then the working folder's."""
    return [platformdirs.user_config_path("bb3") / "bb3.toml", Path("bb3.toml")]


@dataclass(frozen=True, slots=True)
class Parts:
    """What every command may need, made from the settings; nothing is opened yet.

    Args:
        report: told of long work, to draw it.
    """

    loaded: Loaded
    flags: Mapping[str, object]
    registry: Registry
    puller: Puller
    report: Report | None = None

    @property
    def settings(self) -> Settings:
        """The effective settings."""
        return self.loaded.settings

    async def fetch(self, asset: Asset) -> Path:
        """The asset's file, pulled on first use. Raises AssetError."""
        if path := await asyncio.to_thread(self.puller.path, asset):
            return path
        if self.settings.offline:
            raise AssetError(
                f"{asset.name} is not here, and `offline` is set.",
                remedy=f"Run `bb3 models pull {asset.name}` with a network.",
            )
        progress = Progress(what=asset.name, total=asset.size or 0, report=self.report)
        return await self.puller.pull(asset, progress)

    async def open_store(self) -> Store:
        """The database of the settings. Raises StoreError."""
        return await open_store(self.settings.store or self.settings.data_dir / "bb3.sqlite")

    async def open_embedder(self) -> Embedder:
        """The embedding model. Raises AssetError."""
        model, tokenizer = await asyncio.gather(
            *(self.fetch(self.registry.find(name)) for name in EMBEDDER)
        )
        return await asyncio.to_thread(MiniLMEmbedder, model, tokenizer)

    async def try_embedder(self) -> Embedder | None:
        """The embedding model; without it search and memory go by words alone."""
        try:
            return await self.open_embedder()
        except AssetError as error:
            log.warning("search and memory go by words alone: %s", error)
            return None


def prepare(flags: Mapping[str, object], report: Report | None = None) -> Parts:
    """Read the settings. Raises UsageError."""
    loaded = load(flags, os.environ, settings_files())
    settings = loaded.settings
    puller = Puller(
        settings.cache_dir / "assets",
        index=index_config(os.environ),
        hub_endpoint=os.environ.get("HF_ENDPOINT", "https://huggingface.co"),
        hub_token=os.environ.get("HF_TOKEN"),
    )
    return Parts(loaded, flags, load_registry(*settings.assets), puller, report)


async def build_agent(parts: Parts) -> Agent:
    """Everything opened and joined. What was opened is closed again when a part fails.

    Raises:
        Bb3Error: a part cannot be had; says which and what to do.
    """
    persona = _persona(parts.settings)  # what can be wrong at once is told at once
    async with AsyncExitStack() as opened:
        store = await parts.open_store()
        opened.push_async_callback(store.aclose)
        model, embedder = await asyncio.gather(
            open_model(parts.settings, parts.registry, parts.fetch), parts.try_embedder()
        )
        opened.push_async_callback(model.aclose)
        # The model's own dialect may bring a profile of its own.
        settings = load(parts.flags, os.environ, settings_files(), dialect=model.dialect).settings
        spoken = dialect(settings.dialect or model.dialect)
        agent = Agent(
            model=model,
            dialect=spoken,
            store=store,
            guard=open_guard(settings),
            pipeline=settings.pipeline_for(spoken.name),
            rules=settings.memory_rules(),
            search=await open_search(
                settings,
                parts.registry,
                parts.fetch,
                embedder=embedder,
                dialect=spoken.name,
                progress=parts.report,
            ),
            embedder=embedder,
            persona=persona,
            tell_date=settings.tell_date,
        )
        opened.pop_all()
        return agent


def open_guard(settings: Settings) -> Guard:
    """The guard of the level."""
    classifiers = [ProfanityClassifier()] if settings.safety == "all" else []
    return build_guard(settings.safety, classifiers=classifiers)


def _persona(settings: Settings) -> tuple[str, ...]:
    if not settings.persona:
        return ()
    path = path_of(settings.persona)
    try:
        with path.open("rb") as file:
            data = file.read(PERSONA_BYTES + 1)
        cut = len(data) > PERSONA_BYTES  # perhaps within a character
        text = data.decode("utf-8-sig", "ignore" if cut else "strict")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The persona file {path} cannot be read: {error}.",
            remedy="Name a text file in UTF-8 with a line per fact about the bot.",
        ) from error
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    longest = max(map(len, lines), default=0)
    if cut or len(lines) > PERSONA_LINES or longest > PERSONA_CHARACTERS:
        raise UsageError(
            f"The persona file {path} is too long.",
            remedy=f"Keep it to {PERSONA_LINES} lines of at most {PERSONA_CHARACTERS} characters.",
        )
    return lines
