"""Small pieces of text work that several rooms need."""

from __future__ import annotations

import re
from collections import Counter

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9])|\n+")

STOP_WORDS = frozenset(
    """a about again all also am an and any are aren't as at be because been being but by can
    can't could couldn't did didn't do does doesn't doing don't down for from get give had has
    have he her hers him his how i i'd i'll i'm i've if in into is isn't it it's its just know
    let let's like me more most much my no not now of off oh ok okay on one or our ours out
    over please really say see she should so some tell than thank thanks that that's the their
    them then there there's these they thing this those to too up us very want was wasn't we
    well were what what's when where where's which who who's whom whose why will with would
    yeah yes you you'd you'll you're you've your yours hello hi hey""".split()
)
"""Words that carry no topic of their own."""


_CONTROLS = dict.fromkeys(c for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) not in "\n\t")


def printable(text: str) -> str:
    """The text without control characters (line breaks and tabs stay): what comes from outside
    cannot steer a terminal."""
    return text.translate(_CONTROLS)


def words(text: str) -> list[str]:
    """The words of a text, lower-cased, apostrophes kept inside a word."""
    return [w.replace("’", "'") for w in _WORD.findall(text.lower())]


def content_words(text: str) -> list[str]:
    """The words that carry a topic, in order, each once."""
    return list(dict.fromkeys(w for w in words(text) if w not in STOP_WORDS))


def first_words(text: str, count: int) -> str:
    """The first ``count`` words, joined by single spaces."""
    return " ".join(text.split(maxsplit=count)[:count])


def sentences(text: str) -> list[str]:
    """The sentences of a text, stripped, none empty."""
    return [s.strip() for s in _SENTENCE_END.split(text) if s and s.strip()]


def overlap_f1(a: str, b: str) -> float:
    """F1 of the two texts' words as multisets, 0 to 1."""
    left, right = Counter(words(a)), Counter(words(b))
    common = sum((left & right).values())
    if not common:
        return 0.0
    return 2 * common / (sum(left.values()) + sum(right.values()))


def coverage(part: str, whole: str) -> float:
    """Share of the content words of ``part`` that ``whole`` has too; 1 when there are none."""
    wanted = content_words(part)
    if not wanted:
        return 1.0
    there = set(words(whole))
    return sum(w in there for w in wanted) / len(wanted)
