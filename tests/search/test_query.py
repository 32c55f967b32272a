"""What is read out of a query."""

from __future__ import annotations

import pytest

from bb3.search.query import MAX_WORDS, any_of, parse, tidy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What is the capital of Norway?", ("capital", "norway")),
        ("who wrote Hamlet", ("wrote", "hamlet")),
        ("Norway's and the Beatles’ songs", ("norway", "beatles", "songs")),
        ("don't O'Brien", ("o", "brien")),
        ("jazz jazz JAZZ", ("jazz",)),
        ("vitamin c, apollo 8", ("vitamin", "c", "apollo", "8")),
        ("The Who", ("the", "who")),
        ("STRASSE Straße", ("strasse",)),
        ("ｆｕｌｌ ｗｉｄｔｈ", ("full", "width")),
        ("", ()),
        ("?!", ()),
    ],
)
def test_words(text: str, words: tuple[str, ...]) -> None:
    assert parse(text).words == words


@pytest.mark.parametrize(
    "text",
    ["did I sleep well", "Are you tired?", "pizza near me", "how are you", "the game last night"],
)
def test_personal_questions_ask_for_nothing(text: str) -> None:
    assert parse(text).words == ()


@pytest.mark.parametrize(
    "text",
    [
        "can you tell me about jazz",
        "Do you know what jazz is?",
        "how do you play jazz",
        "How can I learn jazz?",
        "why do we like jazz",
        "what do you call jazz without drums",
        "where can I find jazz",
    ],
)
def test_polite_and_general_questions_do(text: str) -> None:
    assert "jazz" in parse(text).words


def test_ties() -> None:
    assert parse("what is my dog called today").ties == ("my", "today")


def test_limits() -> None:
    assert len(parse(" ".join(f"w{i}" for i in range(1000))).words) == MAX_WORDS
    assert len(tidy("x" * 10_000)) == 1000
    assert tidy(" a\n\0 b\ud800 ") == "a b?"


def test_nothing_is_syntax() -> None:
    assert any_of(['a"b', "OR"]) == '"a""b" OR "OR"'


def test_ones_own_texts_may_be_about_oneself() -> None:
    assert parse("What is my cat called?").ties == ("my",)
    assert parse("What is my cat called?", general=False) == parse("cat", general=False)
    assert parse("Did I feed the cat?").words == ()
    assert parse("Did I feed the cat?", general=False).words == ("feed", "cat")
    assert parse("today", general=False).words == ("today",)
