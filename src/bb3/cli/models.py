"""``bb3 models``: what can be pulled, pulling it, and all about one asset."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from bb3.app.build import EMBEDDER, Parts, prepare
from bb3.app.searches import DEMO_CORPUS, DEMO_INDEX, searches
from bb3.assets.index import redacted
from bb3.assets.registry import (
    Asset,
    HubSource,
    PackageIndexSource,
    PathSource,
    Source,
    UrlSource,
)
from bb3.cli.output import JsonOption, print_json, print_table, say, size
from bb3.cli.terminal import SetOption, clear_errors, errors, flags, progress_bars, run
from bb3.core.errors import AssetError
from bb3.core.ports import Progress

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="List, pull and explain models and other assets.",
)

OTHER_MODELS = (
    ("path/to/model.gguf", "any model that llama.cpp runs, from a file of yours"),
    ("openai:URL#name", "a server with an OpenAI-compatible API, such as vLLM or llama.cpp"),
    ("metaseq:URL", "a server with the metaseq API"),
    ("path/to/folder", "a converted R2C2 model (needs the extra torch)"),
)
"""What ``--model`` takes besides the names in the list."""


@app.command("list")
def list_(sets: SetOption = None, as_json: JsonOption = False) -> None:
    """The assets that bb3 knows, and which of them are here."""
    with clear_errors():
        parts = prepare(flags(sets))
        rows = [_row(parts, asset) for asset in parts.registry.values()]
        if as_json:
            print_json(rows)
            return
        print_table(
            ("NAME", "KIND", "SIZE", "LICENCE", "HERE"),
            ((r["name"], r["kind"], size(r["size"]), r["licence"], r["state"]) for r in rows),
        )
        say("\n`--model` takes the name of an llm, and also:")
        for name, what in OTHER_MODELS:
            say(f"  {name:<20}{what}")


@app.command()
def pull(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Assets; none: those that the settings need."),
    ] = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch assets into the cache, checked by hash.

    What is there already is not fetched again. After an interruption the same command goes on
    where it stopped.
    """

    async def work() -> None:
        with progress_bars() as report:
            parts = prepare(flags(sets), report)
            wanted = [parts.registry.find(name) for name in names] if names else needed(parts)
            paths = await _pull_all(parts, wanted)
        if as_json:
            print_json([{"name": name, "path": str(path)} for name, path in paths.items()])
            return
        for name, path in paths.items():
            say(f"{name}: {path}")
        if not wanted:
            say("These settings need no asset.")

    run(work)


@app.command()
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `bb3 models list`.")],
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Where an asset comes from, its licence and hash, and where it lies."""
    with clear_errors():
        parts = prepare(flags(sets))
        asset = parts.registry.find(name)
        row = _row(parts, asset)
        if as_json:
            print_json(row)
            return
        shown = (
            ("name", row["name"]),
            ("what", row["title"]),
            ("kind", row["kind"]),
            ("file", row["file"]),
            ("size", f"{size(row['size'])} ({row['size'] or 'not published'})"),
            ("sha256", row["sha256"] or "not published; what comes is not checked"),
            ("licence", row["licence"]),
            ("notice", row["notice"]),
            *(("from" if not i else "", text) for i, text in enumerate(row["sources"])),
            ("here", row["state"]),
            ("path", row["path"]),
        )
        for heading, value in shown:
            say(f"{heading:<9}{value}".rstrip())


def needed(parts: Parts) -> list[Asset]:
    """The assets that a conversation with these settings uses."""
    settings = parts.settings
    models = (settings.model, settings.fallback_model)
    names = [name for name in models if name in parts.registry] + list(EMBEDDER)
    if {"local", f"local:{DEMO_INDEX}"} & set(searches(settings)):
        names.append(DEMO_CORPUS)
    return [parts.registry.find(name) for name in names]


async def _pull_all(parts: Parts, wanted: list[Asset]) -> dict[str, Path]:
    """Pull one after the other; one that fails does not keep the others. Raises AssetError."""
    paths: dict[str, Path] = {}
    failures: list[AssetError] = []
    for asset in wanted:
        notice = f" {asset.notice}" if asset.notice else ""
        errors.print(f"{asset.name}: {asset.licence}.{notice}")
        try:
            progress = Progress(what=asset.name, total=asset.size or 0, report=parts.report)
            paths[asset.name] = await parts.puller.pull(asset, progress)
        except AssetError as error:
            failures.append(error)
        except asyncio.CancelledError:
            errors.print("What came so far is kept; the same command goes on from there.")
            raise
    if failures:
        raise AssetError(
            " ".join(failure.message for failure in failures), remedy=failures[0].remedy
        ) from failures[0]
    return paths


def _row(parts: Parts, asset: Asset) -> dict[str, Any]:
    state = parts.puller.state(asset)
    path = parts.puller.path(asset) if state == "yes" else parts.puller.target(asset)
    return {
        "name": asset.name,
        "kind": asset.kind,
        "title": asset.title,
        "file": asset.filename,
        "size": asset.size,
        "sha256": asset.sha256,
        "licence": asset.licence,
        "notice": asset.notice,
        "sources": [_source(source) for source in asset.sources],
        "state": state,
        "path": str(path),
    }


def _source(source: Source) -> str:
    match source:
        case PackageIndexSource():
            return f"package index: {source.project} {source.version}, {source.member}"
        case HubSource():
            return f"model hub: {source.repo}, {source.file} ({source.revision})"
        case UrlSource():
            inside = f", {source.member}" if source.member else ""
            return f"{redacted(str(source.url))}{inside}"
        case PathSource():
            return f"file: {source.path}"
