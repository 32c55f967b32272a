"""How fast the embedded model is with one, two ... threads, and which number to take.

Threads wait for each other after every layer: when another program holds a core, more threads
can be slower by a factor of ten.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict

from bb3.cli.finding import Finding, State
from bb3.core.ports import LanguageModel
from bb3.lm.engine import cores
from bb3.lm.llamacpp import LlamaCppModel, Speed

GOOD = 0.8
"""Share of the best speed that is good enough not to change anything."""
SLOW = 10.0
"""Tokens a second below which a conversation is no pleasure."""

Open = Callable[[int], Awaitable[LanguageModel]]


def candidates(most: int) -> list[int]:
    """Numbers of threads worth measuring on so many cores: all up to 4, then every second."""
    return [n for n in range(1, most + 1) if n <= 4 or n % 2 == 0]


async def speeds(first: LlamaCppModel, opened: Open) -> tuple[Speed, list[Speed]]:
    """Speed as the settings have it, and with each number of threads.

    Args:
        first: the model as the settings have it; closed here.
        opened: loads it with a given number of threads.
    """
    now = await _measured(first)
    by_threads = []
    for threads in candidates(min(cores(), 16)):
        model = await opened(threads)
        if isinstance(model, LlamaCppModel):
            by_threads.append(await _measured(model))
    return now, by_threads


async def _measured(model: LlamaCppModel) -> Speed:
    """The better of two measurements; one is enough of a slow one. Closes the model."""
    try:
        first = await model.measure()
        if first.decode < SLOW:
            return first
        return max([first, await model.measure()], key=lambda speed: speed.decode)
    finally:
        await model.aclose()


def advice(now: Speed, by_threads: Sequence[Speed]) -> Finding:
    """What the measurements mean: keep the setting, or take another number."""
    best = max(by_threads, key=lambda s: s.decode)
    fewest = next(s for s in by_threads if s.decode >= 0.9 * best.decode)
    table = "; ".join(
        f"{_threads(s.threads)}: reads {s.prefill:.0f}, writes {s.decode:.0f}" for s in by_threads
    )
    in_force = f"now {_threads(now.threads)}: reads {now.prefill:.0f}, writes {now.decode:.0f}"
    text = f"tokens a second, {in_force} (measured, {table})"
    remedy = ""
    if any(s.decode < by_threads[0].decode / 2 for s in by_threads[1:]):
        remedy = "More threads collapse here, so another process holds a core. "
    if now.decode < GOOD * fewest.decode:
        remedy += f"Set engine.threads = {fewest.threads} (bb3.toml, or --set)."
    elif now.decode < SLOW:
        remedy += "Slow for a conversation: end what else is running, or take a smaller model."
    elif remedy:
        remedy += "The setting in force is right for that."
    data = {"now": asdict(now), "by_threads": [asdict(s) for s in by_threads],
            "best_threads": fewest.threads}  # fmt: skip
    state: State = "note" if remedy else "ok"
    return Finding(check="speed", state=state, text=text, remedy=remedy.strip(), data=data)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
