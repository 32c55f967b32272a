"""Words of a memory: tokens, stems, and which of them carry what it says."""

from __future__ import annotations

import re
from functools import lru_cache

import snowballstemmer


def word_set(text: str) -> frozenset[str]:
    """The words of a text, for tables of words."""
    return frozenset(text.split())


TOKEN = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*")
DIGITS = re.compile(r"\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?")

CONTRACTIONS = {
    "ain't": "am not",
    "can't": "can not",
    "cannot": "can not",
    "gonna": "going to",
    "gotta": "got to",
    "let's": "let us",
    "shan't": "shall not",
    "wanna": "want to",
    "won't": "will not",
}
"""Those the endings below get wrong."""
ENDINGS = (
    ("n't", " not"),
    ("'m", " am"),
    ("'re", " are"),
    ("'ve", " have"),
    ("'ll", " will"),
    ("'d", " would"),
)
SPELLINGS = {
    "colour": "color",
    "colours": "colors",
    "favourite": "favorite",
    "favourites": "favorites",
    "flavour": "flavor",
    "grey": "gray",
    "mum": "mom",
    "neighbour": "neighbor",
    "neighbours": "neighbors",
    "theatre": "theater",
}
"""British to American, of words common in memories."""
PHRASES = (
    (re.compile(r"\bcan not (?:stand|bear)\b"), "hate"),
    (re.compile(r"\b(?:gave|given|giving) up\b"), "stopped"),
    (re.compile(r"\b(?:started|begun|began|came|come|learned|learnt) to\b"), "now"),
)
"""Of several words that mean one."""
SUBJECTS = word_set("he she it that this there here what who where when how")
"""After these ``'s`` is "is"; elsewhere it is a possessive."""
UNAPOSTROPHED = {
    "im": "i am",
    "ive": "i have",
    "dont": "do not",
    "doesnt": "does not",
    "didnt": "did not",
    "cant": "can not",
    "isnt": "is not",
    "arent": "are not",
    "wont": "will not",
}

STOP = word_set("a am also an are be but is really so the too very")
"""The few words that never tell two memories apart."""

PRONOUNS = word_set(
    "i me my mine myself we us our ours you your yours he him his she her hers it its they "
    "them their theirs this that these those who which what someone something"
)
FUNCTION = (
    STOP
    | PRONOUNS
    | word_set(
        "and or but if because as of at by for with about to from in on off into over under than "
        "then there here when where while how why all any both each few more most other some such "
        "no nor not only own same just can could will would should may might must shall do does "
        "did done doing has have had having was were been being am is are be get gets got getting "
        "go goes going went one ones thing things lot lots much many even ever never still yet "
        "again always often sometimes usually currently now recently already actually quite "
        "pretty well back up down out around during before after since until s t d ll m re ve yes "
        "oh ok okay"
    )
)
"""Words that carry no content of their own."""
LIGHT = word_set(
    "like love enjoy adore hate dislike prefer want need own think know feel make take use "
    "try say tell person people user speaker call name old year"
)
"""Verbs and nouns that any memory may be worded with."""

NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
} | {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "hundred": "100"}

NEGATIONS = word_set("not no never nobody nothing without neither stop quit longer")

_stemmer = snowballstemmer.stemmer("porter")


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """The Porter stem of a lower-case word."""
    return str(_stemmer.stemWord(word))


def expand(text: str) -> str:
    """Lower case, with contractions written out: "I'm" is "i am"."""
    said = " ".join(_expanded(token) for token in text.lower().replace("’", "'").split())
    for pattern, word in PHRASES:
        said = pattern.sub(word, said)
    return said


def _expanded(token: str) -> str:
    core = token.strip('.,;:!?"()')
    whole = CONTRACTIONS.get(core) or UNAPOSTROPHED.get(core)
    if whole is None:
        whole = core
        for ending, words in ENDINGS:
            if core.endswith(ending):
                whole = core[: -len(ending)] + words
                break
        else:
            if core.endswith("'s") and core[:-2] in SUBJECTS:
                whole = core[:-2] + " is"
    return token.replace(core, whole, 1) if core else token


def words(text: str) -> list[str]:
    """Lower-case words, contractions written out, possessive endings dropped."""
    found = TOKEN.findall(expand(text))
    bare = (w.removesuffix("'s").removesuffix(".") for w in found)
    return [SPELLINGS.get(w, w) for w in bare]


def tokens(text: str) -> list[str]:
    """Stems less the few stop words: what two memories are compared by."""
    return [stem(w) for w in words(text) if w not in STOP]


def content(text: str) -> list[str]:
    """Stems of the words that carry what a text says, numbers as digits, in order."""
    found = (NUMBERS.get(w, w) for w in words(text) if w not in FUNCTION or w in NUMBERS)
    return [stem(w) for w in found if stem(w) not in _LIGHT_STEMS]


def numbers(text: str) -> set[str]:
    """The numbers in a text, words as digits ("one" is no number, it is a pronoun too)."""
    found = {number.replace(",", "") for number in DIGITS.findall(text)}
    return found | {NUMBERS[w] for w in words(text) if w in NUMBERS and w != "one"}


def names(text: str) -> set[str]:
    """Stems of capitalised words that do not begin a sentence, "I" left out."""
    found = set()
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        for token in TOKEN.findall(sentence)[1:]:
            core = re.sub(r"['’]\w+$", "", token)
            if core[0].isupper() and core.lower() not in FUNCTION:
                found.add(stem(core.lower()))
    return found


_LIGHT_STEMS = frozenset(stem(w) for w in LIGHT)
