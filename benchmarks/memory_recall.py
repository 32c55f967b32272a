"""Memory recall on Multi-Session Chat: BM25 alone, vectors alone, and both.

    python benchmarks/memory_recall.py MSC_FOLDER MODEL.onnx TOKENIZER.json

The task is the one the bot has: somebody says something, and the memory is wanted that the reply
draws on. Query: an utterance. Relevant: the persona lines that the annotators of MSC wrote for
the *next* utterance, the reply (a reply without such lines makes no query). Pool: all persona
lines of the conversation's sessions, of both speakers, less those written for the query itself.
The lines were written from the reply, not from the query, and nobody chose them by shared words
or by vectors, so that neither method is favoured. Replies often turn to something that was not
asked; then no method can know, which keeps all figures low. The weight was chosen on the train
part (--tune) and is reported on valid and test.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from report import report

from bb3.core.types import Memory, Speaker
from bb3.lm.minilm import MiniLMEmbedder
from bb3.memory.retrieve import VECTOR_WEIGHT, bm25, retrieve

KS = (1, 5, 10)


@dataclass(frozen=True)
class Query:
    """An utterance, the conversation's persona lines, and which of them the reply draws on."""

    text: str
    pool: tuple[str, ...]
    relevant: frozenset[str]


def queries(folder: Path, part: str) -> Iterator[Query]:
    """The queries of a part (train, valid, test), over sessions 1 to 3."""
    talks: dict[str, list[list[dict[str, Any]]]] = {}
    for session in (1, 2, 3):
        path = folder / "msc_personasummary" / f"session_{session}" / f"{part}.txt"
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            talks.setdefault(row["initial_data_id"], []).append(row["dialog"])
    for sessions in talks.values():
        lines = [line for dialog in sessions for turn in dialog for line in persona(turn)]
        pool = tuple(dict.fromkeys(lines))
        for dialog in sessions:
            for asked, reply in pairwise(dialog):
                relevant = frozenset(persona(reply))
                if relevant and asked["text"].strip():
                    said = set(persona(asked)) - relevant
                    yield Query(asked["text"], tuple(t for t in pool if t not in said), relevant)


def persona(turn: dict[str, Any]) -> list[str]:
    """The persona lines written for one utterance."""
    text = turn.get("persona_text", "")
    return [line.strip() for line in text.replace("! ", ". ").split(". ") if line.strip()]


def ranking(query: Query, vectors: dict[str, Any], method: str, weight: float) -> list[str]:
    """The pool, best first."""
    if method == "rrf":
        return fused(query, vectors)
    memories = [
        Memory(speaker=Speaker.USER, text=text, vector=vectors[text], id=len(query.pool) - i)
        for i, text in enumerate(query.pool)
    ]
    vector = None if method == "bm25" else vectors[query.text]
    found = retrieve(query.text, memories, max(KS), vector, vector_weight=weight)
    return [memory.text for memory, _ in found]


def fused(query: Query, vectors: dict[str, Any]) -> list[str]:
    """Reciprocal rank fusion (Cormack et al. 2009), k = 60."""
    scores = np.zeros(len(query.pool))
    lexical = bm25(query.text, query.pool)
    cosine = np.array([np.dot(vectors[text], vectors[query.text]) for text in query.pool])
    for one in (lexical, cosine):
        scores[np.argsort(-one, kind="stable")] += 1 / (60 + np.arange(1, len(scores) + 1))
    return [query.pool[i] for i in np.argsort(-scores, kind="stable")[: max(KS)]]


def recall(asked: list[Query], vectors: dict[str, Any], method: str, weight: float) -> list[float]:
    """Mean share of the relevant lines among the first k, for each k."""
    shares = []
    for query in asked:
        order = ranking(query, vectors, method, weight)
        shares.append([len(query.relevant & set(order[:k])) / len(query.relevant) for k in KS])
    return [float(x) for x in np.mean(shares, axis=0)]


async def embed(embedder: MiniLMEmbedder, asked: list[Query]) -> dict[str, Any]:
    """A vector for every text that occurs."""
    texts = sorted({query.text for query in asked} | {t for q in asked for t in q.pool})
    vectors: dict[str, Any] = {}
    for at in range(0, len(texts), 32):
        batch = texts[at : at + 32]
        vectors |= zip(batch, await embedder.embed(batch), strict=True)
    return vectors


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("msc", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--tune", action="store_true", help="the train part, all weights")
    args = parser.parse_args()
    parts = ("train",) if args.tune else ("valid", "test")
    asked = [query for part in parts for query in queries(args.msc, part)]
    embedder = MiniLMEmbedder(args.model, args.tokenizer)
    vectors = await embed(embedder, asked)
    methods = [("bm25", 0.0), ("rrf", 0.0), ("vectors", 1.0)]
    weights = [w / 10 for w in range(1, 10)] if args.tune else [VECTOR_WEIGHT]
    methods += [("hybrid", weight) for weight in weights]
    rows = []
    for kind, some in (("all", asked), ("questions", [q for q in asked if "?" in q.text])):
        for method, weight in methods:
            shares = recall(some, vectors, method, weight)
            row = {"queries": kind, "n": len(some), "method": method, "weight": weight}
            rows.append(row | {f"R@{k}": round(x, 3) for k, x in zip(KS, shares, strict=True)})
    pools = [len(query.pool) for query in asked]
    report(
        "memory_recall_tuning" if args.tune else "memory_recall",
        rows,
        list(rows[0]),
        [
            f"MSC {' and '.join(parts)}, sessions 1 to 3; the memories that the reply draws on.",
            f"Pool: {np.mean(pools):.1f} persona lines on average, {max(pools)} at most.",
        ],
    )


if __name__ == "__main__":
    asyncio.run(main())
