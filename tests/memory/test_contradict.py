"""Which memories replace which: tables of pairs of a newer and an older memory."""

from __future__ import annotations

import pytest

from bb3.memory.attributes import Attribute, attributes
from bb3.memory.contradict import contradicts

REPLACES = [
    ("I moved to Oslo", "I live in Bergen"),
    ("I live in Oslo.", "I live in Bergen."),
    ("I am 31", "I am 30"),
    ("I'm thirty-one years old", "I am 30."),
    ("My name is Ben", "My name is Bob"),
    ("My dog is called Rex", "My dog is called Bubbles"),
    ("My dog's name is Rex", "I have a dog called Bubbles"),
    ("I don't like jazz any more", "I like jazz"),
    ("I no longer like jazz", "I love jazz"),
    ("I hate jazz", "I like jazz"),
    ("I stopped smoking", "I smoke"),
    ("I quit smoking", "I smoke a pack a day"),
    ("I work as a nurse", "I am a teacher"),
    ("I got divorced", "I am married to Tom"),
    ("I quit my job", "I work at Tesco"),
    ("My favourite food is sushi", "My favorite food is pizza"),
    ("Sushi is my favorite food", "My favorite food is pizza"),
    ("I am vegan now", "I am a vegetarian"),
    ("I sold my car", "I have a car"),
    ("I have three dogs", "I have two dogs"),
    ("I used to live in Bergen", "I live in Bergen"),
    ("I like jazz", "I don't like jazz"),
    ("I moved from Bergen to Oslo last year", "I live in Bergen"),
    ("I don't have a dog", "I have a dog"),
    ("I no longer have a dog", "I have a dog"),
    ("I've stopped eating meat", "I eat meat"),
    ("I don't eat meat anymore", "I eat meat"),
    ("I just turned 40", "I am 39 years old"),
    ("I am single", "I am married"),
]
"""Written together with the rules."""

LEAVES = [
    ("I have a dog called Bubbles", "I have a cat called Tom"),
    ("I like rock", "I like jazz"),
    ("I don't like rock", "I like jazz"),
    ("I live in Norway", "I live in Oslo"),
    ("I live in an apartment", "I live in Oslo"),
    ("I have a dog called Rex", "I have a dog called Bubbles"),
    ("I don't have a dog", "I like my dog"),
    ("My favourite color is red", "My favourite food is pizza"),
    ("I am tired", "I am 30"),
    ("I am 30 minutes late", "I am 31"),
    ("I work as a waiter part-time too", "I work as a nurse"),
    ("I am a vegetarian", "I am a teacher"),
    ("I don't like jazz", "I like jazz and rock"),
    ("My sister is called Eva", "My sister is called Anna"),
    ("I live in Austin, Texas", "I live in Austin"),
    ("I want to live in Oslo", "I live in Bergen"),
    ("I moved to a new team", "I live in Bergen"),
    ("My brother lives in Oslo", "I live in Bergen"),
    ("I stopped smoking", "I drink"),
    ("I have two cats", "I have three dogs"),
    ("I am not a morning person", "I am a nurse"),
    ("I don't have a car", "I like cars"),
]
"""Written together with the rules."""

REPLACES_UNSEEN = [
    ("I've just moved to Berlin with my girlfriend.", "I live in Hamburg."),
    ("We live in Rome now", "I live in Milan"),
    ("I'm living in Paris these days", "I live in Lyon."),
    ("I have relocated from Boston to Denver.", "I live in Boston."),
    ("I'm 45 years old now", "I'm 44 years old."),
    ("I turned 18 yesterday!", "I am 17."),
    ("My cat's name is Felix.", "My cat is called Tom."),
    ("I don't play the piano anymore.", "I play the piano."),
    ("I gave up drinking coffee", "I drink coffee"),
    ("I'm no longer a vegetarian", "I am a vegetarian"),
    ("I'm not vegan any more", "I'm vegan"),
    ("I no longer work at Google", "I work at Google"),
    ("I work for Amazon now", "I work for Google."),
    ("I'm a plumber now", "I'm an electrician."),
    ("I got a job as a librarian", "I work as a cashier."),
    ("I retired last year", "I am a teacher."),
    ("I'm married now", "I'm single."),
    ("I got engaged last week", "I am single"),
    ("We got divorced", "I am married."),
    ("My favorite band is Queen", "My favourite band is the Beatles."),
    ("Blue is my favorite color", "My favourite colour is green"),
    ("I can't stand rock music", "I love rock music"),
    ("I now like olives", "I don't like olives"),
    ("I don't own a car", "I have a car"),
    ("I sold my house", "I own a house"),
    ("I have 3 kids", "I have two kids"),
    ("I don't smoke", "I smoke"),
    ("I am not afraid of spiders anymore", "I am afraid of spiders"),
    ("I stopped going to the gym", "I go to the gym"),
    ("I never eat meat", "I eat meat every day"),
    ("I was born in 1985", "I was born in 1984"),
    ("I moved back to Madrid last month", "I live in Seville"),
    ("I'm 52 this year", "I am 51"),
    ("My wife is called Jane", "My wife's name is Kate"),
    ("I work as a paramedic these days", "I'm a truck driver"),
    ("I do not like sushi anymore", "I enjoy sushi"),
    ("I've quit drinking alcohol", "I drink alcohol"),
    ("My favourite season is autumn", "Summer is my favorite season."),
    ("I am widowed", "I've been married for 20 years"),
    ("I haven't got a cat", "I have got a cat"),
    ("I have four grandchildren", "I have three grandchildren"),
    ("I weigh 80 kilos", "I weigh 90 kg"),
    ("I no longer collect stamps", "I collect stamps"),
    ("I hate my job", "I love my job"),
    ("I just moved to Chicago from Dallas", "I live in Dallas, Texas"),
]
"""Written after the rules, which were then mended only where the cause was general."""

LEAVES_UNSEEN = [
    ("I visited Berlin", "I live in Hamburg."),
    ("I would love to live in Japan", "I live in Hamburg"),
    ("I live near the sea", "I live in Lisbon"),
    ("I live with my parents", "I live in Denver"),
    ("I moved to a bigger flat", "I live in Denver"),
    ("I live in California", "I live in Los Angeles"),
    ("I am 6 feet tall", "I am 30 years old"),
    ("I am one of three sisters", "I am 30"),
    ("My dog is called Rex", "My cat is called Tom"),
    ("I have a parrot named Kiki", "I have a parrot named Polly"),
    ("My daughter is called Mia", "My daughter is called Zoe"),
    ("My favorite book is Dune", "My favorite movie is Dune"),
    ("I love pizza", "I love pasta"),
    ("I don't like mushrooms", "I like pizza with mushrooms"),
    ("I don't like my job", "I like my boss"),
    ("I don't like running in the rain", "I like running"),
    ("I can't swim", "I like swimming"),
    ("I am not married", "I am 30"),
    ("I volunteer at a shelter", "I work at a bank"),
    ("I also work as a tutor", "I work as a nurse"),
    ("I am a mother", "I am a teacher"),
    ("I am a big fan of jazz", "I am a teacher"),
    ("I am a good cook", "I am a nurse"),
    ("I quit smoking", "I play tennis"),
    ("I don't drink alcohol", "I drink coffee"),
    ("I have no siblings", "I have two dogs"),
    ("I never travelled to Asia", "I love to travel"),
    ("I don't have any pets", "I have a brother"),
    ("I lost my keys", "I have a car"),
    ("I have two cats", "I have a cat called Tom"),
    ("I was not born in Norway", "I live in Norway"),
    ("I don't eat fish", "I eat meat"),
    ("I hate Mondays", "I love weekends"),
    ("I don't speak French", "I speak German"),
    ("I am tired of my job", "I work as a teacher"),
    ("I moved in with Tom", "I live in Seville"),
    ("I am 20 weeks pregnant", "I am 31 years old"),
    ("I collect coins", "I collect stamps"),
    ("I do not like fish", "I like fishing"),
    ("I have four cousins", "I have three grandchildren"),
    ("My favourite teacher is Mr Smith", "My favorite season is summer"),
    ("I am an aunt", "I am a nurse"),
    ("I never learned to drive", "I work as a driver"),
    ("I work at night", "I work at a hospital"),
    ("I don't have time to read", "I like to read"),
    ("I don't live alone", "I live in Paris"),
    ("I have a dog and a cat", "I have a dog"),
    ("I am a vegetarian but I eat eggs", "I like eggs"),
    ("I lost my job", "I have a house"),
    ("I am not a fan of cats", "I have a cat"),
]
"""Written after the rules."""

MISSED = [
    ("Call me Liz", "My name is Elizabeth"),
    ("I've started to like olives", "I hate olives"),
    ("I'm allergic to nothing", "I'm allergic to peanuts"),
    ("I dropped out of college", "I am in college"),
    ("I started eating meat again", "I don't eat meat"),
]
"""Known gaps: both memories stay. A pair that is found one day moves up."""


@pytest.mark.parametrize(("new", "old"), REPLACES + REPLACES_UNSEEN)
def test_replaces(new: str, old: str) -> None:
    assert contradicts(new, old)


@pytest.mark.parametrize(("new", "old"), LEAVES + LEAVES_UNSEEN)
def test_leaves(new: str, old: str) -> None:
    assert not contradicts(new, old)


@pytest.mark.parametrize(("new", "old"), MISSED)
def test_known_gaps(new: str, old: str) -> None:
    assert not contradicts(new, old)


def test_nothing_contradicts_itself() -> None:
    texts = {text for pair in REPLACES + LEAVES + REPLACES_UNSEEN + LEAVES_UNSEEN for text in pair}
    assert [text for text in texts if contradicts(text, text)] == []


def test_across_all_pairs_only_what_belongs_together_is_replaced() -> None:
    """Each newer memory against the older ones of all other pairs, some 2,400 of them."""
    pairs = LEAVES_UNSEEN + REPLACES_UNSEEN
    hits = {
        (new, old)
        for i, (new, _) in enumerate(pairs)
        for j, (_, old) in enumerate(pairs)
        if i != j and contradicts(new, old) and not _keys(new) & _keys(old)
    }
    assert hits == {
        ("I don't like my job", "I love my job"),
        ("I quit smoking", "I smoke"),
        ("I don't drink alcohol", "I drink alcohol"),
        ("I gave up drinking coffee", "I drink coffee"),
        ("I no longer work at Google", "I work for Google."),
        ("I don't own a car", "I have a car"),
        ("I sold my house", "I have a house"),
        ("I never eat meat", "I eat meat"),
        ("I haven't got a cat", "I have a cat"),
        ("I no longer collect stamps", "I collect stamps"),
    }


def _keys(text: str) -> set[str]:
    return {attribute.key for attribute in attributes(text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm thirty-one years old.", [Attribute("age", "31")]),
        ("I am 130", []),
        ("I am 0", []),
        ("I live in Oslo, Norway", [Attribute("home", "oslo")]),
        ("I live in a village", []),
        ("My dog is called Rex", [Attribute("name of dog", "rex")]),
        ("I have a dog called Rex", [Attribute("name of dog", "rex", firm=False)]),
        ("My favourite films are Dune and Alien", [Attribute("favourite film", "dune")]),
        ("", []),
        ("I", []),
        ("live in in in", []),
    ],
)
def test_attributes(text: str, expected: list[Attribute]) -> None:
    assert list(attributes(text)) == expected


def test_a_memory_that_tells_other_things_too_is_kept() -> None:
    assert not contradicts("I live in Oslo", "I live in Bergen and I work as a nurse.")
    assert contradicts("I live in Oslo", "I live in Bergen, near the sea.")


def test_long_input_takes_no_time() -> None:
    long = "I live in " + "very " * 5000 + "x" * 5000
    assert not contradicts(long, long)
    assert not contradicts("my favourite " * 2000, "is my favourite " * 2000)
