"""Passages."""

from __future__ import annotations

import itertools
import random
import time

from bb3.search.chunk import passages


def test_a_short_text_is_one_passage() -> None:
    assert passages("One. Two.\nThree.") == ["One. Two. Three."]
    assert passages("") == []
    assert passages(" \n ") == []


def test_passages_overlap_and_lose_nothing() -> None:
    rng = random.Random(0)
    numbers = iter(range(10**6))
    text = " ".join(
        " ".join(f"w{next(numbers)}" for _ in range(rng.randint(1, 40))).capitalize() + "."
        for _ in range(100)
    )
    words = text.split()
    found = passages(text, words=60, overlap=20)
    assert all(len(passage.split()) <= 60 for passage in found)
    assert {word for passage in found for word in passage.split()} == set(words)
    place = {word: i for i, word in enumerate(words)}
    for one, two in itertools.pairwise(found):
        assert place[two.split()[0]] <= place[one.split()[-1]] + 1  # no gap
        assert place[two.split()[0]] > place[one.split()[0]]  # progress
    assert any(  # sentences that fit are told twice
        place[two.split()[0]] <= place[one.split()[-1]] for one, two in itertools.pairwise(found)
    )


def test_a_sentence_longer_than_a_passage_is_cut() -> None:
    found = passages("word " * 1000, words=100, overlap=30)
    assert [len(passage.split()) for passage in found] == [100] * 10


def test_hostile_texts_take_no_time() -> None:
    for text in (
        "." * 2_000_000, "\n" * 2_000_000, "x" * 2_000_000, '."' * 1_000_000, "A. " * 700_000,
        "Dr. " * 500_000, "1. " * 300_000, ". " + " " * 2_000_000 + "。", "a\n \n" * 300_000,
        "\n" + "1" * 2_000_000, "a\n" + " " * 2_000_000 + "b",
    ):  # fmt: skip
        begun = time.monotonic()
        assert all(passages(text)) or not text.strip()
        assert time.monotonic() - begun < 10, text[:20]
