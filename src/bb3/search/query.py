"""What a query asks for: its content words, and how SQLite's FTS5 is asked for them."""

from __future__ import annotations

import re
import unicodedata

MAX_QUERY_CHARS = 1000
"""A query longer than this is cut: nobody asks so much, and a pasted page is not a query."""
MAX_TERMS = 16

WORD = re.compile(r"\w+(?:['’]\w+)*", re.UNICODE)
POSSESSIVE = re.compile(r"['’](?:s|re|ve|ll|d|m|t)?$", re.IGNORECASE)

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
    """.split()  # noqa: SIM905 (a page of quotes would be unreadable)
)
"""Words that say how something is asked, not what. Words that tie a question to the person or
the day who asks (my, our, today, yesterday, latest) are deliberately absent: they must be found
in a document too, which keeps an encyclopedia from answering "what is my dog called".
"""


def terms(query: str) -> list[str]:
    """The distinct content words of a query in order, lower-cased, at most ``MAX_TERMS``.

    When every word is a stop word ("the who"), all words count.
    """
    cleaned = unicodedata.normalize("NFKC", query[:MAX_QUERY_CHARS]).replace("\0", " ")
    words = [POSSESSIVE.sub("", word).casefold() for word in WORD.findall(cleaned)]
    words = [part for word in words for part in re.split(r"['’]", word) if part]
    content = [
        word for word in words if word not in STOP_WORDS and (len(word) > 1 or not word.isalpha())
    ]
    return list(dict.fromkeys(content or words))[:MAX_TERMS]


def quoted(term: str) -> str:
    """A term as an FTS5 string: nothing inside is syntax (quotes are doubled)."""
    return '"' + term.replace('"', '""') + '"'


def any_of(words: list[str]) -> str:
    """An FTS5 expression that matches passages with at least one of the words."""
    return " OR ".join(quoted(word) for word in words)
