"""Whom a memory is about: labels and prefixes off, third person to first."""

from __future__ import annotations

import re

from bb3.core.types import Speaker
from bb3.memory.words import word_set, words

PREAMBLE = re.compile(
    r"^\s*(?:[-*•>]\s+|\d+[.)]\s+)?(?:(?:sure|okay|ok)[,!.]\s+)?"
    r"(?:(?:here(?: is|'s) )?(?:the |a |new )*(?:memory|personal fact|fact|note|summary)\s*:\s*)?"
    r"(?:(?:please )?(?:remember|note) that (?=i\b|my\b))?",
    re.IGNORECASE,
)
OWNED = re.compile(
    r"^(?P<who>person [12]|your|my|partner|(?:the )?user|(?:the )?(?:bot|assistant|chatbot))"
    r"(?:['’]s)?\s+persona\s*:\s*",
    re.IGNORECASE,
)
LABEL = re.compile(
    r"^(?P<who>person [12]|(?:the )?(?:user|human|bot|assistant|chatbot|speaker|person))"
    r"(?:\s*:\s*|(?P<owner>['’]s)\s+|\s+(?=\w))",
    re.IGNORECASE,
)
REPORT = re.compile(
    r"^(?P<who>person [12]|(?:the )?(?:user|human|bot|assistant|speaker)) "
    r"(?:(?:has |have )?(?:mention|stat|shar|reveal|express|explain)(?:s|es|ed)|says|said|"
    r"tells (?:me|us)|told (?:me|us)) (?:that )?(?P<they>they|he|she|i|their|his|her|my)\b\s*",
    re.IGNORECASE,
)
"""What somebody is reported to have said of themselves."""
VERBS = {
    "is": "am", "isn't": "am not", "has": "have", "hasn't": "haven't", "does": "do",
    "doesn't": "don't", "goes": "go", "was": "was", "does not": "do not", "are": "am",
    "aren't": "am not", "were": "was",
}  # fmt: skip
KEEP_S = word_set("was always sometimes as less this")
ADVERBS = word_set("also really always often never still currently just now usually")
BARE = word_set(
    "likes loves enjoys has lives works owns plays hates wants is prefers speaks studies "
    "drives eats drinks reads writes collects moved likes dislikes teaches runs"
)
"""Verbs that a memory without a subject begins with: "Likes jazz"."""
THIRD = {
    "he": ("he", "him", "his"),
    "she": ("she", "her", "hers"),
    "they": ("they", "them", "their"),
}
POSSESSIVE = {"his": "he", "her": "she", "their": "they"}
SELF = word_set("i me my mine we our us myself")


def attribute(
    text: str, speaker: Speaker, *, source: str | None = None, person1: Speaker = Speaker.USER
) -> tuple[str, Speaker] | None:
    """A memory as its own speaker would say it, and who that is.

    Args:
        text: what a memory generator wrote.
        speaker: whose utterance it was written from.
        source: that utterance, to tell what "you" and "they" refer to.
        person1: whom the prompt called ``Person 1``.

    Returns:
        the text without labels, in the first person where it spoke of its subject in another,
        and the speaker it names; None when it speaks of somebody it does not name.
    """
    text = PREAMBLE.sub("", text, count=1).strip().strip("\"'“”‘’").strip()
    text = REPORT.sub(_directly, text)
    if OWNED.match(text):
        return split_prefix(text, speaker, person1=person1)
    found = LABEL.match(text)
    if found and not (found["who"].lower() == "person" and not found["owner"]):
        speaker = _named(found["who"], speaker, person1)
        rest = text[found.end() :]
        if found["owner"]:
            return _first_person("my " + rest), speaker
        if found.group().rstrip().endswith(":"):
            return _upper(rest), speaker
        return _first_person("I " + rest, verb=True), speaker
    return _pronoun(text, speaker, source)


def _directly(report: re.Match[str]) -> str:
    """What is reported, said directly: of "The user said that their ..." "The user's ..."."""
    owner = report["they"].lower() in ("their", "his", "her", "my")
    return f"{report['who']}{'’s' if owner else ''} "


def split_prefix(
    text: str, speaker: Speaker, *, person1: Speaker = Speaker.USER
) -> tuple[str, Speaker]:
    """A text without a prefix such as ``your persona:`` or ``Person 1's Persona:``, and the
    speaker that the prefix names; without one, the text and ``speaker``.
    """
    found = OWNED.match(text)
    if found is None:
        return text, speaker
    return _upper(text[found.end() :]), _named(found["who"], speaker, person1)


def _named(who: str, speaker: Speaker, person1: Speaker) -> Speaker:
    who = who.lower().removeprefix("the ")
    if who == "person 1":
        return person1
    if who == "person 2":
        return person1.other
    if who in ("user", "human", "partner"):
        return Speaker.USER
    if who in ("bot", "assistant", "chatbot", "your"):
        return Speaker.BOT
    return speaker


def _pronoun(text: str, speaker: Speaker, source: str | None) -> tuple[str, Speaker] | None:
    first, _, rest = text.partition(" ")
    word = re.sub(r"['’](s|re|ve)$", "", first.lower())
    verb = {"s": "is ", "re": "are ", "ve": "have "}.get(first.lower()[len(word) + 1 :], "")
    said = set(words(source)) if source is not None else set()
    if word in BARE:
        return _first_person(f"I {word} {rest}", verb=True), speaker
    if word in ("you", "your"):
        if source is not None and (not said & SELF or said & {"you", "your"}):
            return None
        start = "I " + verb if word == "you" else "my "
        return _first_person(start + rest, verb=word == "you"), speaker
    group = word if word in THIRD else POSSESSIVE.get(word)
    if group is None:
        return _upper(text), speaker
    if said & set(THIRD[group]) or (source is not None and not said & SELF):
        return None
    start = "I " + verb if word in THIRD else "my "
    return _first_person(start + rest, verb=word in THIRD), speaker


def _first_person(text: str, *, verb: bool = False) -> str:
    """The subject became "I" or "my"; the verb after it and the possessives follow."""
    parts = text.split()
    if verb:
        at = 1
        while at < len(parts) and parts[at].lower() in ADVERBS:
            at += 1
        if at < len(parts):
            parts[at] = _verb(parts[at])
    parts[1:] = [{"their": "my", "his": "my", "your": "my"}.get(p, p) for p in parts[1:]]
    for at in range(2, len(parts)):
        if parts[at] == "they" and parts[at - 1] in ("and", "but", "that", "because"):
            parts[at] = "I"
    return _upper(" ".join(parts))


def _verb(word: str) -> str:
    lower = word.lower()
    if lower in VERBS:
        return VERBS[lower]
    if lower in KEEP_S or not lower.endswith("s") or lower.endswith("ss"):
        return word
    if lower.endswith("ies") and len(lower) > 4:
        return lower[:-3] + "y"
    if lower.endswith(("ches", "shes", "sses", "xes", "zes")):
        return lower[:-2]
    return lower[:-1]


def _upper(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:]
