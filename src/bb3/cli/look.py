"""Looking inside a turn: its trace as a table, a module as a page, memories as a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bb3.core.text import printable
from bb3.core.types import Document, Memory, ModuleCall, Trace
from bb3.modules.catalog import MODULES


def trace_view(trace: Trace) -> RenderableType:
    """The modules of a turn, a row each, and what was found."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim", expand=True)
    table.add_column("", no_wrap=True)
    table.add_column("module", no_wrap=True)
    table.add_column("answer", ratio=3)
    for name in ("logp", "ms", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("asked", no_wrap=True, ratio=2)
    for call in trace.calls:
        tokens = call.tokens
        table.add_row(
            _text(call.module, style="bold"),
            _text(MODULES[call.module].name),
            _answer(call),
            _text("" if call.logprob is None else f"{call.logprob:.2f}"),
            _text(f"{call.ms:.0f}"),
            _text(f"{tokens.prompt - tokens.cached}+{tokens.cached}→{tokens.generated}"),
            _text(_end_of(call.prompt), style="dim"),
        )
    lines: list[RenderableType] = [table]
    if trace.query:
        lines.append(_text(f"query: {trace.query}", style="dim"))
    lines += [_text(f"  {_source(document)}", style="dim") for document in trace.documents]
    lines += [_text(f"recalled: {text}", style="dim") for text in trace.recalled]
    lines += [_text(f"written: {text}", style="dim") for text in trace.written]
    first = (
        "" if trace.first_token_ms is None else f", first words after {trace.first_token_ms:.0f}"
    )
    total = f"{trace.ms:.0f} ms{first}; seed {trace.seed}; tokens: new+cached→written"
    lines.append(_text(total, style="dim"))
    return Group(*lines)


def call_view(call: ModuleCall) -> RenderableType:
    """All of one module: prompt, documents, answer."""
    parts = [
        _text(f"{call.module}  {MODULES[call.module].name}  ({call.dialect})", style="bold"),
        _text(call.prompt),
        *(_text(f"[document] {text}", style="dim") for text in call.documents),
        _answer(call),
    ]
    return Group(*parts)


def _text(content: str, style: str = "") -> Text:
    return Text(printable(content), style=style)


def _answer(call: ModuleCall) -> Text:
    if call.error is not None:
        return _text(f"failed: {call.error}", style="red")
    return _text(call.output + (" (edited)" if call.edited else "") or "nothing", style="green")


def _end_of(prompt: str) -> str:
    """The last lines of a prompt, which is where it differs from turn to turn."""
    return "…" + " ⏎ ".join(prompt[-60:].splitlines())


def _source(document: Document) -> str:
    return f"{document.title}  {document.url}".rstrip()


def memories_view(memories: Sequence[Memory]) -> RenderableType:
    """All memories with the number that ``/forget`` takes."""
    if not memories:
        return _text("Nothing is remembered yet.", style="dim")
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in ("no.", "about", "memory", "since"):
        table.add_column(name)
    for memory in memories:
        about = "you" if memory.speaker == "user" else "the bot"
        since = f"{memory.created_at:%Y-%m-%d}"
        table.add_row(str(memory.id), about, _text(memory.text), f"{since}, {memory.origin}")
    return table


def plain(view: RenderableType, width: int = 160) -> str:
    """A view as plain text."""
    console = Console(width=width, color_system=None, highlight=False, soft_wrap=False)
    with console.capture() as capture:
        console.print(view)
    return "\n".join(line.rstrip() for line in printable(capture.get()).splitlines())


# --- JSON -----------------------------------------------------------------------------------


def turn_data(
    trace: Trace, memories: Sequence[Memory], events: list[dict[str, Any]]
) -> dict[str, Any]:
    """A turn as the object that ``bb3 chat --json`` prints."""
    return {
        "user": trace.user.text,
        "reply": trace.reply.text if trace.reply else "",
        "documents": [{"title": d.title, "url": d.url, "text": d.text} for d in trace.documents],
        "memories": [memory_data(memory) for memory in memories],
        "recalled": list(trace.recalled),
        "written": list(trace.written),
        "events": events,
        "trace": {
            "id": trace.id,
            "model": trace.model,
            "modules": [call_data(call) for call in trace.calls],
            "seed": trace.seed,
            "ms": round(trace.ms, 1),
            "first_token_ms": trace.first_token_ms and round(trace.first_token_ms, 1),
        },
    }


def memory_data(memory: Memory) -> dict[str, Any]:
    """A memory with its provenance."""
    return {
        "id": memory.id,
        "speaker": memory.speaker,
        "text": memory.text,
        "source": {
            "origin": memory.origin,
            "conversation": memory.conversation,
            "message": memory.message,
        },
    }


def call_data(call: ModuleCall) -> dict[str, Any]:
    """A module call."""
    return {
        "module": call.module,
        "dialect": call.dialect,
        "prompt": call.prompt,
        "documents": list(call.documents),
        "output": call.output,
        "logprob": call.logprob,
        "ms": round(call.ms, 1),
        "tokens": {
            "prompt": call.tokens.prompt,
            "cached": call.tokens.cached,
            "generated": call.tokens.generated,
        },
        "error": call.error,
        "edited": call.edited,
    }
