"""Whether a memory comes from what was said. Small models invent a lot; a memory that is lost
costs less than one that is made up.
"""

from __future__ import annotations

import re

from bb3.memory.words import NEGATIONS, content, names, numbers, stem, word_set, words

SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
CLAUSE = re.compile(r"(?<=[.!?;,])\s+|\n+|\s+(?:but|although|though|whereas)\s+", re.IGNORECASE)
PART = re.compile(r"(?<=[.!?;,])\s+|\s+(?:and|but|who|which|because|so)\s+", re.IGNORECASE)
SELF = word_set("i me my mine we our us myself")
DISLIKES = word_set("hate dislik detest despis loath")
RELATIVES = {
    stem(word): names[0]
    for names in (
        line.split()
        for line in (
            "mother mom mum mama mommy mummy", "father dad papa daddy", "parent parents", "brother",
            "sister", "sibling siblings", "son", "daughter", "child children kid kids baby",
            "wife", "husband", "spouse", "partner", "girlfriend", "boyfriend", "fiance fiancee",
            "uncle", "aunt", "cousin", "nephew", "niece", "grandmother grandma granny nana",
            "grandfather grandpa", "grandson", "granddaughter", "roommate", "boss", "dog puppy",
            "cat kitten", "parrot", "horse pony", "hamster", "rabbit", "twin",
        )
    )
    for word in names
}  # fmt: skip
"""Stems of those a person speaks of, each with one name for it."""
SUBJECT = re.compile(r"^(?:\W*(?:and|well|so|oh|yes|yeah|also)\W+)*(?:my|our)((?:\s+\w+){1,3})")


def why_ungrounded(memory: str, source: str, *, share: float = 0.5) -> str | None:
    """Why ``memory`` cannot have been learned from ``source``; None when it can.

    Args:
        memory: a statement in the first person.
        source: the utterance of the same person.
        share: least share of the memory's content words that must occur there.
    """
    said = set(content(source)) | {stem(word) for word in words(source)}
    if made_up := names(memory) - said:
        return f"names what was not said ({', '.join(sorted(made_up))})"
    if made_up := numbers(memory) - numbers(source):
        return f"numbers that were not said ({', '.join(sorted(made_up))})"
    if made_up := _relatives(memory) - _relatives(source):
        return f"people that were not spoken of ({', '.join(sorted(made_up))})"
    told = _told(source)
    there = set(content(told)) | _relatives(told)
    here = [RELATIVES.get(word, word) for word in content(memory)]
    if not here:
        return None if numbers(memory) else "it says nothing"
    if sum(word in there for word in here) < share * len(here):
        return "invented"
    for part in PART.split(memory):
        if reason := _why_not_said(part, told, there):
            return reason
    return None


def _why_not_said(part: str, told: str, there: set[str]) -> str | None:
    """Why one clause of a memory does not follow from what was told."""
    here = {RELATIVES.get(word, word) for word in content(part)}
    if not here:
        return None
    if not here & there:
        return "partly invented"
    clause = max(CLAUSE.split(told), key=lambda c: len(here & (set(content(c)) | _relatives(c))))
    common = here & (set(content(clause)) | _relatives(clause))
    if 3 * len(common) >= 2 * len(here) and negative(clause) != negative(part):
        return "the opposite was said"
    if somebody := _other_subject(clause, part):
        return f"said of somebody else ({somebody})"
    return None


def _relatives(text: str) -> set[str]:
    return {RELATIVES[stem(word)] for word in words(text) if stem(word) in RELATIVES}


def negative(text: str) -> bool:
    """Whether a statement denies: "not", "never", "stopped", or a word of dislike."""
    stems = {stem(word) for word in words(text)}
    denies = bool(stems & {stem(word) for word in NEGATIONS}) or "used to" in text.lower()
    return denies != bool(stems & DISLIKES)


def _told(source: str) -> str:
    """The source less its questions to the other; one about oneself tells something."""
    sentences = SENTENCE.split(source)
    return " ".join(s for s in sentences if "?" not in s or set(words(s)) & SELF)


def _other_subject(clause: str, part: str) -> str:
    """The relative that a clause is about, where the memory leaves them out."""
    found = SUBJECT.match(" ".join(words(clause)))
    if not found or {"i", "we"} & set(words(clause)):
        return ""
    return next(iter(sorted(_relatives(found[1]) - _relatives(part))), "")
