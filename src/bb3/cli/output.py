"""How the commands print: tables and wrapped text for people, JSON for scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType
from rich.filesize import decimal
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from bb3.core.text import printable

_CONTROLS = re.compile("[\x7f-\x9f]")
"""Those that JSON does not escape by itself."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


class Out(Console):
    """A console for texts from anywhere: they are not read as markup and cannot steer the
    terminal. A reader that went away is left to ``terminal.clear_errors``."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As Rich does it, less the control characters in texts."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text), style)

    def on_broken_pipe(self) -> None:
        """Rich would end the program here, with exit code 1."""
        raise BrokenPipeError


def console(**options: Any) -> Out:
    """Standard output as it is now; ``options`` are those of a Console."""
    return Out(highlight=False, emoji=False, markup=False, **options)


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json_text(data, indent=2))


def json_text(data: Any, *, indent: int | None = None) -> str:
    """JSON that people can read and that cannot steer a terminal."""
    text = json.dumps(data, ensure_ascii=False, indent=indent, default=str)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table without lines. In a terminal the last column is folded; in a pipe nothing is."""
    out = console()
    cells = [tuple(headings), *(tuple(row) for row in rows)]
    if not out.is_terminal:
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            say("  ".join(set_cell_size(c, w) for c, w in zip(row, widths, strict=True)).rstrip())
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings[:-1]:
        table.add_column(heading, no_wrap=True)
    table.add_column(headings[-1], overflow="fold")
    for row in cells[1:]:
        table.add_row(*(Text(cell) for cell in row))
    out.print(table)


def print_wrapped(text: str, indent: int) -> None:
    """A text folded to the width of the terminal (80 columns in a pipe)."""
    out = console()
    for line in Text(text).wrap(out, max(out.width - indent, 20)):
        say(" " * indent + line.plain.rstrip())


def say(text: str = "", *, style: str = "") -> None:
    """A line of text that is not read as markup; long ones are not folded."""
    console().print(Text(text), style=style or None, soft_wrap=True)


def size(count: int | None) -> str:
    """Bytes for people: ``98.4 MB``."""
    return decimal(count) if count is not None else "?"
