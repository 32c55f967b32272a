"""The memories of one user, over a real store."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from array import array
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from bb3.core.errors import InputError, ModelError
from bb3.core.types import Memory, MemoryOrigin, Speaker, Vector
from bb3.memory.admit import KNOWN
from bb3.memory.book import MemoryBook
from bb3.memory.rules import MemoryRules
from bb3.memory.words import content
from bb3.store import SqlStore, open_store


class HashEmbedder:
    """Unit vectors of hashed words: alike where the words are, the same on every machine."""

    name = "hash"

    def __init__(self, dim: int = 64) -> None:
        self.dim = dim
        self.asked: list[str] = []

    async def embed(self, texts: Sequence[str]) -> list[Vector[float]]:
        self.asked += texts
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> Vector[float]:
        vector = [1e-6] * self.dim
        for word in content(text):
            vector[hashlib.sha256(word.encode()).digest()[0] % self.dim] += 1
        length = math.sqrt(sum(x * x for x in vector))
        return array("f", [x / length for x in vector])


class BrokenEmbedder(HashEmbedder):
    async def embed(self, texts: Sequence[str]) -> list[Vector[float]]:
        raise ModelError("The embedding model is gone.")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = await open_store(tmp_path / "bb3.db")
    yield store
    await store.aclose()


async def test_remember_and_recall(store: SqlStore) -> None:
    book = MemoryBook(store, "ada", HashEmbedder())
    said = "Hi! I have a dog called Bubbles."
    admission = await book.remember(
        "The user has a dog called Bubbles.",
        speaker=Speaker.USER,
        conversation="c",
        message="m",
        source=said,
    )
    assert admission.memory is not None
    assert admission.memory.text == "I have a dog called Bubbles."
    assert (admission.memory.conversation, admission.memory.message) == ("c", "m")
    await book.remember("I live in Oslo", source="I live in Oslo")
    again = MemoryBook(store, "ada", HashEmbedder())
    assert [m.text for m in await again.known()] == [
        "I have a dog called Bubbles.",
        "I live in Oslo",
    ]
    assert all(m.vector is not None and len(m.vector) == 64 for m in await again.known())
    best = await again.recall("What is my dog called?", k=1)
    assert [m.text for m in best] == ["I have a dog called Bubbles."]
    assert await MemoryBook(store, "ben").recall("What is my dog called?") == []


async def test_what_is_refused_is_not_stored(store: SqlStore) -> None:
    embedder = HashEmbedder()
    book = MemoryBook(store, "ada", embedder)
    admission = await book.remember("I like jazz", source="Do you like jazz?")
    assert (admission.outcome, admission.memory) == ("refuse", None)
    assert await book.known() == []
    assert embedder.asked == []


async def test_a_contradiction_replaces_and_the_old_one_is_kept_in_history(
    store: SqlStore,
) -> None:
    book = MemoryBook(store, "ada", HashEmbedder())
    await book.remember("I live in Bergen")
    moved = await book.remember("I moved to Oslo")
    assert [m.text for m in moved.replaced] == ["I live in Bergen"]
    assert [m.text for m in await book.known()] == ["I moved to Oslo"]
    history = await store.memories("ada", superseded=True)
    assert [m.text for m in history] == ["I live in Bergen", "I moved to Oslo"]
    assert moved.memory is not None
    assert await book.forget(moved.memory.id)
    assert await store.memories("ada", superseded=True) == []


async def test_the_same_text_at_once_is_stored_once(store: SqlStore) -> None:
    books = [MemoryBook(store, "ada", HashEmbedder()) for _ in range(3)]
    admissions = await asyncio.gather(
        *(books[n % 3].remember("I have a dog called Bubbles.") for n in range(9))
    )
    assert sum(bool(a) for a in admissions) == 1
    assert {a.reason for a in admissions if not a} == {KNOWN}
    assert len(await books[0].known()) == 1


async def test_different_users_do_not_wait_for_each_other(store: SqlStore) -> None:
    ada, ben = MemoryBook(store, "ada"), MemoryBook(store, "ben")
    async with ada._lock:
        await asyncio.wait_for(ben.remember("I row every day"), 5)
    assert await ada.known() == []


async def test_dictated_memories(store: SqlStore) -> None:
    book = MemoryBook(store, "ada")
    text = "the plumber comes on Friday?"
    admission = await book.remember(text, origin=MemoryOrigin.USER)
    assert admission.memory is not None
    assert (admission.memory.text, admission.memory.origin) == (text, MemoryOrigin.USER)
    assert not await book.remember("  ", origin=MemoryOrigin.USER)


async def test_memories_that_do_not_fit_are_left_out(store: SqlStore) -> None:
    rules = MemoryRules(min_score=0.3)
    book = MemoryBook(store, "ada", HashEmbedder(), rules)
    for text in ("I have a dog called Bubbles", "I play chess in Vienna"):
        await book.remember(text, origin=MemoryOrigin.USER)
    assert [m.text for m in await book.recall("a dog called?")] == ["I have a dog called Bubbles"]
    assert await book.recall("tomorrow morning") == []
    assert len(await MemoryBook(store, "ada", None, rules).recall("tomorrow morning")) == 2


async def test_edit(store: SqlStore) -> None:
    book = MemoryBook(store, "ada", HashEmbedder())
    admission = await book.remember("I have a dgo", origin=MemoryOrigin.USER)
    assert admission.memory is not None
    edited = await book.edit(admission.memory.id, "  I have\na dog ")
    assert edited is not None
    assert edited.text == "I have a dog"
    assert [m.text for m in await book.recall("a dog?")] == ["I have a dog"]
    assert await book.edit(999, "x") is None
    assert await MemoryBook(store, "ben").edit(admission.memory.id, "mine") is None
    with pytest.raises(InputError, match="nothing to remember"):
        await book.edit(admission.memory.id, " ")
    with pytest.raises(InputError, match="longer than"):
        await book.edit(admission.memory.id, "x" * 1000)


async def test_forgetting(store: SqlStore) -> None:
    book = MemoryBook(store, "ada", HashEmbedder())
    for text in ("I row", "I sail", "I ski"):
        assert await book.remember(text)
    first = (await book.known())[0]
    assert await book.forget(first.id)
    assert not await book.forget(first.id)
    assert "I row" not in [m.text for m in await book.recall("do you row?")]
    assert await book.forget_all() == 2
    assert await book.recall("anything") == []


async def test_counters(store: SqlStore) -> None:
    book = MemoryBook(store, "ada", rules=MemoryRules(hard_block_turns=2))
    one = (await book.remember("I row every day")).memory
    two = (await book.remember("I sail at sea")).memory
    assert one is not None
    assert two is not None
    assert await book.recall("x") == []
    await book.used([])
    await book.used([two.id])
    assert [m.text for m in await book.recall("x")] == ["I row every day"]


async def test_recall_keeps_to_the_limit_and_to_what_is_at_hand(store: SqlStore) -> None:
    book = MemoryBook(store, "ada", HashEmbedder())
    known = [Memory(speaker=Speaker.USER, text=f"I met Tom{n}", id=n) for n in range(1, 100)]
    found = await book.recall("who is Tom42", known=known)
    assert len(found) == 32
    assert found[0].text == "I met Tom42"


async def test_a_failing_embedder_leaves_words(
    store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    book = MemoryBook(store, "ada", BrokenEmbedder())
    with caplog.at_level(logging.WARNING):
        assert await book.remember("I have a dog called Bubbles")
        assert await book.remember("I live in Oslo")
        found = await book.recall("the dog?", k=1)
    assert [m.text for m in found] == ["I have a dog called Bubbles"]
    assert "by words alone" in caplog.text
    assert [m.vector for m in await book.known()] == [None, None]


async def test_memories_without_a_fitting_vector_get_one_when_recalled(store: SqlStore) -> None:
    await MemoryBook(store, "ada").remember("I have a dog called Bubbles")
    await MemoryBook(store, "ada", HashEmbedder(8)).remember("I live in Oslo")
    embedder = HashEmbedder(64)
    book = MemoryBook(store, "ada", embedder)
    for _ in range(2):
        found = await book.recall("dog", k=5)
        assert all(m.vector is not None and len(m.vector) == 64 for m in found)
    assert embedder.asked.count("I have a dog called Bubbles") == 1
    assert embedder.asked.count("I live in Oslo") == 1
