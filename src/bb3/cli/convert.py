"""``bb3 convert``: checkpoints of other programs to folders that ``--model`` takes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bb3.app.extras import extra
from bb3.cli.output import JsonOption, print_json, say
from bb3.cli.terminal import clear_errors, progress_bars

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Convert checkpoints of other programs.",
)


class NumberFormat(StrEnum):
    """How the weights are written."""

    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


@app.callback()
def convert() -> None:
    """Convert checkpoints of other programs."""


@app.command()
def parlai(
    path: Annotated[
        Path, typer.Argument(help="The `model` file, a folder that holds one, or its archive.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to make.")],
    dtype: Annotated[
        NumberFormat, typer.Option(help="How the weights are written.")
    ] = NumberFormat.FLOAT16,
    as_json: JsonOption = False,
) -> None:
    """Convert a ParlAI checkpoint: BlenderBot 3 3B, R2C2, SeeKeR, BlenderBot 1 and 2.

    Nothing in the file is run, every tensor is checked, and a stopped run goes on where it was.
    Then: `bb3 chat --model DIR`. Needs the extra `torch`.
    """
    with clear_errors(), progress_bars() as report:
        room = extra("bb3.checkpoints.parlai", "torch", "bb3 convert")
        made: Path = room.convert(path, out, report, dtype=dtype.value)
    if as_json:
        size = sum(file.stat().st_size for file in made.iterdir())
        print_json({"path": str(made), "dtype": dtype.value, "bytes": size})
        return
    say(f"{made} is ready. Try: bb3 chat --model {made}")
