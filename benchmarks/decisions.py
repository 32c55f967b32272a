"""How well a model decides to search and to remember, and the thresholds that suit it.

    python benchmarks/decisions.py [--model M] [--set NAME=VALUE]

Scores the labelled messages of decisions.toml as a turn does. Prints, for the messages a
threshold is set by and for those written apart: AUC of the log-odds, accuracy at the best
threshold, at the one in force, and at none (raw argmax).
"""

from __future__ import annotations

import asyncio
import os
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from report import report

from bb3.app.build import prepare, settings_files
from bb3.app.models import open_model
from bb3.app.settings import load
from bb3.core.ports import GenerationRequest, LanguageModel
from bb3.core.types import Memory, Speaker, Turn
from bb3.modules.catalog import MODULES
from bb3.modules.context import Context
from bb3.modules.dialects import Dialect, dialect

MEMORIES = (
    Memory(speaker=Speaker.USER, text="I have a dog called Bubbles.", id=1),
    Memory(speaker=Speaker.USER, text="I live in Bergen.", id=2),
    Memory(speaker=Speaker.USER, text="I love jazz.", id=3),
)


async def log_odds(model: LanguageModel, spoken: Dialect, tag: str, text: str) -> float:
    """Log-odds of yes for one message."""
    context = Context(turns=(Turn(speaker=Speaker.USER, text=text),),
                      memories=MEMORIES if tag == "mdm" else ())  # fmt: skip
    request = GenerationRequest(prompt=spoken.render(MODULES[tag], context), module=tag)
    yes, no = (await model.score(request, spoken.answers(MODULES[tag]))).logprobs
    return yes - no


def auc(yes: list[float], no: list[float]) -> float:
    """Probability that a yes ranks above a no."""
    return sum((a > b) + 0.5 * (a == b) for a in yes for b in no) / (len(yes) * len(no))


MISS = {"sdm": 1, "mdm": 2}
"""What a missed yes weighs against a needless one when a threshold is chosen: a memory looked for
in vain costs a call of the model, a memory that is not recalled costs the point of having it."""


def cost(yes: list[float], no: list[float], threshold: float, miss: int) -> int:
    """Misses, weighed, and needless yeses."""
    return miss * sum(a <= threshold for a in yes) + sum(b > threshold for b in no)


def accuracy(yes: list[float], no: list[float], threshold: float) -> float:
    """Share decided rightly."""
    right = sum(a > threshold for a in yes) + sum(b <= threshold for b in no)
    return right / (len(yes) + len(no))


def best_threshold(yes: list[float], no: list[float], miss: int) -> float:
    """The middle of the widest gap among the thresholds that cost least."""
    points = sorted({*yes, *no})
    gaps = list(pairwise(points))
    least = min(cost(yes, no, low, miss) for low, _ in gaps)
    fitting = [gap for gap in gaps if cost(yes, no, gap[0], miss) == least]
    low, high = max(fitting, key=lambda gap: gap[1] - gap[0])
    return (low + high) / 2


async def measure(flags: dict[str, object]) -> None:
    parts = prepare(flags)
    model = await open_model(parts.settings, parts.registry, parts.fetch)
    # As a conversation has them: the model's own dialect may bring a profile of its own.
    settings = load(flags, os.environ, settings_files(), dialect=model.dialect).settings
    spoken = dialect(settings.dialect or model.dialect)
    sets = tomllib.loads((Path(__file__).parent / "decisions.toml").read_text(encoding="utf-8"))
    rows = []
    for tag, parts_of in sets.items():
        best = 0.0
        for part, labelled in parts_of.items():
            yes = [await log_odds(model, spoken, tag, text) for text in labelled["yes"]]
            no = [await log_odds(model, spoken, tag, text) for text in labelled["no"]]
            if part == "tune":
                best = best_threshold(yes, no, MISS[tag])
            force = settings.thresholds.get(tag, 0.0)
            rows.append(
                {
                    "decision": tag, "part": part, "messages": len(yes) + len(no),
                    "auc": round(auc(yes, no), 3),
                    "best threshold": round(best, 2), "accuracy there": accuracy(yes, no, best),
                    "in force": force, "accuracy in force": accuracy(yes, no, force),
                    "argmax": accuracy(yes, no, 0.0),
                }
            )  # fmt: skip
    await model.aclose()
    shown = [
        {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows
    ]
    report("decisions", shown, list(rows[0]), [f"model {model.name}, dialect {spoken.name}"])


def main(
    model: Annotated[str | None, typer.Option()] = None,
    sets: Annotated[list[str] | None, typer.Option("--set")] = None,
) -> None:
    flags: dict[str, object] = dict(entry.split("=", 1) for entry in sets or ())
    if model:
        flags["model"] = model
    asyncio.run(measure(flags))


if __name__ == "__main__":
    typer.run(main)
