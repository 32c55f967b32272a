"""docs/cli.md and docs/settings.md, written from the code: ``python -m bb3.cli.docs [--check]``."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, SecretStr

from bb3.app.settings import Settings
from bb3.chat.pipeline import Pipeline
from bb3.cli.main import COMMANDS
from bb3.cli.main import app as bb3
from bb3.core.ports import Sampling
from bb3.memory.rules import MemoryRules
from bb3.modules.catalog import MODULES

MADE = "<!-- Written by `make docs` from the code. Change the code, not this file. -->"
FOLDERS = {"data_dir": "the user's data folder", "cache_dir": "the user's cache folder"}
"""Defaults that differ from machine to machine."""
TABLES: Mapping[str, type] = {"pipeline": Pipeline, "memory": MemoryRules}
"""Tables whose fields are described in the docstring of a dataclass."""
HELP = ["-h", "--help"]
WORDS = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false",
         "Path": "path", "SecretStr": "secret"}  # fmt: skip


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a page is out of date.")
    ] = False,
    folder: Annotated[Path, typer.Option(help="Where the pages lie.")] = Path("docs"),
) -> None:
    """Write the pages that are made from the code."""
    stale = []
    for name, text in pages().items():
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path))
        if not check:
            path.write_text(text, encoding="utf-8")
    if stale and check:
        typer.echo(f"Out of date: {', '.join(stale)}. Run `make docs`.", err=True)
        raise typer.Exit(1)


def pages() -> dict[str, str]:
    """The pages by file name."""
    return {"cli.md": commands_page(), "settings.md": settings_page()}


# --- commands -------------------------------------------------------------------------------


def commands_page() -> str:
    """Every command with its arguments and options."""
    lines = ["# Commands", "", MADE, "", *_command(typer.main.get_command(bb3), "bb3")]
    for name in COMMANDS:
        module = import_module(f"bb3.cli.{name.replace('-', '_')}")
        command = typer.main.get_command(module.app)
        lines += _command(command, f"bb3 {name}")
        for sub, inner in getattr(command, "commands", {}).items():
            lines += _command(inner, f"bb3 {name} {sub}")
    return "\n".join(lines).rstrip() + "\n"


def _command(command: Any, name: str) -> Iterator[str]:
    """One command. Only names and texts are taken from the library's objects: how its own help
    shows kinds and ranges changes from version to version.
    """
    context = command.make_context(name, [], resilient_parsing=True, help_option_names=HELP)
    parameters = [p for p in command.get_params(context) if not p.hidden]
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    options = [p for p in parameters if p.param_type_name == "option"]
    inner = COMMANDS if name == "bb3" else getattr(command, "commands", {})
    usage = ["[OPTIONS]", *map(_argument, arguments), *(["COMMAND"] if inner else [])]
    yield from (f"## {name}", "", f"    {name} {' '.join(usage)}", "")
    if command.help:
        yield from (inspect.cleandoc(command.help), "")
    if inner:
        rows = [(f"`{name} {sub}`", _first(getattr(c, "help", c))) for sub, c in inner.items()]
        yield from _table(("Command", ""), rows)
    if arguments:
        yield from _table(("Argument", ""), [(f"`{_argument(p)}`", p.help) for p in arguments])
    yield from _table(("Option", ""), [(f"`{_option(p)}`", _meaning(p)) for p in options])


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    shown = name if parameter.required else f"[{name}]"
    return f"{shown}..." if parameter.nargs == -1 else shown


def _option(parameter: Any) -> str:
    names = ", ".join(sorted(parameter.opts, key=len))
    if parameter.is_flag:
        return names
    return f"{names} {parameter.metavar or max(parameter.opts, key=len).strip('-').upper()}"


def _meaning(parameter: Any) -> str:
    default = parameter.default
    if parameter.is_flag or default is None or default == "":
        return str(parameter.help)
    return f"{parameter.help} Default: {default}."


def _first(text: str | None) -> str:
    return inspect.cleandoc(text or "").partition("\n\n")[0].replace("\n", " ")


def _tidy(text: str) -> str:
    return " ".join(text.split())


# --- settings -------------------------------------------------------------------------------


def settings_page() -> str:
    """Every setting with its kind, default and meaning."""
    lines = ["# Settings", "", MADE, "", *INTRODUCTION, ""]
    plain = {
        name: field
        for name, field in Settings.model_fields.items()
        if not _is_table(field.annotation) and name not in ("thresholds", "modules")
    }
    lines += _table(("Name", "Kind", "Default", ""), _rows(plain, "", {}))
    for name, field in Settings.model_fields.items():
        if _is_table(field.annotation):
            table: type[BaseModel] = field.annotation  # type: ignore[assignment]
            kind = TABLES.get(name)
            described = attributes(kind) if kind else {}
            lines += [f"## {name}", "", _plain(_first(inspect.getdoc(kind or table))), ""]
            lines += _table(
                ("Name", "Kind", "Default", ""), _rows(table.model_fields, f"{name}.", described)
            )
    lines += [*MODULE_SETTINGS, ""]
    described = attributes(Sampling)
    lines += _table(
        ("Name", "Kind", ""),
        (
            (f"`{name}`", _kind(hint), described.get(name, ""))
            for name, hint in inspect.get_annotations(Sampling, eval_str=True).items()
        ),
    )
    return "\n".join(lines).rstrip() + "\n"


INTRODUCTION = (
    "Each layer stands over the one before: defaults, what is known of the model (its profile),",
    "the preset, the user's settings file, `bb3.toml` in the working folder, the environment, the",
    "command line. `bb3 config show` tells every value and its layer, `bb3 config path` the files.",
    "",
    "`retrieval.timeout_s` is `timeout_s` in the table `[retrieval]` of a settings file,",
    "`BB3_RETRIEVAL__TIMEOUT_S` in the environment, `--set retrieval.timeout_s=5` on the command",
    "line. Secrets belong into the environment or the user's file.",
)
MODULE_SETTINGS = (
    "## thresholds",
    "",
    "`thresholds.sdm` and `thresholds.mdm`: the log-odds that the decision to search, and the one",
    "to look at the memories, must exceed to count as yes. They belong to a model; known ones come",
    "with its profile.",
    "",
    "## modules",
    "",
    "How a module's answer is decoded: `modules.srm.top_p = 0.8`, or `--set srm.top_p=0.8`. What",
    "is not set is as the model's dialect has it. The modules:",
    ", ".join(f"`{tag}` ({module.name})" for tag, module in MODULES.items()) + ".",
)


def _rows(
    fields: Mapping[str, Any], before: str, described: Mapping[str, str]
) -> Iterator[tuple[str, ...]]:
    for name, field in fields.items():
        default = field.get_default(call_default_factory=True)
        shown = FOLDERS.get(name) or _value(default)
        yield (f"`{before}{name}`", _kind(field.annotation), shown,
               field.description or described.get(name, ""))  # fmt: skip


def attributes(kind: type) -> dict[str, str]:
    """The entries below ``Attributes:`` of a docstring, by name; ``a, b: text`` counts for both."""
    _, _, listed = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    for entry in re.split(r"\n {4}(?! )", "\n" + listed.rstrip()):
        names, colon, text = entry.partition(":")
        if colon:
            found |= {name.strip(" `"): _plain(text) for name in names.split(",")}
    return found


def _plain(text: str) -> str:
    return _tidy(text).replace("``", "`")


def _is_table(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseModel)


def _kind(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " ".join(f"`{value}`" if value else "empty" for value in inner)
    if origin is Annotated:
        return _kind(inner[0])
    if origin in (list, tuple):
        return f"list of {_kind(inner[0])}s"
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(one) for one in inner if one is not type(None))
    return WORDS.get(getattr(hint, "__name__", ""), str(hint))


def _value(default: Any) -> str:
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if default in ("", [], ()) or (isinstance(default, SecretStr) and not default):
        return ""
    return f"`{default}`"


def _table(heading: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield "| " + " | ".join(heading) + " |"
    yield "|" + "---|" * len(heading)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


if __name__ == "__main__":
    typer.run(main)
