"""Which passages answer a query, and which does best."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from bb3.search.index_file import Candidate, IndexFile
from bb3.search.query import STOP_WORDS

MIN_COVERAGE = 0.7
TITLE_SHARE = 0.5

WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Ranked:
    """A passage with what speaks for it, each from 0 to 1 (``similarity`` from -1).

    Attributes:
        coverage: share of the query's words it has, rare words weighing more.
        title: share of its title's words that the query names.
    """

    passage: int
    document: int
    title: str
    text: str
    url: str
    coverage: float
    title_share: float
    bm25: float
    score: float


def rank(file: IndexFile, words: list[str], candidates: list[Candidate]) -> list[Ranked]:
    """The relevant ones among the candidates, best first."""
    if not candidates:
        return []
    ids = [c.passage for c in candidates]
    total = file.passage_count()
    weights = {word: rarity(file.frequency(word), total) for word in words}
    present = {word: file.matching(word, ids) for word in words}
    in_title = {word: file.matching(word, ids, title=True) for word in words}
    whole = sum(weights.values())
    top = max(c.bm25 for c in candidates) or 1.0
    ranked: list[Ranked] = []
    for c in candidates:
        coverage = sum(weights[w] for w in words if c.passage in present[w]) / whole
        named = sum(c.passage in in_title[w] for w in words)
        share = min(1.0, named / max(1, content_words(c.title)))
        if coverage < MIN_COVERAGE:
            continue
        score = (coverage + TITLE_SHARE * share + c.bm25 / top) / (2 + TITLE_SHARE)
        ranked.append(
            Ranked(c.passage, c.document, c.title, c.text, c.url, coverage, share, c.bm25, score)
        )
    return sorted(ranked, key=lambda r: -r.score)


def rarity(frequency: int, total: int) -> float:
    """Inverse document frequency, always positive; a word that occurs nowhere weighs most."""
    return math.log(1 + (total + 0.5) / (frequency + 0.5))


def content_words(title: str) -> int:
    """How many words of a title carry meaning."""
    return sum(word.casefold() not in STOP_WORDS for word in WORD.findall(title))
