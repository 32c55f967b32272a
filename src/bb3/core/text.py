"""Small pieces of text work that several rooms need."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SENTENCE_END = re.compile(
    r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[\w])|\n\s*\n|\n(?=\s*(?:[-*#•]|\d+[.)])\s)"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Z]|[a-z]\.[a-z]|(?:[A-Z]\.)+[A-Z]|Dr|Mr|Mrs|Ms|St|Prof|Jr|Sr|vs|etc|ca|c|cf|No|approx)\.$"
)
_ITEM_NUMBER = re.compile(r"\s*\d+\.")

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


def sentences(text: str, *, wrapped: bool = False) -> list[str]:
    """The sentences of a text, stripped, none empty.

    Args:
        wrapped: lines are broken for width, as in documents: only paragraphs and list items end a
            sentence; else every line does, as in chat.
    """
    if not wrapped:
        return [s for line in text.split("\n") for s in sentences(line, wrapped=True)]
    found: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        at = end.start()
        if "\n" not in end.group() and (
            _ABBREVIATION.search(text[max(start, at - 12) : at])
            or _ITEM_NUMBER.fullmatch(text, start, at)
        ):
            continue
        closing = end.group().rstrip()
        found.append((text[start:at] + closing).strip())
        start = end.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def f1(left: Iterable[str], right: Iterable[str]) -> float:
    """Harmonic mean of the shares of words that two texts have in common, each counted as often
    as it occurs, 0 to 1 (the measure of SQuAD; Rajpurkar et al. 2016, arXiv:1606.05250).
    """
    ours, theirs = Counter(left), Counter(right)
    common = sum((ours & theirs).values())
    return 2 * common / (ours.total() + theirs.total()) if common else 0.0


def overlap_f1(a: str, b: str) -> float:
    """F1 of the two texts' words."""
    return f1(words(a), words(b))


def coverage(part: str, whole: str) -> float:
    """Share of the content words of ``part`` that ``whole`` has too; 1 when there are none."""
    wanted = content_words(part)
    if not wanted:
        return 1.0
    there = set(words(whole))
    return sum(w in there for w in wanted) / len(wanted)
