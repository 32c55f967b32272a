"""Finding memories."""

from __future__ import annotations

import math
from array import array

import pytest

from bb3.core.types import Memory, Speaker
from bb3.memory.retrieve import bm25, retrieve


def memory(number: int, text: str, *vector: float) -> Memory:
    return Memory(
        speaker=Speaker.USER,
        text=text,
        id=number,
        vector=array("f", vector) if vector else None,
    )


KNOWN = [
    memory(1, "I have a dog called Bubbles."),
    memory(2, "I live in Oslo."),
    memory(3, "I work as a nurse."),
    memory(4, "I like walking my dogs in the woods."),
]


def test_by_words() -> None:
    found = retrieve("What is my dog called?", KNOWN, 2)
    assert [m.id for m, _ in found] == [1, 4]
    assert found[0][1] == 1.0
    assert 0 < found[1][1] < 1


def test_inflected_words_count() -> None:
    assert retrieve("Do you walk?", KNOWN, 1)[0][0].id == 4
    assert retrieve("any NURSES here", KNOWN, 1)[0][0].id == 3


def test_without_a_hint_the_newest_come_first() -> None:
    assert [m.id for m, _ in retrieve("xyzzy", KNOWN, 10)] == [4, 3, 2, 1]
    assert [score for _, score in retrieve("", KNOWN, 10)] == [0.0] * 4


def test_by_meaning_where_the_words_differ() -> None:
    known = [memory(1, "I own a puppy", 1.0, 0.0), memory(2, "I live in Rome", 0.0, 1.0)]
    assert retrieve("which pets", known, 1, array("f", [0.9, 0.1]))[0][0].id == 1
    assert retrieve("which pets", known, 1, array("f", [0.1, 0.9]))[0][0].id == 2


def test_words_still_count_beside_vectors() -> None:
    known = [memory(1, "I met Xanthippe", 0.5, 0.5), memory(2, "I met Jane", 0.5, 0.5)]
    assert retrieve("who is Xanthippe", known, 1, array("f", [1.0, 0.0]))[0][0].id == 1


@pytest.mark.parametrize("vector", [None, array("f", [1.0]), array("f", [1.0, 0.0, 0.0])])
def test_vectors_that_are_missing_or_do_not_fit(vector: array[float] | None) -> None:
    known = [memory(1, "I row", 1.0, 0.0), memory(2, "I sail")]
    assert [m.id for m, _ in retrieve("do you row", known, 2, vector)] == [1, 2]


def test_a_mix_of_memories_with_and_without_vectors() -> None:
    known = [memory(1, "I sail"), memory(2, "I row", 0.0, 1.0), memory(3, "I ski", 1.0, 0.0)]
    assert retrieve("boats", known, 1, array("f", [0.0, 1.0]))[0][0].id == 2


def test_edges() -> None:
    assert retrieve("x", [], 5) == []
    assert retrieve("x", KNOWN, 0) == []
    assert len(retrieve("dog", KNOWN, 99)) == 4
    assert [m.id for m, _ in retrieve("x", [memory(0, ""), memory(0, "")], 5)] == [0, 0]


def test_bm25_by_hand() -> None:
    scores = bm25("dog", ["dog", "dog dog", "cat", "cat cat"])
    idf = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))
    assert scores[0] == pytest.approx(idf * 2.2 / (1 + 1.2 * (0.25 + 0.75 / 1.5)))
    assert scores[1] == pytest.approx(idf * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 2 / 1.5)))
    assert list(scores[2:]) == [0.0, 0.0]
