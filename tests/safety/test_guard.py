from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bb3.core.errors import UsageError
from bb3.core.ports import Verdict
from bb3.safety.guard import HELD, Guard, GuardedStream, build_guard
from bb3.safety.profanity import ProfanityClassifier
from bb3.safety.words import WordList

WORDS = build_guard("words")
ALL = build_guard("all", classifiers=[ProfanityClassifier()])


class Broken:
    """A classifier whose model file was lost."""

    name = "broken"

    async def classify(
        self, texts: Sequence[str], contexts: Sequence[Sequence[str]] | None = None
    ) -> list[Verdict]:
        raise OSError("model file is gone")


class Stuck(Broken):
    name = "stuck"

    async def classify(
        self, texts: Sequence[str], contexts: Sequence[Sequence[str]] | None = None
    ) -> list[Verdict]:
        await asyncio.sleep(60)
        return []


class Contextual(Broken):
    """Objects to "yes" after a certain question."""

    name = "contextual"

    async def classify(
        self, texts: Sequence[str], contexts: Sequence[Sequence[str]] | None = None
    ) -> list[Verdict]:
        assert contexts is not None
        return [
            Verdict(safe=not (t == "yes" and "agree?" in c), label="assent", by=self.name)
            for t, c in zip(texts, contexts, strict=True)
        ]


@pytest.mark.parametrize(
    ("level", "text", "by"),
    [
        ("none", "oh shit", ""),
        ("words", "oh shit", "words"),
        ("words", "you are an idiot", ""),
        ("all", "oh shit", "words"),
        ("all", "you are an idiot", "profanity"),
        ("all", "good morning", ""),
    ],
)
async def test_levels(level: str, text: str, by: str):
    guard = build_guard(level, classifiers=[ProfanityClassifier()])  # type: ignore[arg-type]
    ruling = await guard.check(text, "user")
    assert ruling.safe is (by == "")
    assert not ruling.degraded
    if by:
        assert ruling.by == by
        assert ruling.label


def test_unknown_level():
    with pytest.raises(UsageError, match=r"'high'.*none, words, all"):
        build_guard("high")  # type: ignore[arg-type]


async def test_the_context_reaches_the_classifier():
    guard = Guard([Contextual()])
    assert (await guard.check("yes", "bot")).safe
    assert not (await guard.check("yes", "bot", ["agree?"])).safe


@pytest.mark.parametrize("failing", [Broken(), Stuck()])
async def test_a_failing_classifier_leaves_the_word_list(failing: Broken):
    guard = Guard([failing, WordList()], timeout_s=0.05)
    fine, bad = await guard.check("hello", "bot"), await guard.check("oh shit", "bot")
    assert (fine.safe, bad.safe, bad.by) == (True, False, "words")
    assert failing.name in fine.degraded
    assert failing.name in bad.degraded


async def test_cancelling_is_not_taken_for_a_failure():
    task = asyncio.create_task(Guard([Stuck()]).check("x", "user"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def run(stream: GuardedStream, pieces: Sequence[str]) -> str:
    shown = [await stream.feed(piece) for piece in pieces]
    return "".join([*shown, await stream.finish()])


SAFE = "Hello there! How are you today? I went to Scunthorpe.\n\nIt was  nice, 3.5 stars."


@pytest.mark.parametrize("guard", [build_guard("none"), WORDS, ALL])
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
async def test_a_safe_text_comes_through_unchanged(guard: Guard, size: int):
    stream = guard.stream()
    pieces = [SAFE[i : i + size] for i in range(0, len(SAFE), size)]
    assert await run(stream, pieces) == SAFE
    assert stream.ruling.safe


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("Well, that is shit.", "shit"),
        ("Well, that is shit", "shit"),
        ("Now go and kill yourself. Bye.", "yourself"),
        ("This is sh1t my friend", "sh1t"),
        ("Say f u c k now", "k now"),
        ("Say fuuuuuuck now", "fuu"),
        ("A fine day. shi" + "tty one", "shitty"),
        ("w" * 200 + "motherfucker" + "w" * 200, "motherf"),
    ],
)
async def test_the_offending_word_never_comes_out(text: str, never: str, size: int):
    stream = WORDS.stream()
    shown = await run(stream, [text[i : i + size] for i in range(0, len(text), size)])
    assert never not in shown
    assert text.startswith(shown)
    assert not stream.ruling.safe
    assert await stream.feed(" more") == ""
    assert await stream.finish() == ""


@pytest.mark.parametrize(
    "text",
    ["I think you are an idiot and a fool.", "Fine. Fine. Shut your stupid mouth, you moron! Bye."],
)
async def test_every_beginning_shown_was_found_safe(text: str):
    stream, shown = ALL.stream(), ""
    for letter in text:
        shown += await stream.feed(letter)
        if shown:
            assert (await ALL.check(shown, "bot")).safe, shown
    shown += await stream.finish()
    assert not stream.ruling.safe
    assert len(shown) < len(text)


async def test_words_come_out_as_soon_as_they_are_whole():
    stream = WORDS.stream()
    assert await stream.feed("Hel") == ""
    assert await stream.feed("lo the") == "Hello "
    assert await stream.feed("re") == ""
    assert await stream.finish() == "there"


async def test_a_script_without_blanks_still_flows():
    text = "今日はとても良い天気ですね" * 20
    stream = WORDS.stream()
    shown = ""
    for letter in text:
        shown += await stream.feed(letter)
    assert len(text) - len(shown) <= HELD
    assert shown + await stream.finish() == text


async def test_a_long_stream_stays_cheap():
    looked_at: list[int] = []

    class Counting(WordList):
        def verdict(self, text: str) -> Verdict:
            looked_at.append(len(text))
            return super().verdict(text)

    stream = Guard([Counting()]).stream()
    for _ in range(3000):
        await stream.feed("word ")
    assert max(looked_at) < 600


async def test_a_stream_remembers_that_it_was_degraded():
    stream = Guard([WordList(), Broken()]).stream()
    assert await run(stream, ["hello ", "you"]) == "hello you"
    assert "broken" in stream.ruling.degraded


def test_canned_replies():
    assert WORDS.canned_reply("user", 3) in WORDS.canned.user
    assert WORDS.canned_reply("bot", 3) in WORDS.canned.bot
