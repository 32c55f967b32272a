"""``bb3 config``: the settings in force and where each came from."""

from __future__ import annotations

import os

import typer

from bb3.app.build import settings_files
from bb3.app.settings import load
from bb3.cli.output import JsonOption, print_json, print_table, say
from bb3.cli.terminal import (
    ModelOption,
    SearchOption,
    SetOption,
    clear_errors,
    flags,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Show the effective settings and where each came from.",
)


@app.command()
def show(
    model: ModelOption = None,
    search: SearchOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every setting, its value and the layer it came from; secrets as stars."""
    with clear_errors():
        given = flags(sets, model=model, search=search)
        rows = list(load(given, os.environ, settings_files()).rows())
        if as_json:
            print_json([{"name": n, "value": v, "from": layer} for n, v, layer in rows])
        else:
            print_table(("NAME", "VALUE", "FROM"), rows)


@app.command()
def path(as_json: JsonOption = False) -> None:
    """The settings files, least important first, and whether they are there."""
    with clear_errors():
        rows = [(str(file.absolute()), file.exists()) for file in settings_files()]
        if as_json:
            print_json([{"path": name, "exists": exists} for name, exists in rows])
            return
        for name, exists in rows:
            say(name if exists else f"{name} (not there)")
