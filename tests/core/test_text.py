"""Sentences of chats and of documents."""

from __future__ import annotations

import pytest

from bb3.core.text import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t ", []),
        ("One", ["One"]),
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        ("It costs 3.50 in the U.S. today. Yes.", ["It costs 3.50 in the U.S. today.", "Yes."]),
        ("Dr. No met J. R. Smith. They spoke.", ["Dr. No met J. R. Smith.", "They spoke."]),
        ("A paragraph\n\nanother one", ["A paragraph", "another one"]),
        ("wrapped\nline. Next", ["wrapped\nline.", "Next"]),
        ("Things:\n- one\n- two\n1. three", ["Things:", "- one", "- two", "1. three"]),
    ],
)
def test_sentences_of_documents(text: str, expected: list[str]) -> None:
    assert sentences(text, wrapped=True) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\n ", []),
        ("I live in Oslo\nI have a dog", ["I live in Oslo", "I have a dog"]),
        ("i ski a lot. what about you?", ["i ski a lot.", "what about you?"]),
        ('He said "Go." I met Dr. No!', ['He said "Go."', "I met Dr. No!"]),
    ],
)
def test_sentences_of_chats(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected
