"""Whether a text becomes a memory, whose, and what it replaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bb3.core.types import Memory, Speaker, Vector
from bb3.memory.attributes import attributes
from bb3.memory.contradict import contradicts, family
from bb3.memory.ground import negative, why_ungrounded
from bb3.memory.rules import MemoryRules
from bb3.memory.speaker import attribute, split_prefix
from bb3.memory.statement import leaks, says_nothing, why_no_statement
from bb3.memory.words import content, names, numbers, tokens, word_set

CONTINUES = word_set(
    "about after and around as at because before behind both but by called during every for from "
    "if in into named near next of on once or over since so that though to together under until "
    "when where which while who whose with without"
)
"""Words with which a statement goes on, so that what stood before them still holds."""
KNOWN = "already known"
"""The reason of a refusal that loses nothing."""
SAME_MEANING = 0.95
"""Cosine from which two memories with the same names and numbers are taken for one."""
SAME_LENGTH = 0.6
"""A new memory inside an older one adds nothing when it is at least this share of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What became of a text.

    Attributes:
        outcome: ``accept``; ``refuse`` (see ``reason``); ``supersede`` (accepted, and ``replaced``
            are no longer true or say less).
        speaker, text: whom it is about and how it reads as a memory, in the first person.
        memory: as it was stored; None before that and when refused.
    """

    outcome: Literal["accept", "refuse", "supersede"]
    speaker: Speaker
    text: str
    reason: str = ""
    replaced: tuple[Memory, ...] = ()
    memory: Memory | None = None

    def __bool__(self) -> bool:
        return self.outcome != "refuse"


def admit(
    text: str,
    speaker: Speaker,
    existing: Sequence[Memory] = (),
    *,
    rules: MemoryRules | None = None,
    source: str | None = None,
    strict: bool = True,
    person1: Speaker = Speaker.USER,
    vector: Vector[float] | None = None,
) -> Admission:
    """Judge a text by itself, then against what is known: ``judge`` and ``compare``."""
    new = judge(text, speaker, rules=rules, source=source, strict=strict, person1=person1)
    return compare(new, existing, rules=rules, vector=vector) if new else new


def judge(
    text: str,
    speaker: Speaker,
    *,
    rules: MemoryRules | None = None,
    source: str | None = None,
    strict: bool = True,
    person1: Speaker = Speaker.USER,
) -> Admission:
    """Judge a text that wants to become a memory, by itself.

    Args:
        text: as the memory generator wrote it, or as a person dictated it.
        speaker: whose utterance it was written from.
        rules: the rules in force; None: the defaults.
        source: the utterance; with it the memory must be grounded there.
        strict: whether a model wrote the text. What a person dictated need not be a statement
            about that person, and is taken at its word.
        person1: whom the prompt called ``Person 1``.
    """
    rules = rules or MemoryRules()
    raw = " ".join(text.split())

    def refuse(reason: str) -> Admission:
        return Admission(outcome="refuse", speaker=speaker, text=raw, reason=reason)

    named = split_prefix(raw, speaker, person1=person1)
    if strict and not says_nothing(raw):
        # whom it is about comes first: labels in front are taken off, those inside are leaks
        attributed = attribute(raw, speaker, source=source, person1=person1)
        if attributed is None:
            return refuse("it is not clear whom it is about")
        named = attributed
    text, whose = named
    if reason := why_unfit(text, rules) or (strict and why_no_statement(text)):
        return refuse(reason)
    if strict and source is not None and rules.grounded:
        if whose is not speaker:
            return refuse("about the other speaker, who did not say it")
        if reason := why_ungrounded(text, source, share=rules.min_grounded):
            return refuse(reason)
    return Admission(outcome="accept", speaker=whose, text=text)


def why_unfit(text: str, rules: MemoryRules) -> str | None:
    """Why a text can be nobody's memory; None if it can."""
    if says_nothing(text):
        return "nothing to remember"
    if len(text.split()) > rules.max_words or len(text) > rules.max_chars:
        return f"longer than {rules.max_words} words or {rules.max_chars} characters"
    return "a piece of the prompt" if leaks(text) else None


def compare(
    new: Admission,
    existing: Sequence[Memory],
    *,
    rules: MemoryRules | None = None,
    vector: Vector[float] | None = None,
) -> Admission:
    """Hold an acceptable memory against the speaker's others.

    Args:
        existing: the current memories, of both speakers.
        vector: the embedding of the text, to find memories that say the same in other words.
    """
    rules = rules or MemoryRules()
    own = [m for m in existing if m.speaker is new.speaker and m.superseded_by is None]
    replaced: list[Memory] = []
    for old in own:
        if rules.replace and contradicts(new.text, old.text):
            replaced.append(old)
        elif _subset(old.text, new.text):
            if not rules.refine or _says_no_more(new.text, old.text):
                return _known(new)
            if _refines(new.text, old.text):
                replaced.append(old)
        elif rules.refine and (_covers(old.text, new.text) or _same(new.text, old, vector)):
            return _known(new)
    if replaced:
        return replace(new, outcome="supersede", replaced=tuple(replaced))
    return new


def _known(new: Admission) -> Admission:
    return replace(new, outcome="refuse", reason=KNOWN)


def _subset(part: str, whole: str) -> bool:
    """The rule of BlenderBot 3: no token of ``part`` is missing from ``whole``."""
    return set(tokens(part)) <= set(tokens(whole))


def _says_no_more(new: str, old: str) -> bool:
    """``new``, which has all the tokens of ``old``, adds none that carries content."""
    return set(content(new)) <= set(content(old)) and _alike(new, old)


def _alike(new: str, old: str) -> bool:
    """Both affirm or both deny, by the same kind of verb: not so "I have a dog" and "I want to
    have a dog".
    """
    return negative(new) == negative(old) and family(new) == family(old)


def _refines(new: str, old: str) -> bool:
    """``new`` goes on where ``old`` ends: "I have a dog" and "I have a dog called Rex", not "I have
    a dog house" nor "I have a friend who has a dog".
    """
    long, short = new.rstrip(".!").split(), old.rstrip(".!").split()
    goes_on = [w.lower().strip(",") for w in long[: len(short)]] == [
        w.lower().strip(",") for w in short
    ]
    if not goes_on or len(long) == len(short) or not _alike(new, old):
        return False
    return long[len(short) - 1].endswith(",") or long[len(short)].lower() in CONTINUES


def _covers(old: str, new: str) -> bool:
    """``old`` already says what ``new`` does, and little else."""
    wide, narrow = set(tokens(old)), set(tokens(new))
    return (
        narrow <= wide and len(narrow) >= SAME_LENGTH * len(wide) and negative(new) == negative(old)
    )


def _same(new: str, old: Memory, vector: Vector[float] | None) -> bool:
    """The same in other words, by the embedding; names, numbers and attributes must agree."""
    if vector is None or old.vector is None or len(vector) != len(old.vector):
        return False
    if sum(a * b for a, b in zip(vector, old.vector, strict=True)) < SAME_MEANING:
        return False
    return (
        numbers(new) == numbers(old.text)
        and names(new) == names(old.text)
        and negative(new) == negative(old.text)
        and set(attributes(new)) == set(attributes(old.text))
    )
