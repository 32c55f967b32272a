"""What the commands share: flags, progress, and errors as one clear line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from bb3.app.places import shown_in
from bb3.cli.output import console
from bb3.core.errors import Bb3Error, UsageError
from bb3.core.ports import Progress
from bb3.core.text import printable

T = TypeVar("T")

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, such as srm.top_p=0.8."),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A name from `bb3 models list`, a .gguf file, a folder, openai:URL#name, metaseq:URL.",
    ),
]
SearchOption = Annotated[
    str | None,
    typer.Option(
        "--search",
        "-s",
        help="local, local:NAME, parlai:URL, searxng:URL, brave, duckduckgo or none; "
        "brave,local: the second when the first fails or finds nothing.",
    ),
]

errors = console(stderr=True, soft_wrap=True)


def flags(sets: list[str] | None, **named: object) -> dict[str, object]:
    """The settings given on the command line: named options that are not None, and ``--set``s,
    which stand over them. Raises UsageError for a ``--set`` without ``=``."""
    given: dict[str, object] = {name: value for name, value in named.items() if value is not None}
    for entry in sets or ():
        name, equals, value = entry.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set {entry!r} is not of the form NAME=VALUE.")
        given[name.strip()] = value
    return given


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Errors of bb3 end the program with a line on stderr and their exit code; an interrupt
    with 130; a reader that went away (a closed pipe) quietly."""
    try:
        yield
    except Bb3Error as error:
        errors.print(Text.assemble(("bb3: ", "bold red"), shown_in(str(error))))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a command's coroutine; see ``clear_errors``."""
    with clear_errors():
        return asyncio.run(work())


@contextlib.contextmanager
def progress_bars() -> Iterator[Callable[[Progress], None]]:
    """Draws long work on stderr, one bar each; on a plain stream one line at the start of each."""
    if not errors.is_terminal:
        begun: set[str] = set()

        def line(progress: Progress) -> None:
            if progress.what not in begun:
                begun.add(progress.what)
                errors.print(f"{progress.what} ...")

        yield line
        return

    what = TextColumn("{task.description}", markup=False)
    bytes_bars = Bars(what, BarColumn(), DownloadColumn(),
                      TimeRemainingColumn(), console=errors, transient=True)  # fmt: skip
    count_bars = Bars(what, BarColumn(), MofNCompleteColumn(),
                      TaskProgressColumn(show_speed=True), TimeRemainingColumn(),
                      console=errors, transient=True)  # fmt: skip
    tasks: dict[str, TaskID] = {}
    running: list[Bars] = []

    def draw(progress: Progress) -> None:
        bars = bytes_bars if progress.unit == "bytes" else count_bars
        if running and running[-1] is not bars:
            running.pop().stop()
        if not running:
            bars.start()
            running.append(bars)
        key = f"{progress.what}/{progress.unit}"
        if key not in tasks:
            tasks[key] = bars.add_task(progress.what, total=progress.total or None)
        bars.update(tasks[key], completed=progress.done, total=progress.total or None)

    try:
        yield draw
    finally:
        for bars in running:
            bars.stop()


class _OneLine(logging.Formatter):
    """The message without a traceback: that of a failed part goes into the turn's events."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(shown_in(record.getMessage()))


def quiet_logs() -> None:
    """Warnings as single lines on stderr; what libraries chat about is left out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    logging.getLogger("bb3").setLevel(logging.WARNING)
