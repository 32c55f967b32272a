"""What a query asks for: its content words, how much each matters, and how SQLite's FTS5 is
asked for them. English, as the demo corpus is; words of other languages all count alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

MAX_QUERY_CHARS = 1000
"""A query longer than this is cut: nobody asks so much, and a pasted page is not a query."""
MAX_WORDS = 16
MAX_K = 50
"""More documents than any turn can use; asking for more gives so many."""

WORD = re.compile(r"\w+(?:['’]\w+)*")
CLITIC = re.compile(r"['’](?:s|re|ve|ll|d|m|t)$")

STOP_WORDS = frozenset(
    """
    a about above actually after again all also am an and any anybody anyone anything are aren
    as at be because been before being between both but by called can cannot could couldn
    define definition describe did didn do does doesn doing don down during each else ever
    every exactly explain few find for from further get give go goes got had hadn has hasn
    have haven having he hello her here hers hey hi him his how i if in info information into
    is isn it its just kind know let like list look looking lot many may maybe me mean meaning
    means might more most much must mustn name named need no nor not of off ok okay on once
    only or other ought over own please question really same search shall she should shouldn
    so some someone something sort such tell than thank thanks that the their theirs them then
    there these they thing things think this those though through to too type under until up
    upon us very want was wasn we well were weren what when where which while who whom whose
    why will with won would wouldn yes yet you
    """.split()
)
"""Words that say that something is asked, not what."""

ASPECT_WORDS = frozenset(
    """
    author away began begin big build built cause caused causes composed composer deep directed
    director discover discovered discoverer discovers eat eats end ended far fast first founded
    founder happen happened high history invent invented inventor life live lives long made old
    paint painted painter play plays rules sculpted speak start started tall tallest work works
    write writer writes written wrote
    """.split()
)
"""Words that name the sort of fact wanted. Texts tell it in other words ("hamlet is a tragedy
by ..." answers "who wrote hamlet"), so missing ones count against a passage only a little.
"""
ASPECT_WEIGHT = 0.3

TIE_WORDS = frozenset(
    """
    currently latest mine my myself nearby now our ours today tomorrow tonight yesterday your
    yours yourself
    """.split()
)
"""Words that tie a question to the person or the hour that asks. No stored text answers "what is
my dog called", only a title that has the word itself ("My Way") can be meant.
"""
PERSONAL = re.compile(
    r"(?<!\bhow )(?<!\bwhy )\b(?:did|do|am|are|was|were|should|shall|can|could|will|would|have|had)"
    r" (?:i|you)\b(?! (?:tell|know|explain|show|give|think|help|describe|say|find|look|search"
    r"|please|call|see|get|make|use|play|need))"
    r"|\bhow (?:are|were) you\b|\b(?:near|for|with|to|at) me\b|\blast night\b"
    r"|\bthis (?:weekend|week|morning|evening|year|month)\b",
    re.IGNORECASE,
)
"""The same told by several words ("did I", "near me"). "Can you tell" is only polite, and "how do
you" asks how one does.
"""


@dataclass(frozen=True, slots=True)
class Query:
    """A query as the index understands it.

    Attributes:
        words: distinct content words in order, lower-cased; none if nothing is asked.
        ties: those of ``words`` that the title of an answer must have (``TIE_WORDS``).
    """

    words: tuple[str, ...]
    ties: tuple[str, ...] = ()


def parse(text: str, *, general: bool = True) -> Query:
    """Read a query. When every word is a stop word ("the who"), all words count.

    Args:
        general: the texts are about the world at large, so that what is tied to the person or
            the hour that asks is not in them; else such words are passed over.
    """
    cleaned = unicodedata.normalize("NFKC", text[:MAX_QUERY_CHARS])
    if general and PERSONAL.search(cleaned):
        return Query(())
    words = [CLITIC.sub("", word.casefold()) for word in WORD.findall(cleaned)]
    words = [part for word in words for part in re.split("['’]", word) if part]
    passed_over = STOP_WORDS if general else STOP_WORDS | TIE_WORDS
    content = [word for word in words if word not in passed_over]
    chosen = tuple(dict.fromkeys(content or words))[:MAX_WORDS]
    return Query(chosen, tuple(word for word in chosen if general and word in TIE_WORDS))


def tidy(text: str) -> str:
    """A query fit to be sent: one line, not too long, nothing that UTF-8 cannot hold."""
    sendable = text[:MAX_QUERY_CHARS].replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
    return " ".join(sendable.split())


def quoted(word: str) -> str:
    """A word as an FTS5 string: nothing inside is syntax (quotes are doubled)."""
    return '"' + word.replace('"', '""') + '"'


def any_of(words: Sequence[str]) -> str:
    """An FTS5 expression that matches passages with at least one of the words."""
    return " OR ".join(quoted(word) for word in words)


def near(first: str, second: str, distance: int) -> str:
    """An FTS5 expression for two words with at most ``distance`` others between them."""
    return f"NEAR({quoted(first)} {quoted(second)}, {distance})"
