"""How long a turn takes with the embedded model, and whether a long conversation slows it.

    python benchmarks/turns.py [--turns 100] [--set NAME=VALUE]

One conversation of one user, messages of all kinds in turn. Time in the model is the union of its
calls' intervals; the rest of a turn (search, memory, store, guard, prompts) is ours, and must not
grow from the first turns to the last.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from report import report, resident_mb

from bb3.app.build import build_agent, prepare
from bb3.core.events import Done, Reply
from bb3.core.types import ModuleCall, Trace

MESSAGES = (
    "Hello, how are you?", "I have a dog called Bubbles.", "What is the capital of Norway?",
    "What is my dog called?", "I really enjoyed my walk today.", "Who wrote Hamlet?",
    "I live in Bergen with my sister.", "Tell me about volcanoes.", "Where do I live?",
    "That is funny.", "My favourite food is pizza.", "How tall is Mount Everest?",
)  # fmt: skip


FIGURES = {
    "first piece of the reply": "first",
    "reply complete": "reply",
    "memories written, trace saved": "done",
    "of it not in the model": "ours",
}


def model_ms(calls: Sequence[ModuleCall]) -> float:
    """Milliseconds in which at least one call of the model was running."""
    total, end = 0.0, 0.0
    for call in sorted(calls, key=lambda c: c.started_ms):
        start, stop = call.started_ms, call.started_ms + call.ms
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


async def measure(turns: int, flags: dict[str, object], *, cold: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        agent = await build_agent(prepare({"data_dir": folder, **flags}))
        ready_s = time.perf_counter() - began
        if not cold:  # as a person's conversation, where it happens while the first line is typed
            await agent.warm()
        warm_s = time.perf_counter() - began
        empty_mb = resident_mb()
        session = await agent.open("bench")
        rows = []
        for number in range(turns):
            trace: Trace | None = None
            start = time.perf_counter()
            whole = 0.0
            async for event in agent.chat(session, MESSAGES[number % len(MESSAGES)], seed=number):
                if isinstance(event, Reply):
                    whole = (time.perf_counter() - start) * 1000
                if isinstance(event, Done):
                    trace = event.trace
            total = (time.perf_counter() - start) * 1000
            assert trace is not None
            rows.append(
                {
                    "turn": number + 1, "first": trace.first_token_ms or whole, "reply": whole,
                    "done": total, "ours": total - model_ms(trace.calls),
                    "read": sum(c.tokens.prompt - c.tokens.cached for c in trace.calls),
                    "cached": sum(c.tokens.cached for c in trace.calls), "mb": resident_mb(),
                }
            )  # fmt: skip
            if number % 10 == 9:
                print(f"  turn {number + 1}: {total:.0f} ms", file=sys.stderr)
        await agent.aclose()

    table = []
    for name, key in FIGURES.items():
        values = sorted(row[key] for row in rows)
        table.append(
            {"ms to": name, "p50": round(statistics.median(values)),
             "p95": round(values[int(0.95 * (len(values) - 1))]), "max": round(values[-1])}
        )  # fmt: skip
    started = f"ready after {ready_s:.1f} s"
    started += ", not warmed" if cold else f", warm after {warm_s:.1f} s"
    report(
        "turn_latency",
        table,
        ["ms to", "p50", "p95", "max"],
        [
            f"{turns} turns of one conversation, model {agent.model.name}; {started}",
            f"memory {empty_mb:.0f} MB then, {rows[-1]['mb']:.0f} MB at the end",
        ],
    )

    step = len(MESSAGES) if turns >= 2 * len(MESSAGES) else max(1, turns // 2)
    blocks = [rows[i : i + step] for i in range(0, len(rows) - step + 1, step)]
    report(
        "long_conversation",
        [
            {
                "turns": f"{block[0]['turn']}-{block[-1]['turn']}",
                **{f"{key} ms": round(statistics.median(r[key] for r in block))
                   for key in ("first", "done", "ours")},
                "tokens read": round(statistics.mean(r["read"] for r in block)),
                "from cache": round(statistics.mean(r["cached"] for r in block)),
                "MB": round(block[-1]["mb"]),
            }
            for block in blocks
        ],
        ["turns", "first ms", "done ms", "ours ms", "tokens read", "from cache", "MB"],
        ["medians of each stretch; ours: what is not in the model; tokens: mean a turn"],
    )  # fmt: skip


def main(
    turns: Annotated[int, typer.Option(min=1)] = 100,
    cold: Annotated[bool, typer.Option(help="Say the first message at once.")] = False,
    sets: Annotated[list[str] | None, typer.Option("--set")] = None,
) -> None:
    asyncio.run(measure(turns, dict(entry.split("=", 1) for entry in sets or ()), cold=cold))


if __name__ == "__main__":
    typer.run(main)
