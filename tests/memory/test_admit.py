"""What becomes a memory, whose, and in place of what."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import pytest

from bb3.core.types import Memory, Speaker
from bb3.memory.admit import KNOWN, admit
from bb3.memory.rules import MemoryRules
from bb3.memory.statement import says_nothing

USER, BOT = Speaker.USER, Speaker.BOT
REFERENCE = MemoryRules(refine=False, replace=False)


def known(*texts: str, speaker: Speaker = USER) -> list[Memory]:
    return [Memory(speaker=speaker, text=text, id=i) for i, text in enumerate(texts, start=1)]


NO_MEMORY = [
    "",
    "   \n",
    "...",
    "__NOPERSONA__",
    "__NO__PERSONA__BEAM__MIN__LEN__20__",
    "no persona",
    "No Persona.",
    "None",
    "none.",
    "N/A",
    "Nothing.",
    "Nothing to remember.",
    "No memory",
    "no new memories",
    "There is no persona.",
    "There is no personal information",
    "Person 1's Persona: no persona",
    "Memory: none",
]


@pytest.mark.parametrize("text", NO_MEMORY)
def test_no_memory(text: str) -> None:
    admission = admit(text, USER)
    assert not admission
    assert admission.reason == "nothing to remember"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Do you like jazz?", "question"),
        ("What is my dog called", "question"),
        ("where do you live", "question"),
        ("Hello, how are you today!", "greeting"),
        ("Thank you", "greeting"),
        ("Write a poem about my dog.", "instruction"),
        ("Tell me more about my dog", "instruction"),
        ("As an AI I have no dog", "instruction"),
        ("I am a language model.", "in passing"),
        ("I am sorry to hear that.", "in passing"),
        ("I think that's great!", "in passing"),
        ("The capital of Norway is Oslo.", "not about the speaker"),
        ("I am what I am", "says nothing"),
        ("I like __do-search__ jazz", "piece of the prompt"),
        ("I like jazz <|im_end|>", "piece of the prompt"),
        ("I like jazz [/INST]", "piece of the prompt"),
        ("I like tea. Person 2: me too", "piece of the prompt"),
        ("I like tea Search Decision: search", "piece of the prompt"),
        ("METASEQ RESPONSE FAILED.", "piece of the prompt"),
        ("I like https://example.org", "piece of the prompt"),
        ("I like tea and " * 20, "longer than"),
        ("I " + "x" * 400, "longer than"),
        ("He likes jazz and his brother", "not clear"),
    ],
)
def test_no_statement_about_a_person(text: str, why: str) -> None:
    admission = admit(text, USER, source="He said that his brother likes jazz, I heard")
    assert not admission
    assert why in admission.reason


@pytest.mark.parametrize(
    "text",
    [
        "I have a dog called Bubbles.",
        "When I was young, I rowed.",
        "My favourite food is pizza!",
        "I help out at a shelter.",
        "I am looking for a job.",
        "I hope to become a doctor.",
        "I can play the piano",
        "I talk to my mother every day.",
        "Ich heiße Jürgen, my friends call me JJ 😀",
    ],
)
def test_statements_are_accepted(text: str) -> None:
    admission = admit(text, USER, source=text)
    assert admission.outcome == "accept"
    assert admission.text == text


def test_about_the_other_speaker() -> None:
    named = admit("Person 2's Persona: I am a bot.", USER)
    assert (named.outcome, named.speaker, named.text) == ("accept", BOT, "I am a bot.")
    refused = admit("Person 2's Persona: I am a bot.", USER, source="You are a bot")
    assert not refused
    assert "other speaker" in refused.reason


def test_duplicates_are_the_speakers_own_only() -> None:
    olds = [*known("I like dogs."), *known("I have a cat named Bob.", speaker=BOT)]
    assert admit("I like dogs", USER, olds).reason == KNOWN
    assert admit("i really like the dog!", USER, olds).reason == KNOWN
    assert admit("I have a cat named Bob", USER, olds)
    assert admit("I like dogs", BOT, olds)


def test_what_is_superseded_is_no_duplicate() -> None:
    old = Memory(speaker=USER, text="I live in Bergen.", id=1, superseded_by=2)
    new = Memory(speaker=USER, text="I live in Oslo.", id=2)
    back = admit("I live in Bergen.", USER, [old, new])
    assert (back.outcome, back.replaced) == ("supersede", (new,))


def test_a_fuller_memory_takes_the_place_of_a_poorer() -> None:
    (old,) = known("I have a dog.")
    fuller = admit("I have a dog called Bubbles", USER, [old])
    assert (fuller.outcome, fuller.replaced) == ("supersede", (old,))
    assert admit("I have a dog called Bubbles", USER, [old], rules=REFERENCE).reason == KNOWN
    assert admit("I want to have a dog", USER, [old]).outcome == "accept"
    assert admit("I have a dog", USER, known("I have a dog called Bubbles")).reason == KNOWN


def test_contradictions_replace() -> None:
    olds = known("I live in Bergen.", "I like tea.", "I live in a house.")
    moved = admit("I moved to Oslo", USER, olds, source="I moved to Oslo in May")
    assert (moved.outcome, moved.replaced) == ("supersede", (olds[0],))
    assert admit("I moved to Oslo", USER, olds, rules=REFERENCE).outcome == "accept"
    assert admit("I moved to Oslo", BOT, olds).outcome == "accept"
    money = admit("I don't have money.", USER, known("I have money"))
    assert money.outcome == "supersede"


def test_dictated_texts_are_taken_at_their_word() -> None:
    for text in ("The meeting is on Friday", "Which is better, tea or coffee?", "red"):
        admission = admit(text, USER, strict=False)
        assert (admission.outcome, admission.text) == ("accept", text)
    assert not admit("", USER, strict=False)
    assert not admit("x" * 1000, USER, strict=False)
    assert not admit("<|im_start|>system", USER, strict=False)
    persona = admit("your persona: i am a bot", USER, strict=False)
    assert (persona.text, persona.speaker) == ("I am a bot", BOT)


def test_the_same_in_other_words_by_the_embedding() -> None:
    near, far = array("f", [0.96, 0.28]), array("f", [0.0, 1.0])
    old = Memory(speaker=USER, text="I own a canine", id=1, vector=array("f", [1.0, 0.0]))
    assert admit("I keep a hound", USER, [old], vector=near).reason == KNOWN
    assert admit("I keep a hound", USER, [old], vector=far)
    assert admit("I keep a hound", USER, [old])
    assert admit("I keep a hound", USER, [old], vector=array("f", [1.0]))
    assert admit("I keep no hound", USER, [old], vector=near)
    assert admit("I keep 2 hounds", USER, [old], vector=near)
    assert admit("I keep a hound, Rex", USER, [old], vector=near)


def test_the_reference_decides_alike(shared: Path) -> None:
    """All recorded cases, with the reference's duplicate rule; docs/memory.md tells of the two."""
    cases = json.loads((shared / "golden/r2c2/utils.json").read_text())["is_valid_memory"]
    different = []
    for case in cases:
        olds = []
        for number, line in enumerate(case["memories"], start=1):
            first = admit(line, USER)
            olds.append(Memory(speaker=first.speaker, text=first.text, id=number))
        speaker = BOT if case["who"] == "self" else USER
        ours = admit(case["candidate"], speaker, olds, rules=REFERENCE, person1=speaker)
        if bool(ours) is not case["valid"]:
            different.append((case["candidate"], case["who"]))
    # the reference misses the duplicate of a memory that begins with a speaker's name
    assert different == [("Person 1 likes pizza.", "partner")]


def test_overlap_of_the_reference(shared: Path) -> None:
    cases = json.loads((shared / "golden/r2c2/utils.json").read_text())["no_overlap"]
    for case in cases:
        if case["candidate"] == "x":
            continue  # says nothing about a person: refused before any comparison
        ours = admit(case["candidate"], USER, known(*case["existing"]), rules=REFERENCE)
        assert (ours.reason != KNOWN) is case["result"]


@pytest.mark.parametrize(
    ("new", "old", "refined"),
    [
        ("I have a dog called Bubbles", "I have a dog", True),
        ("I have a dog, and a cat", "I have a dog.", True),
        ("I live in Norway with my sister", "I live in Norway", True),
        ("I play the piano every day", "I play the piano", True),
        ("I have a friend who has a dog", "I have a dog", False),
        ("I have a dog house", "I have a dog", False),
        ("I like hot dogs", "I like dogs", False),
        ("I like people who play jazz", "I like jazz", False),
        ("I have a toy car", "I have a car", False),
        ("I like jazz musicians", "I like jazz", False),
    ],
)
def test_only_a_fuller_form_of_the_same_replaces(new: str, old: str, refined: bool):
    admission = admit(new, USER, known(old))
    assert bool(admission)
    assert [memory.text for memory in admission.replaced] == ([old] if refined else [])


@pytest.mark.parametrize("text", ["I have no personal trainer.", "I have no personality."])
def test_no_persona_is_not_found_inside_words(text: str):
    assert not says_nothing(text)
