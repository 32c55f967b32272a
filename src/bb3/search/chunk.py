"""Documents into passages."""

from __future__ import annotations

from bb3.core.text import sentences

PASSAGE_WORDS = 120
OVERLAP_WORDS = 25
MAX_TITLE_CHARS = 300
"""A title goes with every passage of its document; what is longer is cut."""


def passages(text: str, *, words: int = PASSAGE_WORDS, overlap: int = OVERLAP_WORDS) -> list[str]:
    """Cut a text at sentence ends into passages of at most about ``words`` words.

    The last sentences of a passage, up to ``overlap`` words, open the next one, so that a fact
    told in two sentences stands whole in one of them. A sentence longer than a passage is cut
    between words. A text without words has no passages.
    """
    found: list[str] = []
    current: list[list[str]] = []
    fresh = False  # whether `current` holds more than the overlap
    for sentence in sentences(text, wrapped=True):
        pieces = sentence.split()
        for start in range(0, len(pieces), words):
            piece = pieces[start : start + words]
            if current and sum(map(len, current)) + len(piece) > words:
                if fresh:
                    found.append(joined(current))
                current = tail(current, min(overlap, words - len(piece)))
            current.append(piece)
            fresh = True
    if fresh:
        found.append(joined(current))
    return found


def tail(sentence_words: list[list[str]], limit: int) -> list[list[str]]:
    """The last whole sentences that together have at most ``limit`` words."""
    taken = 0
    kept: list[list[str]] = []
    for sentence in reversed(sentence_words):
        taken += len(sentence)
        if taken > limit:
            break
        kept.insert(0, sentence)
    return kept


def joined(sentence_words: list[list[str]]) -> str:
    """Sentences, each a list of words, as one text."""
    return " ".join(word for sentence in sentence_words for word in sentence)
