"""Fitting prompts into the room there is."""

from __future__ import annotations

import pytest

from bb3.core.errors import UsageError
from bb3.core.types import Document, Memory, Speaker, Turn
from bb3.modules.catalog import MODULES
from bb3.modules.context import Context
from bb3.modules.dialects import DIALECTS, dialect, fit


class Counter:
    """Words, and how often they were counted."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self, prompt) -> int:
        self.times += 1
        return len(prompt.written_out().split())


def turns(count: int, words: int = 10) -> tuple[Turn, ...]:
    return tuple(
        Turn(
            speaker=Speaker.USER if index % 2 == 0 else Speaker.BOT,
            text=f"turn{index} " + "word " * (words - 1),
        )
        for index in range(count)
    )


async def test_short_prompts_are_not_even_counted():
    count = Counter()
    await fit(dialect("opt"), MODULES["vrm"], Context(turns=turns(3)), count, 1000)
    assert count.times == 0


@pytest.mark.parametrize("room", [30, 60, 100, 200])
async def test_the_oldest_turns_go_first(room):
    count = Counter()
    context = Context(turns=turns(41))
    prompt = await fit(dialect("opt"), MODULES["vrm"], context, count, room)
    lines = prompt.text.split("\n")
    assert await count(prompt) <= room
    kept = [line.split()[2] for line in lines[:-1]]
    assert kept == [f"turn{i}" for i in range(41 - len(kept), 41)]
    assert 12 * (len(kept) + 1) + 2 > room  # no more than needed is dropped


async def test_chat_drops_several_at_once_so_that_the_beginning_stays():
    count = Counter()
    full = await fit(dialect("chat"), MODULES["vrm"], Context(turns=turns(40)), count, 10**6)
    room = await count(full) - 5
    a = await fit(dialect("chat"), MODULES["vrm"], Context(turns=turns(40)), count, room)
    b = await fit(dialect("chat"), MODULES["vrm"], Context(turns=turns(41)), count, room)
    assert len(a.messages) == len(full.messages) - dialect("chat").drop_turns
    assert a.messages == b.messages[: len(a.messages)]


async def test_then_documents_then_memories_then_the_turn_itself():
    context = Context(
        turns=turns(1, words=400),
        documents=tuple(Document(title=f"d{i}", text="doc " * 50) for i in range(5)),
    )
    prompt = await fit(dialect("opt"), MODULES["skm"], context, Counter(), 530)
    assert [line.split()[2] for line in prompt.text.split("\n") if "External" in line] == [
        "d0",
        "d1",
    ]
    prompt = await fit(dialect("opt"), MODULES["skm"], context, Counter(), 150)
    assert "External" not in prompt.text
    assert prompt.text.endswith("word\nInteresting Fact:")
    memories = tuple(Memory(speaker=Speaker.USER, text=f"m{i} " + "x " * 20) for i in range(5))
    context = Context(turns=turns(1), memories=memories)
    prompt = await fit(dialect("opt"), MODULES["mkm"], context, Counter(), 70)
    assert prompt.text.startswith("Person 1's Persona: m3")  # as written: the oldest go
    prompt = await fit(dialect("chat"), MODULES["mkm"], context, Counter(), 130)
    assert "- m0" in prompt.written_out()  # best first: the last go
    assert "- m4" not in prompt.written_out()


@pytest.mark.parametrize("tag", ["mdm", "orm"])
async def test_decisions_and_openings_see_the_newest_memories(tag):
    memories = tuple(Memory(speaker=Speaker.USER, text=f"Name{i} is kind.") for i in range(400))
    count = Counter()
    context = Context(turns=turns(31), memories=memories)
    prompt = await fit(dialect("opt"), MODULES[tag], context, count, 300)
    assert "Name399" in prompt.text
    assert "Name0 " not in prompt.text
    assert 200 < await count(prompt) <= 300
    assert count.times < 15  # each is a request to the server
    if tag == "mdm":
        assert "turn30" in prompt.text


async def test_a_long_persona_goes_line_by_line():
    persona = tuple(f"I know {i} songs by heart." for i in range(400))
    context = Context(turns=turns(1), persona=persona)
    prompt = await fit(dialect("chat"), MODULES["vrm"], context, Counter(), 500)
    assert "I know 0 songs" in prompt.written_out()
    assert "turn0" in prompt.written_out()
    assert len(prompt.written_out().split()) <= 500


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("tag", MODULES)
async def test_ends_even_when_there_is_no_room_at_all(name, tag):
    context = Context(
        turns=turns(30, words=300),
        documents=(Document(title="d", text="doc " * 900),),
        memories=(Memory(speaker=Speaker.USER, text="m"),),
        knowledge={"skm": "known " * 500},
    )
    prompt = await fit(dialect(name), MODULES[tag], context, Counter(), 1)
    assert prompt.written_out()


async def test_bytes_bound_tokens():
    """Text of wide characters is counted, not guessed."""
    count = Counter()
    context = Context(turns=(Turn(speaker=Speaker.USER, text="語" * 600),))
    await fit(dialect("opt"), MODULES["vrm"], context, count, 700)
    assert count.times > 0


def test_unknown_dialects_are_told():
    with pytest.raises(UsageError, match=r"There is no dialect 'gpt'. Known are: opt, "):
        dialect("gpt")
