"""``bb3 index``: a local search index out of files and folders."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from bb3.app.build import Parts, prepare
from bb3.app.searches import DEMO_INDEX, index_path
from bb3.cli.output import JsonOption, print_json, print_table, say, size
from bb3.cli.terminal import SetOption, errors, flags, progress_bars, run
from bb3.core.errors import InputError, SearchError, UsageError
from bb3.core.ports import Progress
from bb3.core.types import Document
from bb3.search.index_file import Changes
from bb3.search.local import LocalIndex
from bb3.search.sources import Skipped, Sources

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

REASONS_SHOWN = 10


@app.command(no_args_is_help=True)
def index(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            help="Files, or folders with all below them: text, Markdown, HTML, JSON lines.",
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", "-n", help="Of the index; then `--search local:NAME`.")
    ] = "",
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove what is in the index but not below these paths."),
    ] = False,
    attribution: Annotated[
        str, typer.Option(help="Whose texts these are, under which licence; shown with results.")
    ] = "",
    list_indexes: Annotated[
        bool, typer.Option("--list", "-l", help="Show the indexes that there are.")
    ] = False,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build a local search index, or bring one up to date.

    Only what is new or has changed since the last time is read into the index. After an
    interruption, the index can be used as far as it came, and the same command goes on.

    A line of a .jsonl file is an object with "text", and perhaps "title" and "url".
    """

    async def work() -> None:
        parts = prepare(flags(sets))
        if list_indexes:
            await _list(parts, as_json)
            return
        if not paths:
            raise UsageError("There is nothing to index.", remedy="Name files or folders.")
        if not name:
            raise UsageError("The index has no name.", remedy="Give one: --name NAME.")
        if name == DEMO_INDEX:
            raise UsageError(
                f"The index {DEMO_INDEX!r} is that of the demo corpus.",
                remedy="Choose another --name.",
            )
        await _build(parts, paths, name, prune, attribution, as_json)

    run(work)


async def _build(
    parts: Parts, paths: list[Path], name: str, prune: bool, attribution: str, as_json: bool
) -> None:
    where = index_path(parts.settings, name)
    sources = Sources(paths)
    documents = await _some(sources, paths)
    with suppress(OSError):  # the index says what is wrong with it
        parts.settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    begun = time.monotonic()
    with progress_bars() as report:
        progress = Progress(what=f"indexing into {name}", unit="documents", report=report)
        local = await LocalIndex.create(where, attribution=attribution)
        try:
            changes = await local.add(
                documents, progress, prune=lambda: prune and not sources.unreadable
            )
            stats = await local.stats()
        except asyncio.CancelledError:
            errors.print(
                f"Stopped after {progress.done:,} documents. What is indexed can be searched; "
                "the same command goes on from there."
            )
            raise
        finally:
            await local.aclose()
    seconds = time.monotonic() - begun
    if as_json:
        print_json(
            {
                "name": name,
                "path": str(where),
                **asdict(changes),
                "skipped": sources.skipped_count,
                "unreadable": sources.unreadable,
                "undecodable": sources.replaced,
                "reasons": [asdict(skipped) for skipped in sources.skipped],
                "documents": stats.documents,
                "passages": stats.passages,
                "bytes": stats.bytes,
                "seconds": round(seconds, 3),
            }
        )
        return
    say(f"{_told(changes)}, {sources.skipped_count:,} skipped; "
        f"{progress.done / max(seconds, 1e-9):,.0f} documents/s.")  # fmt: skip
    for line in _reasons(sources):
        say(line)
    if prune and sources.unreadable:
        say("Nothing was removed: what could not be read may still be there.")
    held = f"{stats.documents:,} document{'s' if stats.documents != 1 else ''}"
    say(f"The index {name} has {held} ({size(stats.bytes)}). Try it:")
    say(f"  bb3 search --search local:{name} YOUR QUESTION")


async def _some(sources: Sources, paths: list[Path]) -> Iterable[Document]:
    """The documents, once it is known that there are any: an empty folder, or a path mistaken,
    makes no empty index and prunes no full one. Raises InputError.
    """
    documents: Iterator[Document] = iter(sources)
    first = await asyncio.to_thread(next, documents, None)
    if first is not None:
        return chain((first,), documents)
    reasons = "".join(f"\n{line}" for line in _reasons(sources))
    raise InputError(
        f"There is nothing to index in {', '.join(map(str, paths))}.{reasons}\n",
        remedy="What can be read: text, Markdown, HTML and JSON lines.",
    )


def _told(changes: Changes) -> str:
    told = {
        "added": changes.added,
        "changed": changes.changed,
        "unchanged": changes.unchanged,
        "removed": changes.removed,
        "without a word": changes.empty,
    }
    usual = ("added", "changed", "unchanged")
    return ", ".join(f"{n:,} {what}" for what, n in told.items() if n or what in usual)


def _reasons(sources: Sources) -> Iterator[str]:
    """The first things that were left out, one a line, and how many more."""
    for skipped in sources.skipped[:REASONS_SHOWN]:
        yield f"  skipped {skipped.where}: {skipped.why}"
    if (more := sources.skipped_count - REASONS_SHOWN) > 0:
        yield f"  and {more:,} more: {_most_frequent(sources.skipped[REASONS_SHOWN:])}"
    if sources.replaced:
        yield f"  {sources.replaced:,} characters were not UTF-8 and became �"


def _most_frequent(skipped: list[Skipped]) -> str:
    counts = Counter(s.why for s in skipped).most_common(3)
    return ", ".join(f"{why} ({count:,})" for why, count in counts)


async def _list(parts: Parts, as_json: bool) -> None:
    folder = index_path(parts.settings, DEMO_INDEX).parent
    found = [await _described(path) for path in sorted(folder.glob("*.sqlite"))]
    if as_json:
        print_json(found)
    elif not found:
        say("There is no index yet. Make one: bb3 index PATH --name NAME")
    else:
        print_table(("NAME", "DOCUMENTS", "SIZE", "ATTRIBUTION"), map(_listed, found))


def _listed(row: dict[str, Any]) -> tuple[str, str, str, str]:
    if "error" in row:
        return row["name"], "?", "?", row["error"]
    return row["name"], f"{row['documents']:,}", size(row["bytes"]), row["attribution"]


async def _described(path: Path) -> dict[str, Any]:
    """What one index holds; a damaged one says so and does not hide the others."""
    try:
        local = await LocalIndex.open(path)
        try:
            stats = asdict(await local.stats())
        finally:
            await local.aclose()
    except SearchError as error:
        return {"name": path.stem, "path": str(path), "error": str(error)}
    return {"name": path.stem, "path": str(path), **stats}
