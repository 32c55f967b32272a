"""Finding the memories that bear on what was said: BM25 and vectors together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bb3.core.types import Memory, Vector
from bb3.memory.words import FUNCTION, stem, words

K1, B = 1.2, 0.75
VECTOR_WEIGHT = 0.8
"""Share of the vectors in the score; chosen by benchmarks/memory_recall.py."""

Scores = NDArray[np.float64]


def retrieve(
    query: str,
    memories: Sequence[Memory],
    k: int,
    query_vector: Vector[float] | None = None,
    *,
    vector_weight: float = VECTOR_WEIGHT,
) -> list[tuple[Memory, float]]:
    """The k memories that fit a query best, best first, with scores from 0 to 1.

    The score is a convex combination of BM25 (as a share of the best memory's) and cosine;
    memories without a vector of the query's length, and all of them when there is no
    ``query_vector``, are judged by BM25 alone. Among equals the newer comes first.
    """
    if not memories or k <= 0:
        return []
    scores = bm25(query, [memory.text for memory in memories])
    best = scores.max()
    lexical = scores / best if best > 0 else scores
    if query_vector is None:
        total = lexical
    else:
        cosine = _cosine(query_vector, memories)
        total = (1 - vector_weight) * lexical + vector_weight * np.clip(cosine, 0.0, 1.0)
    order = sorted(range(len(memories)), key=lambda i: (-total[i], -memories[i].id, -i))
    return [(memories[i], float(total[i])) for i in order[:k]]


def bm25(query: str, texts: Sequence[str]) -> Scores:
    """Okapi BM25 of each text for the query (Robertson and Zaragoza 2009), over stems."""
    bags = [Counter(_terms(text)) for text in texts]
    lengths = np.array([sum(bag.values()) for bag in bags], dtype=np.float64)
    norm = K1 * (1 - B + B * lengths / max(lengths.mean(), 1.0))
    scores = np.zeros(len(texts))
    for term in set(_terms(query)):
        counts = np.array([bag[term] for bag in bags], dtype=np.float64)
        having = np.count_nonzero(counts)
        if having:
            idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
            scores += idf * counts * (K1 + 1) / (counts + norm)
    return scores


def _terms(text: str) -> list[str]:
    return [stem(word) for word in words(text) if word not in FUNCTION]


def _cosine(query: Vector[float], memories: Sequence[Memory]) -> Scores:
    """Dot products with unit vectors; 0 where a memory has none that fits."""
    fits = [
        i for i, m in enumerate(memories) if m.vector is not None and len(m.vector) == len(query)
    ]
    scores = np.zeros(len(memories))
    if fits:
        matrix = np.stack([np.frombuffer(memories[i].vector, np.float32) for i in fits])  # type: ignore[arg-type]
        scores[fits] = matrix @ np.frombuffer(query, np.float32)
    return scores
