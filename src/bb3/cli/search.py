"""``bb3 search``: what the configured provider finds."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from bb3.app.build import Parts, prepare
from bb3.app.places import shown
from bb3.app.searches import CutSearch, open_search
from bb3.cli.output import JsonOption, console, print_json, print_wrapped, say
from bb3.cli.terminal import SearchOption, SetOption, errors, flags, progress_bars, quiet_logs, run
from bb3.core.errors import UsageError
from bb3.core.ports import SearchProvider
from bb3.core.types import Document
from bb3.search.local import LocalIndex
from bb3.search.wrappers import FallbackSearch

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(no_args_is_help=True)
def search(
    words: Annotated[list[str], typer.Argument(metavar="QUERY", help="What to search for.")],
    provider: SearchOption = None,
    k: Annotated[int, typer.Option("-k", min=1, max=50, help="Most documents.")] = 5,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search with the configured provider, as a conversation would."""

    async def work() -> None:
        quiet_logs()
        query = readable(" ".join(words))
        with progress_bars() as report:
            parts = prepare(flags(sets, search=provider), report)
            async with opened(parts) as found_by:
                begun = time.monotonic()
                documents = await found_by.search(query, k)
                ms = (time.monotonic() - begun) * 1000
                credit = await attribution(found_by)
        name = shown(parts.settings.search)
        if as_json:
            print_json(
                {
                    "query": query,
                    "search": name,
                    "ms": round(ms, 1),
                    "attribution": credit,
                    "documents": [asdict(document) for document in documents],
                }
            )
        elif not documents:
            errors.print(f"{name} has nothing on that.")
        else:
            for number, document in enumerate(documents, 1):
                _print(number, document)
            told = f"{len(documents)} found by {name} in {ms:.0f} ms."
            say(f"{told} {credit}".rstrip())

    run(work)


def readable(query: str) -> str:
    """The query, if it is text. Raises UsageError."""
    try:
        query.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"The query {query.encode('utf-8', 'replace').decode()[:80]!r} is not UTF-8.",
            remedy="Check the encoding of the terminal or script.",
        ) from None
    if not query.strip():
        raise UsageError("The query is empty.", remedy="Say what to search for.")
    return query


@asynccontextmanager
async def opened(parts: Parts) -> AsyncIterator[SearchProvider]:
    """The provider of the settings. Raises UsageError when there is none."""
    if parts.settings.search == "none":
        raise UsageError("The search is switched off.", remedy="Choose one: --search local.")
    provider = await open_search(
        parts.settings,
        parts.registry,
        parts.fetch,
        embedder=await parts.try_embedder(),
        progress=parts.report,
    )
    if provider is None:
        raise UsageError(f"{shown(parts.settings.search)!r} is no search.")
    try:
        yield provider
    finally:
        await provider.aclose()


async def attribution(provider: SearchProvider) -> str:
    """Whose texts an index holds; empty where nothing is known."""
    if isinstance(provider, CutSearch):
        return await attribution(provider.provider)
    if isinstance(provider, FallbackSearch):
        return " ".join(filter(None, [await attribution(each) for each in provider.providers]))
    return (await provider.stats()).attribution if isinstance(provider, LocalIndex) else ""


def _print(number: int, document: Document) -> None:
    out = console()
    heading = Text(f"{number}. {document.title}", style="bold")
    heading.append(f"  {document.score:.2f}", style="dim")
    out.print(heading, soft_wrap=True)
    if document.url:
        out.print(Text(f"   {document.url}", style="dim"), soft_wrap=True)
    print_wrapped(document.text, 3)
    say()
