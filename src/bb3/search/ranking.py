"""Which passages answer a query, and which does best.

The words decide what can be an answer at all: a passage must have most of the query's weight, or
be named by the query. Meaning (an embedding) orders those, and throws out what only shares words.
The numbers were chosen on the tuned questions of ``tests/search/questions.py``; docs/search.md says
what they reach on the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bb3.core.types import Vector
from bb3.search.index_file import Candidate, IndexFile
from bb3.search.query import ASPECT_WEIGHT, ASPECT_WORDS, STOP_WORDS, Query, near, quoted

MIN_COVERAGE = 0.6
NAMED_COVERAGE = 0.33
"""Enough for a passage whose whole title stands in the query."""
NAMED_SIMILARITY = 0.5
"""... if it is as similar as this as well."""
MIN_SIMILARITY = 0.3

TITLE_BONUS = 0.25
NEAR_BONUS = 0.15
BM25_BONUS = 0.3
"""Only without an embedder, whose similarity says more."""
NEAR_WORDS = 4

WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage with what speaks for it.

    Attributes:
        coverage: share of the query's words it has, rare words weighing more, 0 to 1.
        title: share of its title's words that the query names, 0 to 1.
        near: share of the query's neighbouring words that are neighbours here too, 0 to 1.
        bm25: relative to the best passage, 0 to 1.
        similarity: cosine of query and passage, None where there is no embedder.
    """

    passage: Candidate
    coverage: float
    title: float
    near: float
    bm25: float
    similarity: float | None = None

    @property
    def relevant(self) -> bool:
        """Whether this may answer the query at all."""
        named = self.title >= 1 and self.coverage >= NAMED_COVERAGE
        if self.similarity is None:
            return self.coverage >= MIN_COVERAGE or named
        return self.similarity >= MIN_SIMILARITY and (
            self.coverage >= MIN_COVERAGE or (named and self.similarity >= NAMED_SIMILARITY)
        )

    @property
    def score(self) -> float:
        """From 0 to 1, for ordering; comparable only within one search."""
        by_words = self.coverage + TITLE_BONUS * self.title**3 + NEAR_BONUS * self.near
        if self.similarity is None:
            return (by_words + BM25_BONUS * self.bm25) / (1 + TITLE_BONUS + NEAR_BONUS + BM25_BONUS)
        return (by_words + max(0.0, self.similarity)) / (2 + TITLE_BONUS + NEAR_BONUS)


def by_words(file: IndexFile, query: Query, candidates: Sequence[Candidate]) -> list[Evidence]:
    """The candidates that may be relevant by their words alone, best first."""
    if not candidates:
        return []
    ids = [c.passage for c in candidates]
    total = file.passage_count()
    weights = {word: weight(file, word, total) for word in query.words}
    present = {word: file.matching(quoted(word), ids) for word in query.words}
    titled = {word: file.matching(f"title : {quoted(word)}", ids) for word in query.words}
    pairs = [
        file.matching(near(one, two, NEAR_WORDS), ids)
        for one, two in zip(query.words, query.words[1:], strict=False)
    ]
    most = max(c.bm25 for c in candidates)
    found = []
    for c in candidates:
        if any(c.passage not in titled[tie] for tie in query.ties):
            continue
        has = [word for word in query.words if c.passage in present[word]]
        named = sum(c.passage in titled[word] for word in query.words)
        found.append(
            Evidence(
                passage=c,
                coverage=sum(weights[word] for word in has) / sum(weights.values()),
                title=min(1.0, named / max(1, content_words(c.title))),
                near=sum(c.passage in pair for pair in pairs) / max(1, len(pairs)),
                bm25=c.bm25 / most if most > 0 else 0.0,
            )
        )
    return best_first(found)


def by_meaning(
    found: Sequence[Evidence], query: Vector[float], vectors: dict[int, Vector[float]]
) -> list[Evidence]:
    """The relevant ones in the order of words and meaning together.

    Args:
        query: unit vector of the query.
        vectors: unit vectors by passage, for all of ``found``.
    """
    if not found:
        return []
    matrix = np.stack([np.frombuffer(vectors[e.passage.passage], np.float32) for e in found])
    similarities = matrix @ np.frombuffer(query, np.float32)  # (passages, dim) @ (dim,)
    return best_first(
        [replace(e, similarity=float(s)) for e, s in zip(found, similarities, strict=True)]
    )


def best_first(found: Sequence[Evidence]) -> list[Evidence]:
    """The relevant ones, highest score first."""
    return sorted((e for e in found if e.relevant), key=lambda e: -e.score)


def weight(file: IndexFile, word: str, total: int) -> float:
    """How much a word tells passages apart: inverse document frequency, always positive; a word
    that occurs nowhere weighs most.
    """
    idf = math.log(1 + (total + 0.5) / (file.frequency(quoted(word)) + 0.5))
    return idf * (ASPECT_WEIGHT if word in ASPECT_WORDS else 1.0)


def content_words(title: str) -> int:
    """How many words of a title carry meaning."""
    return sum(word.casefold() not in STOP_WORDS for word in WORD.findall(title))
