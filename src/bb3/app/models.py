"""From the name of a model to the model.

``smollm2-135m`` (an asset), ``path/to/model.gguf``, ``openai:URL#name``, ``metaseq:URL``, a folder
with a converted R2C2 model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from bb3.app.extras import extra
from bb3.app.places import path_of, shown
from bb3.app.settings import Settings
from bb3.assets.registry import Asset, Registry
from bb3.core.errors import ModelError, UsageError
from bb3.core.ports import LanguageModel
from bb3.lm.counter import token_counter
from bb3.lm.engine import EngineOptions
from bb3.lm.fallback import FallbackModel
from bb3.lm.llamacpp import LlamaCppModel
from bb3.lm.metaseq import MetaseqModel
from bb3.lm.openai import OpenAIModel

log = logging.getLogger(__name__)

Fetch = Callable[[Asset], Awaitable[Path]]


async def open_model(settings: Settings, registry: Registry, fetch: Fetch) -> LanguageModel:
    """The model that the settings name, and the one that they name to stand in for it.

    Args:
        fetch: brings an asset here.

    Raises:
        UsageError: a name means no model, or the two speak different dialects.
        AssetError, ModelError: one cannot be had or loaded; where another stands in for it, only
            AssetError.
    """
    if not settings.fallback_model:
        return await _open(settings, registry, fetch)
    other = {"model": settings.fallback_model, "fallback_model": ""}
    second = await _open(settings.model_copy(update=other), registry, fetch)
    try:
        first = await _open(settings, registry, fetch)
    except ModelError as error:
        log.warning("%s answers instead of %s: %s", second.name, shown(settings.model), error)
        return second
    except BaseException:
        await second.aclose()
        raise
    both = FallbackModel(first, second)
    if not settings.dialect and first.dialect != second.dialect:
        await both.aclose()
        raise UsageError(
            f"{first.name} speaks the dialect {first.dialect}, its fallback {second.name} "
            f"{second.dialect}.",
            remedy="Name models of one dialect, or set `dialect`.",
        )
    return both


async def _open(settings: Settings, registry: Registry, fetch: Fetch) -> LanguageModel:
    kind, _, rest = settings.model.partition(":")
    if kind == "openai" and rest:
        return await _openai(settings, rest)
    if kind == "metaseq" and rest:
        return await _metaseq(settings, rest)
    if settings.model in registry:
        asset = registry.find(settings.model)
        if asset.kind != "llm":
            raise UsageError(
                f"{asset.name} is no model that runs as it is (its kind: {asset.kind}).",
                remedy="See docs/r2c2.md for checkpoints." if asset.kind == "checkpoint" else "",
            )
        # The hash was checked: no need to try the file in a process of its own first.
        return await asyncio.to_thread(_llamacpp, settings, await fetch(asset), trusted=True)
    return await asyncio.to_thread(_from_path, settings, registry)


def _from_path(settings: Settings, registry: Registry) -> LanguageModel:
    path = path_of(settings.model)
    if path.is_dir():
        return _local_network(settings, path)
    if path.suffix == ".gguf" or path.is_file():
        return _llamacpp(settings, path)
    raise UsageError(
        f"There is no model {shown(settings.model)!r}.",
        remedy=f"Known are: {', '.join(_names(registry))}; or give a .gguf file, a folder, "
        "openai:URL#name or metaseq:URL.",
    )


def _names(registry: Registry) -> list[str]:
    return [name for name, asset in registry.items() if asset.kind == "llm"]


def _llamacpp(settings: Settings, path: Path, *, trusted: bool = False) -> LanguageModel:
    engine = settings.engine
    options = EngineOptions(
        threads=engine.threads or None,
        context_tokens=engine.context_tokens,
        slots=engine.slots,
        cache_tokens=max(engine.cache_tokens, engine.context_tokens),
    )
    return LlamaCppModel(path, dialect=settings.dialect, options=options, trusted=trusted)


async def _openai(settings: Settings, address: str) -> LanguageModel:
    url, _, name = address.partition("#")
    server = settings.server
    model = OpenAIModel(
        url,
        name,
        api_key=server.api_key.get_secret_value(),
        dialect=settings.dialect or "chat",
        flavour=server.flavour,
        concurrency=server.concurrency,
        retries=server.retries,
        timeout_s=server.timeout_s,
    )
    try:
        await model.probe()
    except ModelError as error:
        if not settings.fallback_model:
            await model.aclose()
            raise
        log.warning("%s", error)  # it may come back: every call asks again
    except BaseException:
        await model.aclose()
        raise
    return model


async def _metaseq(settings: Settings, url: str) -> LanguageModel:
    server = settings.server
    count = None
    if server.tokenizer:
        count = await asyncio.to_thread(token_counter, path_of(server.tokenizer))
    return MetaseqModel(
        url,
        api_key=server.api_key.get_secret_value(),
        count=count,
        concurrency=server.concurrency,
        retries=server.retries,
        timeout_s=server.timeout_s,
    )


def _local_network(settings: Settings, path: Path) -> LanguageModel:
    """A folder with a converted network; needs the extra ``torch``."""
    if not (path / "config.json").is_file():
        raise UsageError(
            f"The folder {path} holds no model (it has no config.json).",
            remedy="Convert a ParlAI checkpoint with `bb3 convert parlai`.",
        )
    room = extra("bb3.lm.r2c2", "torch", f"The model {path}")
    engine = settings.engine
    model: LanguageModel = room.load(
        path, dtype=engine.dtype, device=engine.device, threads=engine.threads
    )
    return model
