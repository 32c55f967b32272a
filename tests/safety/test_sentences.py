from __future__ import annotations

import pytest

from bb3.safety.sentences import LONGEST, last_sentences, sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said "no." Then left', ['He said "no.', "Then left"]),
        ("3.14 is pi", ["3.14 is pi"]),
        ("a\nb\n\nc", ["a", "b", "c"]),
        ("", [""]),
        ("\n\n", [""]),
    ],
)
def test_sentences(text: str, expected: list[str]):
    assert sentences(text) == expected


def test_nothing_is_lost_and_nothing_is_long():
    text = "x" * (LONGEST * 2 + 5)
    assert "".join(sentences(text)) == text
    assert max(map(len, sentences(text))) == LONGEST


def test_last_sentences():
    assert last_sentences("One. Two. Thr", 100) == "Two. Thr"
    assert last_sentences("One", 100) == "One"
    assert last_sentences("word " * 100, 12) == "word word "
