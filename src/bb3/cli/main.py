"""``bb3``: a table of commands, each loaded when it is used, so that help comes at once."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from bb3 import __version__

COMMANDS = {
    "chat": "Talk with the bot.",
    "models": "List, pull and explain models and other assets.",
    "convert": "Convert checkpoints of other programs (needs the extra torch).",
    "index": "Build a local search index from files.",
    "search": "Search with the configured provider.",
    "search-server": "Serve the configured search by the ParlAI search protocol.",
    "doctor": "Say what works here, and how to mend what does not.",
    "config": "Show the effective settings and where each came from.",
}
"""Name and one line of help. ``x-y`` is in ``bb3.cli.x_y``, as a Typer named ``app``."""


class LazyCommands(TyperGroup):
    """Knows its commands by the table; imports one only to run it or to show its own help."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in with the line of help."""
        if cmd_name in COMMANDS:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name])
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in COMMANDS:
            module = import_module(f"bb3.cli.{name.replace('-', '_')}")
            command = typer.main.get_command(module.app)
            command.name = name
        return name, command, rest


app = typer.Typer(
    cls=LazyCommands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"bb3 {__version__}")
        raise typer.Exit


@app.callback()
def bb3(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A conversational agent that searches, remembers, stays safe and learns from use.

    `bb3 chat` starts a conversation. Settings come from bb3.toml, the environment (BB3_...) and
    flags; `bb3 config show` tells which are in force.
    """


def run() -> None:
    """The entry point."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app(prog_name="bb3")
