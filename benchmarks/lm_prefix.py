"""Tokens that the embedded model reads per module, with and without prefix reuse.

    python benchmarks/lm_prefix.py [MODEL.gguf] [--turns 8] [--dialect chat]

A conversation grows turn by turn, and every turn calls the modules as the pipeline does. The
numbers are the engine's own: tokens of the prompt, and how many of them its cache held.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from report import report, resident_mb

from bb3.app.build import prepare
from bb3.core.ports import GenerationRequest, Sampling
from bb3.core.types import Document, Memory, Speaker, TokenCounts, Turn
from bb3.lm.engine import EngineOptions
from bb3.lm.llamacpp import LlamaCppModel
from bb3.modules.catalog import MODULES, Kind, Module, Sight
from bb3.modules.context import Context
from bb3.modules.dialects import Dialect, dialect

TALK = (
    ("Hi! I have a dog called Bubbles.", "That is a lovely name! What breed is Bubbles?"),
    ("A poodle. She is four years old and loves the sea.", "Poodles are clever. Do you swim too?"),
    ("Every Sunday. What is the capital of Norway?", "It is Oslo, on a fjord in the south-east."),
    ("I would like to go there in the summer.", "The long evenings are beautiful then."),
    ("Which museums are there?", "The Munch museum is famous, and the one with the Viking ships."),
    ("I paint a little myself, mostly landscapes.", "Do you paint outdoors or from photographs?"),
    ("Outdoors, when the weather is kind.", "Then the Norwegian light may please you."),
    ("What did I say my dog is called?", "Bubbles, your poodle who loves the sea."),
)
DOCUMENTS = (
    Document(title="Oslo", text="Oslo is the capital and most populous city of Norway. " * 4),
    Document(title="Norway", text="Norway is a Nordic country in Northern Europe. " * 4),
)
MEMORIES = ("I have a dog called Bubbles.", "My dog is a poodle.", "I swim every Sunday.")
TAGS = ("sdm", "mdm", "sgm", "mgm", "skm", "mkm", "srm")


def calls(turns: int) -> Iterator[tuple[int, Module, Context]]:
    """Number of the turn, module and what it looks at, in the order of the calls."""
    history: list[Turn] = []
    memories = tuple(Memory(speaker=Speaker.USER, text=text) for text in MEMORIES)
    for n in range(turns):
        said, replied = TALK[n % len(TALK)]
        history.append(Turn(speaker=Speaker.USER, text=said))
        for tag in TAGS:
            module = MODULES[tag]
            seen = history[-1:] if module.sight is Sight.LAST_TURN else history
            context = Context(
                turns=tuple(seen),
                memories=memories if module.memories else (),
                documents=DOCUMENTS if module.documents else (),
                knowledge={"skm": "Oslo is the capital of Norway."} if tag == "srm" else {},
            )
            yield n, module, context
        history.append(Turn(speaker=Speaker.BOT, text=replied))


async def call(
    model: LlamaCppModel, words: Dialect, module: Module, context: Context
) -> TokenCounts:
    request = GenerationRequest(
        prompt=words.render(module, context), module=module.tag, sampling=Sampling(max_tokens=8)
    )
    if module.kind is Kind.DECISION:
        return (await model.score(request, words.answers(module))).tokens
    return (await model.generate([request]))[0].tokens


async def measure(
    path: Path, name: str, turns: int, options: EngineOptions
) -> dict[str, list[tuple[TokenCounts, float]]]:
    """Token counts and milliseconds of every call, by module."""
    model = LlamaCppModel(path, options=options, trusted=True)
    words = dialect(name or model.dialect)
    measured: dict[str, list[tuple[TokenCounts, float]]] = {tag: [] for tag in TAGS}
    for _, module, context in calls(turns):
        begun = time.perf_counter()
        tokens = await call(model, words, module, context)
        measured[module.tag].append((tokens, 1000 * (time.perf_counter() - begun)))
    await model.aclose()
    return measured


def row(
    tag: str, kept: list[tuple[TokenCounts, float]], anew: list[tuple[TokenCounts, float]]
) -> dict[str, object]:
    """Means over the calls."""
    read = sum(tokens.prompt - tokens.cached for tokens, _ in anew) / len(anew)
    reread = sum(tokens.prompt - tokens.cached for tokens, _ in kept) / len(kept)
    return {
        "module": tag,
        "prompt": round(sum(tokens.prompt for tokens, _ in anew) / len(anew)),
        "read without": round(read),
        "read with": round(reread),
        "saved %": round(100 * (1 - reread / read)),
        "ms without": round(sum(ms for _, ms in anew) / len(anew)),
        "ms with": round(sum(ms for _, ms in kept) / len(kept)),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, nargs="?", help="default: the embedded model")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--dialect", default="", help="default: the model's own")
    args = parser.parse_args()
    path = args.model
    if path is None:
        parts = prepare({})  # the settings say where assets lie, and whether they may be pulled
        path = await parts.fetch(parts.registry.find("smollm2-135m"))
    options = EngineOptions()
    kept = await measure(path, args.dialect, args.turns, options)
    anew = await measure(path, args.dialect, args.turns, replace(options, reuse=False))
    # From the second turn on there is something to reuse.
    rows = [row(tag, kept[tag][1:], anew[tag][1:]) for tag in TAGS]
    rows.append(row("all", *([p for tag in TAGS for p in m[tag][1:]] for m in (kept, anew))))
    report(
        "lm_prefix",
        rows,
        list(rows[0]),
        [
            f"Means per call over turns 2 to {args.turns}; tokens as counted by the engine.",
            f"Model {path.name}; {resident_mb():.0f} MB held after closing it.",
        ],
    )


if __name__ == "__main__":
    asyncio.run(main())
