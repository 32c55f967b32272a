"""Strong language ahead: these tests hold a filter against it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from bb3.core.errors import UsageError
from bb3.safety.words import WordList, WordMatcher, Words, load_words, plain_letters


@pytest.fixture(scope="module")
def words() -> WordList:
    return WordList()


def test_the_references_matcher(shared: Path):
    recorded = json.loads((shared / "golden/r2c2/utils.json").read_text())["string_matcher"]
    matcher = WordMatcher(recorded["words"], allowed=["butter", *load_words().allowed])
    for case in recorded["cases"]:
        assert matcher.find(case["text"]) == case["first"], case


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a zork here", "zork"),
        ("ZORK! zorks, unzork", "zork"),
        ("zorks", "zorks"),
        ("an unzork", "unzork"),
        ("un zork", "zork"),
        ("unzorked", None),  # a prefix or a suffix, not both
        ("sub-zork", "sub-zork"),
        ("zork-ish", None),  # the plain matcher takes it for one word; WordList does not
        ("big bad wolf", "big bad wolf"),
        ("big bad wolves", None),
        ("big bad wolfs", "big bad wolfs"),
        ("big bad", None),
        ("big, bad; wolf", "big bad wolf"),
        ("zorkland", None),
        ("the zork isle", None),
        ("zork isle zork", "zork"),
        ("", None),
    ],
)
def test_matcher(text: str, found: str | None):
    matcher = WordMatcher(["zork", "Big Bad Wolf"], allowed=["zork isle"])
    assert matcher.find(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "shit", "You are a BITCH.", "shitty", "motherfuckers", "retarded", "go kill yourself",
        "i will kill you", "(bitch)", "bitch's", "two\nlines\nof shit",
        "fuuuuck", "biiiitch", "shiiiit", "fuuck",  # repeated letters
        "sh1t", "$hit", "5hit", "b!tch", "a$$hole", "nigg3r", "f@ggot", "wh0re", "fu¢k",  # leet
        "kill y0urself", "K1LL yourself",
        "f u c k you", "f.u.c.k", "f_u_c_k", "f-u-c-k", "s h i t", "c  u  n  t",  # spaced
        "f*ck", "s**t", "f#ck", "b*tch!", "f**k", "ph**k",  # masked
        "fuck-face", "holy.shit", "you*bitch", "shit/fan", "shit_storm",  # joined
        "unfuckingbelievable", "absofuckinglutely", "#fuck", "@asshole99",  # inside a word
        "ａｓｓｈｏｌｅ", "𝓼𝓱𝓲𝓽", "ѕhit", "shіt", "аsshоle", "bιtch", "fúck", "bîtch",  # lookalikes
        "fu\u200bck", "s\u00adhit", "b\u2060itch", "s\u0335h\u0335i\u0335t\u0335",  # invisible
    ],
)  # fmt: skip
def test_found_also_in_disguise(words: WordList, text: str):
    assert not words.verdict(text).safe


@pytest.mark.parametrize(
    "text",
    [
        "fuc k",  # a blank in the middle
        "f u cking",
        "k i l l yourself",  # a phrase spelled out
        "tihs",  # backwards or jumbled
        "merde alors",  # other languages
        "🖕",
        "people like you should not exist",  # hate without a swear word
    ],
)
def test_known_gaps(words: WordList, text: str):
    """Not seen by the word list, and said so in docs/safety.md. One that is seen: move it up."""
    assert words.verdict(text).safe


@pytest.mark.parametrize(
    "text",
    [
        "Scunthorpe", "Penistone", "Middlesex and Essex", "an assassin in first class",
        "classic cocktail", "cock-a-doodle-doo", "Moby Dick, Dick Van Dyke", "shiitake mushrooms",
        "therapist", "analysis", "cumin", "magna cum laude", "niggardly", "he sniggered",
        "Nigeria and Niger", "butter is spicy", "Spica is a star", "raccoon", "my Maine Coon",
        "a chink in the armour", "flame retardant", "to retard the growth", "peacock", "Hitchcock",
        "Uranus", "great tits and blue tits", "Fagin", "spick and span", "Yiddish theatre",
        "Twatt, Orkney", "Matsushita", "Wankel engine", "pussy willow", "a fig tree", "I am gay",
        "I was raped", "I want to kill myself", "skill yourself up", "kill all processes",
        "C++ and C#", "5.5 kg", "call 555-1234 at 7:30", "A B C D E F G", "J. R. R. Tolkien",
        "U S A", "a s a p", "2*3*4=24", "**bold** *** wow ***", "https://a.example/a_b-c?x=1*2",
        "kitchen-cum-dining room", "", "   ", "\x00", "\ud800",
    ],
)  # fmt: skip
def test_innocent_lookalikes(words: WordList, text: str):
    assert words.find(text) is None


@pytest.mark.parametrize(
    "flood",
    ["fuc ", "f*** ", "a b c d ", "a", "f.", "x1", "\u200b", "🙂", "ü ", "aab ", "b@d! ", "un-"],
)
def test_a_megabyte_takes_bounded_time(words: WordList, flood: str):
    text = (flood * 1_000_000)[:1_000_000]
    begun = time.process_time()
    assert words.find(text) is None
    assert time.process_time() - begun < 15
    assert words.find(text + " shit") == "shit"


def test_distinct_words_by_the_megabyte(words: WordList):
    text = " ".join(f"w{i}x@{i}*" for i in range(90_000))
    begun = time.process_time()
    assert words.find(text) is None
    assert time.process_time() - begun < 15


async def test_classifier(words: WordList):
    first, second = await words.classify(["fine", "oh shit"])
    assert first.safe
    assert (second.safe, second.label, second.score, second.by) == (
        False,
        "offensive",
        1.0,
        "words",
    )
    assert await words.classify([]) == []
    (long,) = await words.classify(["fine " * 2000 + "shit"])
    assert not long.safe


def test_ordinary_conversations_pass(words: WordList, shared: Path):
    """At most one false alarm in 2,000 utterances of everyday talk."""
    turns = [
        turn["text"]
        for line in (shared / "data/dailydialog/valid.json").read_text().splitlines()
        for turn in json.loads(line)["dialogue"]
    ]
    flagged = [text for text in turns if words.find(text)]
    assert len(turns) > 1000
    assert len(flagged) <= len(turns) / 2000, flagged


def test_own_list():
    mine = WordList(load_words('words = ["zork"]\nanywhere = ["quux"]'))
    assert mine.find("z0rks") == "zorks"
    assert mine.find("xxquuxxx") == "quux"
    assert mine.find("shit") is None
    assert WordList(Words(words=())).find("anything") is None


@pytest.mark.parametrize(
    "text", ["words = [", "words = 3", "words = [1]", 'words = [""]', 'bad = ["x"]']
)
def test_a_bad_list_is_refused(text: str):
    with pytest.raises(UsageError, match=r"mine\.toml"):
        load_words(text, where="mine.toml")


def test_plain_letters():
    assert plain_letters("Ärger İST ﬁne\u200d") == "arger ist fine"
