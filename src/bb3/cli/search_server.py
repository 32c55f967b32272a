"""``bb3 search-server``: the configured search for others, by the ParlAI search protocol."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

import typer

from bb3.app.build import prepare
from bb3.app.places import shown
from bb3.cli.output import say
from bb3.cli.search import attribution, opened
from bb3.cli.terminal import SearchOption, SetOption, flags, progress_bars, quiet_logs, run
from bb3.web.search_server import search_app, serve

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def search_server(
    provider: SearchOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any that is free.")] = 8081,
    sets: SetOption = None,
) -> None:
    """Serve the configured search by the ParlAI search protocol, until Ctrl-C.

    BlenderBot's own clients can use it, and other bb3s: `--search parlai:URL`. There is no login:
    who reaches the port can search.
    """

    async def work() -> None:
        quiet_logs()
        with progress_bars() as report:
            parts = prepare(flags(sets, search=provider), report)
            async with opened(parts) as searched:
                credit = await attribution(searched)

                def ready(url: str) -> None:
                    say(f"{shown(parts.settings.search)} is served at {url} (Ctrl-C ends it). Try:")
                    say(f"  curl -d 'q=What is the capital of Norway?' -d n=3 {url}/")
                    if credit:
                        say(credit)

                with suppress(asyncio.CancelledError):
                    await serve(search_app(searched), host, port, ready)
                    await asyncio.sleep(0)  # the Ctrl-C that ended the server arrives here

    run(work)
