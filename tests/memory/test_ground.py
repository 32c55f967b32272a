"""Memories must come from what was said."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from bb3.memory.ground import negative, why_ungrounded


@pytest.mark.parametrize(
    ("memory", "source"),
    [
        ("I have a dog called Bubbles.", "Hi! I have a dog called Bubbles."),
        ("I have 3 cats", "there are three cats at my place"),
        ("I like jazz", "Jazz is what I like most, do you?"),
        ("I live in Oslo.", "i moved to oslo last year. what about you?"),
        ("I have two children", "My two kids keep me busy"),
        ("I don't like jazz", "I really can't stand jazz"),
        ("I stopped smoking.", "I no longer smoke, luckily"),
        ("I am 31", "31 since yesterday!"),
        ("I have a dog", "Did I tell you that I have a dog?"),
        ("My brother lives in Oslo", "My brother lives in Oslo"),
        ("I live in Oslo with my brother", "My brother and I live in Oslo"),
    ],
)
def test_what_was_said(memory: str, source: str) -> None:
    assert why_ungrounded(memory, source) is None


@pytest.mark.parametrize(
    ("memory", "source", "why"),
    [
        ("I live in Norway", "What is the capital of Norway?", "invented"),
        ("I like jazz", "Do you like jazz?", "invented"),
        ("I am a software engineer.", "Hello there!", "invented"),
        ("I have a dog called Max", "I have a dog", "names"),
        ("I am from New York", "I love the city", "names"),
        ("I am 32", "I am 31", "numbers"),
        ("I have five dogs", "I have dogs", "numbers"),
        ("I have a brother in Oslo", "I live in Oslo", "people"),
        ("I live in Oslo", "My brother lives in Oslo", "somebody else (brother)"),
        ("I like jazz", "I don't like jazz", "the opposite"),
        ("I hate jazz", "I love jazz", "the opposite"),
        ("I have a dog called Bubbles who loves to fetch balls", "My dog is Bubbles", "invented"),
        ("I have a dog and play the violin", "I have a dog", "invented"),
        ("I have it", "I have it, too", "says nothing"),
    ],
)
def test_what_was_not_said(memory: str, source: str, why: str) -> None:
    reason = why_ungrounded(memory, source)
    assert reason is not None
    assert why in reason


@pytest.mark.parametrize(
    ("text", "denies"),
    [
        ("I like jazz", False),
        ("I don't like jazz", True),
        ("I hate jazz", True),
        ("I don't hate jazz", False),
        ("I no longer smoke", True),
        ("I used to smoke", True),
        ("I gave up smoking", True),
        ("I know nothing", True),
        ("", False),
    ],
)
def test_denial(text: str, denies: bool) -> None:
    assert negative(text) is denies


def test_on_real_conversations(shared: Path) -> None:
    """Lines that people wrote for an utterance, against the same lines dealt at random."""
    folder = shared / "data/msc/msc_personasummary"
    rows = [
        json.loads(line)
        for session in (1, 2, 3)
        for line in (folder / f"session_{session}/valid.txt").read_text("utf-8").splitlines()
    ]
    pairs = [
        (turn["persona_text"], turn["text"])
        for row in rows
        for turn in row["dialog"]
        if turn.get("persona_text")
    ]
    assert len(pairs) > 300
    lines = [line for line, _ in pairs]
    random.Random(3).shuffle(lines)
    kept = sum(why_ungrounded(*pair) is None for pair in pairs) / len(pairs)
    fooled = sum(
        why_ungrounded(line, said) is None
        for line, (own, said) in zip(lines, pairs, strict=True)
        if line != own
    ) / len(pairs)
    assert kept > 0.55
    assert fooled < 0.02
