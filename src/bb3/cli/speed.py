"""How fast the embedded model is with one, two ... threads, and which number to take.

Threads wait for each other after every layer: when another program holds a core, more threads
can be slower by a factor of ten.
"""

from __future__ import annotations

import asyncio
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

PATIENCE_S = 6.0
"""For one number of threads; it takes a second where all is well."""

Open = Callable[[int], Awaitable[LanguageModel]]


def candidates(most: int) -> list[int]:
    """Numbers of threads worth measuring on so many cores: all up to 4, then every second."""
    return [n for n in range(1, most + 1) if n <= 4 or n % 2 == 0]


async def speeds(first: LlamaCppModel, opened: Open) -> tuple[Speed, list[Speed]]:
    """Speed as the settings have it, and with each number of threads, up to the first with which
    it collapses. One that takes longer than ``PATIENCE_S`` counts as 0 tokens a second.

    Args:
        first: the model as the settings have it; closed here.
        opened: loads it with a given number of threads.
    """
    now = await _measured(first)
    by_threads: list[Speed] = []
    for threads in candidates(min(cores(), 16)):
        model = await opened(threads)
        assert isinstance(model, LlamaCppModel)  # noqa: S101 - as the first was
        try:
            async with asyncio.timeout(PATIENCE_S):
                by_threads.append(await _measured(model))
        except TimeoutError:
            by_threads.append(Speed(threads=threads, prefill=0.0, decode=0.0))
        if collapsed(by_threads):
            break
    return now, by_threads


async def _measured(model: LlamaCppModel) -> Speed:
    """Closes the model."""
    try:
        return await model.measure()
    finally:
        await model.aclose()


def collapsed(by_threads: Sequence[Speed]) -> bool:
    """Whether more threads have made it much slower."""
    return any(speed.decode < by_threads[0].decode / 2 for speed in by_threads[1:])


def advice(now: Speed, by_threads: Sequence[Speed]) -> Finding:
    """What the measurements mean: keep the setting, or take another number."""
    best = max(by_threads, key=lambda s: s.decode)
    fewest = next(s for s in by_threads if s.decode >= 0.9 * best.decode)
    table = "; ".join(map(_told, by_threads))
    text = f"tokens a second, now with {_told(now)} (measured: {table})"
    remedy = ""
    if collapsed(by_threads):
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


def _told(speed: Speed) -> str:
    threads = "1 thread" if speed.threads == 1 else f"{speed.threads} threads"
    if not speed.decode:
        return f"{threads}: not done in {PATIENCE_S:.0f} s"
    return f"{threads}: reads {speed.prefill:.0f}, writes {speed.decode:.0f}"
