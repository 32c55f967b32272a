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
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import snowballstemmer

from bb3.core.errors import Bb3Error
from bb3.core.ports import Embedder
from bb3.core.types import Document
from bb3.search.chunk import passages
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
    match rule:
        case "best":
            return await best_chunks(query, documents, embedder)
        case "opt":
            return [first_words(document) for document in distinct(documents)]
        case "r2c2":
            return [first_chunk(document) for document in distinct(documents)]


async def best_chunks(
    query: str, documents: Sequence[Document], embedder: Embedder | None = None
) -> list[Document]:
    """The best chunk of each document for the query, best document first.

    ``score`` becomes the cosine of query and chunk; without an embedder (or when it fails) a
    BM25 score over the chunks at hand, from 0 to 1.
    """
    parts = [
        replace(document, text=chunk)
        for document in distinct(documents)
        for chunk in passages(document.text)
    ]
    if not parts:
        return []
    by_words = bm25(query, [f"{part.title} {part.text}" for part in parts])
    chosen = [replace(part, score=score) for part, score in zip(parts, by_words, strict=True)]
    if embedder is not None:
        chosen = sorted(chosen, key=lambda part: -part.score)[:MAX_CHUNKS]
        chosen = await compared(query, chosen, embedder)
    best: dict[tuple[str, str], Document] = {}
    for part in sorted(chosen, key=lambda part: -part.score):
        best.setdefault((part.url, part.title), part)
    return list(best.values())


async def compared(query: str, parts: list[Document], embedder: Embedder) -> list[Document]:
    """Parts scored by cosine with the query; as they were when the embedder fails."""
    try:
        vectors = await embedder.embed(
            [query[:MAX_QUERY_CHARS], *(f"{part.title}. {part.text}" for part in parts)]
        )
    except Bb3Error as error:
        log.warning("chunks are ordered by words only: %s", error)
        return parts
    matrix = np.stack([np.frombuffer(vector, np.float32) for vector in vectors])
    similarities = matrix[1:] @ matrix[0]  # (parts, dim) @ (dim,)
    return [replace(p, score=float(s)) for p, s in zip(parts, similarities, strict=True)]


def first_words(document: Document, words: int = OPT_WORDS) -> Document:
    """The reference's rule for its large models: the first words of ``title | text``, on one
    line; the title and its bar count.
    """
    room = max(0, words - len(f"{document.title} |".split()))
    return replace(document, text=" ".join(document.text.split()[:room]))


def first_chunk(document: Document, chars: int = R2C2_CHARS) -> Document:
    """The reference's rule for its 3B model: cut at the first space after ``chars``."""
    return replace(document, text=next(iter(char_chunks(document.text, chars)), ""))


def char_chunks(text: str, chars: int = R2C2_CHARS) -> list[str]:
    """A text cut at the first space at or after every ``chars`` characters; the space is dropped.

    The reference also loses as many characters at the very end as it made cuts; we keep them.
    """
    chunks: list[str] = []
    while text:
        end = text.find(" ", chars)
        if end < 0:
            return [*chunks, text]
        chunks.append(text[:end])
        text = text[end + 1 :]
    return chunks


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
    wanted = {stem(word) for word in parse(query).words}
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
