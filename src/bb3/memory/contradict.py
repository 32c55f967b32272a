"""Which older memories a new one replaces.

Two rules, both conservative, because a memory replaced wrongly is lost to the bot:

* An *attribute* has one value at a time (where one lives, how old one is, a favourite film).
  Two memories that give the same attribute different values contradict.
* A *denial* contradicts the same statement without it: "I don't like jazz any more".
"""

from __future__ import annotations

import re

from bb3.memory.attributes import MOVED, NOW, Attribute, attributes, plain
from bb3.memory.ground import negative
from bb3.memory.places import REGIONS
from bb3.memory.words import content, stem, word_set, words

GONE = re.compile(
    rf"^i {NOW}(?:sold|lost|gave away|got rid of|broke up with|do not have|no longer have|"
    r"no longer own|do not own) (?:my|the|a|an|any) (?P<what>\w+)"
    r"(?: any ?more| any longer| last \w+| yesterday| now)*[.!]?$"
)
HAVE_ONE = re.compile(rf"^i {NOW}(?:have|own|got) (?:an?|my) (?P<what>\w+)(?: now)?[.!]?$")
OTHER_CLAUSE = re.compile(r"\W*(?:i|my|we|work|have|love|like|am)\b", re.IGNORECASE)
FAMILIES = (
    ("like", word_set("like love enjoi ador hate dislik detest prefer despis loath fan")),
    ("have", word_set("have own had got")),
    ("want", word_set("want wish hope plan need")),
    ("can", word_set("can could abl")),
    ("be", word_set("am is are be wa")),
)
"""Stems of the common verbs by what they say."""
HELPERS = word_set(
    "do did have had am will not no longer never stopped quit gave given up used to now just "
    "recently always still really been currently"
)
FADED = frozenset(
    stem(word) for word in word_set("stop quit longer give gave anymore used not any never past")
)
"""Stems of denial, which are no part of what is denied."""


def contradicts(new: str, old: str) -> bool:
    """Whether ``new`` makes ``old`` untrue. Both are statements of one speaker about themselves,
    in the first person.
    """
    for ours in attributes(new):
        for theirs in attributes(old):
            if ours.key == theirs.key and ours.firm and _differ(ours, theirs, new):
                return _one_topic(old)
    return _denies(new, old)


def family(text: str) -> str:
    """What kind of verb a statement has; where it is an ordinary one, that verb's stem."""
    thing = _object(text)
    for word in plain(text).split():
        bare = stem(word.strip(".,!"))
        for name, members in FAMILIES:
            if bare in members and not (name in ("be", "have", "can") and _is_verb(text, thing)):
                return name
    return thing[0] if thing else ""


def _differ(ours: Attribute, theirs: Attribute, new: str) -> bool:
    left, right = set(ours.value.split()), set(theirs.value.split())
    if left <= right or right <= left:
        return False
    if ours.key == "home":  # Oslo lies in Norway; one who moved there lives nowhere else
        same_size = (ours.value in REGIONS) == (theirs.value in REGIONS)
        return same_size or MOVED.match(plain(new)) is not None
    return True


def _one_topic(text: str) -> bool:
    """A memory that tells other things as well is not given up for one of them."""
    clauses = re.split(r"\s+(?:and|but)\s+|[;.]\s+", text.rstrip("."))
    return sum(OTHER_CLAUSE.match(clause) is not None for clause in clauses) <= 1


def _denies(new: str, old: str) -> bool:
    """Whether one of two statements about the same thing is the denial of the other."""
    gone, had = GONE.match(plain(new)), HAVE_ONE.match(plain(old))
    if gone and had:
        return gone["what"] == had["what"]
    if negative(new) == negative(old):
        return False
    ours, theirs = _object(new), _object(old)
    if not ours or not theirs or family(new) != family(old):
        return False
    if ours == theirs:  # fish and fishing have one stem; as verbs they are one thing, too
        return _is_verb(new, ours) or _is_verb(old, theirs) or _doing(new) == _doing(old)
    # "I quit smoking" denies "I smoke a pack a day"; a list is denied only as a whole
    listed = re.search(r",|\band\b|\bor\b", old) is not None
    return (
        not listed
        and set(ours) < set(theirs)
        and theirs[0] == ours[0]
        and negative(new)
        and _is_verb(new, ours)
    )


def _is_verb(text: str, thing: list[str]) -> bool:
    """Whether the first content word is the statement's verb: "I (no longer) smoke"."""
    said = plain(text).removeprefix("i ").split()
    verb = next((word.strip(".,!") for word in said if word not in HELPERS), "")
    return thing[:1] == [stem(verb)]


def _doing(text: str) -> bool:
    """Whether a statement is about doing something: "I like fishing"."""
    return any(word.endswith("ing") and len(word) > 5 for word in words(text))


def _object(text: str) -> list[str]:
    """Content stems less those of denial."""
    return [word for word in content(plain(text)) if word not in FADED]
