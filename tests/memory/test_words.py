"""Tokens and stems, against the reference's where it is not at fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bb3.core.text import f1
from bb3.memory.words import content, expand, names, numbers, tokens


def test_tokens_are_those_of_the_reference(shared: Path) -> None:
    cases = json.loads((shared / "golden/r2c2/utils.json").read_text())["normal_tokenizer"]
    ours = {case["text"]: tokens(case["text"]) for case in cases}
    theirs = {case["text"]: case["default"] for case in cases}
    # docs/memory.md: the reference takes the "U." of "U.S.A." for "you"
    different = {text for text in ours if ours[text] != theirs[text]}
    assert different == {"The U.S.A. is big."}
    assert ours["The U.S.A. is big."] == ["u.s.a", "big"]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("I'm 31", "i am 31"),
        ("It’s mine", "it is mine"),
        ("Tom's dog won't eat", "tom's dog will not eat"),
        ("they've, we'll; I'd", "they have, we will; i would"),
        ("I cant and dont", "i can not and do not"),
        ("", ""),
    ],
)
def test_contractions(text: str, expanded: str) -> None:
    assert expand(text) == expanded


def test_content_is_what_tells_texts_apart() -> None:
    assert content("I have a dog called Bubbles.") == ["dog", "bubbl"]
    assert content("My favourite colour is grey") == content("my favorite color is gray")
    assert content("I am what I am") == []
    assert content("ünïcödé 東京 👍") == ["ünïcödé", "東京"]


def test_numbers_and_names() -> None:
    assert numbers("I have two cats, 3.5 dogs, $8,000 and kids aged 11,9") == {
        "2", "3.5", "8000", "11", "9",
    }  # fmt: skip
    assert numbers("one of us") == set()
    assert names("Bob is my Cat. I live in New York, I'm told by Ann's aunt") == {
        "cat", "new", "york", "ann",
    }  # fmt: skip


def test_overlap() -> None:
    assert f1(["a", "b"], ["b", "a"]) == 1.0
    assert f1(["a", "a"], ["a"]) == pytest.approx(2 / 3)
    assert f1([], ["a"]) == 0.0
    assert f1([], []) == 0.0
