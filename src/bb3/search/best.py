"""What of the documents a model gets to read: one chunk of each.

Three rules: ``best`` is ours (the chunk nearest to the query, best document first); ``opt`` and
``r2c2`` are what the reference's large models and its 3B model were used to (REFERENCE section
13), in the order of the search.
"""

from __future__ import annotations

import functools
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Literal

import numpy as np
import snowballstemmer

from bb3.core.errors import Bb3Error
from bb3.core.ports import Embedder
from bb3.core.types import Document
from bb3.search.chunk import MAX_TITLE_CHARS, passages
from bb3.search.query import MAX_QUERY_CHARS, parse

log = logging.getLogger(__name__)

ChunkRule = Literal["best", "opt", "r2c2"]

OPT_WORDS = 100
R2C2_CHARS = 500
MAX_CHUNKS = 32
"""Chunks of all documents together that are compared by meaning."""
SAME_TEXT = 0.9
"""Share of common words from which two texts count as the same."""

WORD = re.compile(r"\w+")
STEMMER = snowballstemmer.stemmer("porter")


async def cut(
    query: str,
    documents: Sequence[Document],
    rule: ChunkRule = "best",
    embedder: Embedder | None = None,
) -> list[Document]:
    """Documents without duplicates, each cut to one chunk by the rule."""
    kept = [replace(d, title=d.title[:MAX_TITLE_CHARS]) for d in distinct(documents)]
    match rule:
        case "best":
            return await best_chunks(query, kept, embedder)
        case "opt":
            return [first_words(document) for document in kept]
        case "r2c2":
            return [first_chunk(document) for document in kept]


async def best_chunks(
    query: str, documents: Sequence[Document], embedder: Embedder | None = None
) -> list[Document]:
    """The best chunk of each document for the query, best document first.

    ``score`` becomes the cosine of query and chunk; without an embedder (or when it fails) a
    BM25 score over the chunks at hand, from 0 to 1.
    """
    parts = [[replace(d, text=chunk) for chunk in passages(d.text)] for d in documents]
    parts = [own for own in parts if own]
    if not parts:
        return []
    scores = iter(bm25(query, [f"{p.title} {p.text}" for own in parts for p in own]))
    parts = [[replace(p, score=next(scores)) for p in own] for own in parts]
    if embedder is not None:
        parts = await compared(query, parts, embedder)
    return best_first(max(own, key=lambda p: p.score) for own in parts)


async def compared(
    query: str, parts: list[list[Document]], embedder: Embedder
) -> list[list[Document]]:
    """Parts of each document scored by cosine with the query; as they were when the embedder fails.

    Of each document in turn its next best by words, so that a long one leaves the others their
    share: ``MAX_CHUNKS`` parts in all, but at least one of each.
    """
    turns = [
        (number, part)
        for turn in zip_longest(*map(best_first, parts))
        for number, part in enumerate(turn)
        if part is not None
    ][: max(MAX_CHUNKS, len(parts))]
    try:
        vectors = await embedder.embed(
            [query[:MAX_QUERY_CHARS], *(f"{part.title}. {part.text}" for _, part in turns)]
        )
    except Bb3Error as error:
        log.warning("chunks are ordered by words only: %s", error)
        return parts
    matrix = np.stack([np.frombuffer(vector, np.float32) for vector in vectors])
    similarities = matrix[1:] @ matrix[0]  # (parts, dim) @ (dim,)
    scored: list[list[Document]] = [[] for _ in parts]
    for (number, part), similarity in zip(turns, similarities, strict=True):
        scored[number].append(replace(part, score=float(similarity)))
    return scored


def best_first(documents: Iterable[Document]) -> list[Document]:
    """The highest score first; equal ones as they came."""
    return sorted(documents, key=lambda document: -document.score)


def first_words(document: Document, words: int = OPT_WORDS) -> Document:
    """The reference's rule for its large models: the first words of ``title | text``, on one
    line; the title and its bar count.
    """
    room = max(0, words - len(f"{document.title} |".split()))
    return replace(document, text=" ".join(document.text.split()[:room]))


def first_chunk(document: Document, chars: int = R2C2_CHARS) -> Document:
    """The reference's rule for its 3B model: cut at the first space after ``chars``."""
    return replace(document, text=next(char_chunks(document.text, chars), ""))


def char_chunks(text: str, chars: int = R2C2_CHARS) -> Iterator[str]:
    """A text cut at the first space at or after every ``chars`` characters; the space is dropped.

    The reference also loses as many characters at the very end as it made cuts; we keep them.
    """
    start = 0
    while start < len(text):
        end = text.find(" ", start + chars)
        if end < 0:
            end = len(text)
        yield text[start:end]
        start = end + 1


def distinct(documents: Sequence[Document]) -> list[Document]:
    """Without documents that repeat an earlier one's url or (nearly) its text; order kept."""
    kept: list[Document] = []
    urls: set[str] = set()
    texts: list[frozenset[str]] = []
    for document in documents:
        url = plain_url(document.url)
        words = frozenset(WORD.findall(document.text.casefold()))
        if (url and url in urls) or any(alike(words, other) for other in texts):
            continue
        kept.append(document)
        urls.add(url)
        texts.append(words)
    return kept


def plain_url(url: str) -> str:
    """A url without what does not change the page: scheme, www, fragment, closing slash."""
    bare = url.split("#", 1)[0] if url.startswith(("http:", "https:")) else url
    return re.sub(r"^https?://(www\.)?", "", bare).rstrip("/")


def alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two texts have (nearly) the same words."""
    union = len(one | other)
    return union == 0 or len(one & other) / union >= SAME_TEXT


def bm25(query: str, texts: Sequence[str], *, k1: float = 1.2, b: float = 0.75) -> list[float]:
    """BM25 (Robertson & Zaragoza 2009) of texts for a query, divided by the best possible.

    Statistics come from ``texts`` alone. Words are Porter stems, the query without stop words.
    """
    wanted = {stem(word) for word in parse(query, general=False).words}
    counts = [Counter(stem(word) for word in WORD.findall(text.casefold())) for text in texts]
    lengths = [count.total() for count in counts]
    mean = sum(lengths) / len(texts) or 1.0
    scores = [0.0] * len(texts)
    most = 0.0
    for word in wanted:
        frequency = sum(word in count for count in counts)
        idf = math.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
        most += idf * (k1 + 1)
        for i, count in enumerate(counts):
            tf = count[word]
            scores[i] += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * lengths[i] / mean))
    return [score / most for score in scores] if most else scores


@functools.lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """The Porter stem of a lower-cased word."""
    return str(STEMMER.stemWord(word))
