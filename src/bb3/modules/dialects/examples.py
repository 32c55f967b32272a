"""The instructions and examples of ``examples.toml`` as contexts with their answers."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from bb3.core.types import Document, Memory, Speaker, Turn
from bb3.modules.catalog import Kind, Module
from bb3.modules.context import Context


@dataclass(frozen=True, slots=True)
class Example:
    """A context and what the module should answer to it: a text (empty: "nothing"), or yes or
    no for a decision."""

    context: Context
    answer: str | bool


@dataclass(frozen=True, slots=True)
class Lesson:
    """How a module is explained to a model that was not trained on it."""

    instruction: str
    examples: tuple[Example, ...]


def lesson(module: Module) -> Lesson:
    """The lesson of a module; responses without one of their own share one."""
    lessons = _lessons()
    key = module.tag if module.tag in lessons else "response"
    if key == "response" and module.kind is not Kind.RESPONSE:
        raise KeyError(module.tag)
    return lessons[key]


@cache
def _lessons() -> Mapping[str, Lesson]:
    source = files(__package__) / "examples.toml"
    tables = tomllib.loads(source.read_text(encoding="utf-8"))
    return {
        tag: Lesson(table["instruction"], tuple(_example(row) for row in table["examples"]))
        for tag, table in tables.items()
    }


def _example(row: Mapping[str, Any]) -> Example:
    return Example(
        Context(
            turns=tuple(_turns(row)),
            memories=tuple(
                Memory(speaker=Speaker.USER, text=text) for text in row.get("memories", ())
            ),
            documents=tuple(Document(**document) for document in row.get("documents", ())),
            knowledge=row.get("knowledge", {}),
        ),
        row["answer"],
    )


def _turns(row: Mapping[str, Any]) -> Iterator[Turn]:
    speaker = Speaker.USER
    for text in row.get("before", ()):
        yield Turn(speaker=speaker, text=text)
        speaker = speaker.other
    if "say" in row:
        yield Turn(speaker=Speaker.USER, text=row["say"])
