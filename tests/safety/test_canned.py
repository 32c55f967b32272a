from __future__ import annotations

import pytest

from bb3.core.errors import UsageError
from bb3.safety.canned import load_canned
from bb3.safety.words import WordList


def test_the_seed_chooses_and_all_get_their_turn():
    canned = load_canned()
    assert canned.reply("bot", 5) == canned.reply("bot", 5)
    assert {canned.reply("user", seed) for seed in range(200)} == set(canned.user)
    assert {canned.reply("bot", seed) for seed in range(200)} == set(canned.bot)


def test_the_replies_are_themselves_safe():
    canned, words = load_canned(), WordList()
    assert all(words.verdict(reply).safe for reply in canned.user + canned.bot)


@pytest.mark.parametrize(
    "text", ["user = [", 'user = ["a"]', 'user = ["a"]\nbot = []', 'user = "a"\nbot = ["b"]']
)
def test_a_bad_file_is_refused(text: str):
    with pytest.raises(UsageError, match=r"mine\.toml"):
        load_canned(text, where="mine.toml")
