"""Where sentences end, near enough for judging them one by one.

Not the rule of ``bb3.core.text``: while a text still streams, what follows a full stop is not
known, and the classifier's threshold was chosen with the sentences of this one.
"""

from __future__ import annotations

import re

LONGEST = 600
"""Characters judged at once: in a longer "sentence" an insult would drown."""
_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|\n+")


def sentences(text: str) -> list[str]:
    """The sentences of a text, at least one (perhaps empty), none longer than ``LONGEST``."""
    found = [
        sentence[start : start + LONGEST]
        for sentence in _END.split(text)
        for start in range(0, len(sentence), LONGEST)
    ]
    return found or [""]


def last_sentences(text: str, most: int) -> str:
    """The end of a growing text: the sentence being written and the one before it.

    Args:
        text: the text so far.
        most: characters; a longer end is cut at a blank.
    """
    ends = [match.end() for match in _END.finditer(text)]
    recent = text[ends[-2] :] if len(ends) > 1 else text
    if len(recent) > most:
        recent = recent[-most:]
        recent = recent[recent.find(" ") + 1 :]
    return recent
