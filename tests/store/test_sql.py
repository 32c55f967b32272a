"""The Store port, on every database."""

from __future__ import annotations

import asyncio
import json
import random
from array import array
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from bb3.core.errors import StoreError
from bb3.core.types import (
    Memory,
    MemoryOrigin,
    ModuleCall,
    Speaker,
    Trace,
    Turn,
    TurnStatus,
    new_id,
)
from bb3.store import SqlStore, open_store


def said(text: str, speaker: Speaker = Speaker.USER, **more: object) -> Turn:
    return Turn(speaker=speaker, text=text, **more)  # type: ignore[arg-type]


def fact(text: str, speaker: Speaker = Speaker.USER, **more: object) -> Memory:
    return Memory(speaker=speaker, text=text, **more)  # type: ignore[arg-type]


# --- conversations and turns ----------------------------------------------------------------


async def test_a_new_conversation_is_the_latest_and_empty(store: SqlStore) -> None:
    assert await store.latest_conversation("ada") is None
    conversation = await store.start_conversation("ada")
    assert await store.latest_conversation("ada") == conversation
    assert await store.turns(conversation.id) == []
    assert await store.latest_conversation("ben") is None


async def test_the_latest_conversation_is_the_one_the_user_last_spoke_in(store: SqlStore) -> None:
    old = await store.start_conversation("ada")
    new = await store.start_conversation("ada")
    assert await store.latest_conversation("ada") == new
    await store.save_turn(old.id, said("back again"))
    assert await store.latest_conversation("ada") == old


async def test_turns_come_back_whole_and_in_order(store: SqlStore) -> None:
    conversation = await store.start_conversation("ada")
    zone = timezone(timedelta(hours=5, minutes=30))
    turns = [
        said("Grüße 👋 \n\t'; DROP TABLE turns; --", at=datetime(2031, 1, 1, tzinfo=UTC)),
        said("", Speaker.BOT, status=TurnStatus.INTERRUPTED),
        said("earlier by the clock", at=datetime(2020, 2, 29, 12, 0, 0, 123456, tzinfo=zone)),
        said("held back", status=TurnStatus.BLOCKED),
    ]
    for turn in turns:
        await store.save_turn(conversation.id, turn)
    found = await store.turns(conversation.id)
    assert found == turns
    assert all(turn.at.utcoffset() == timedelta(0) for turn in found)
    assert await store.turns(conversation.id, limit=2) == turns[-2:]
    assert await store.turns(conversation.id, limit=0) == []
    assert await store.turns(conversation.id, limit=99) == turns


async def test_a_draft_grows_in_its_place(store: SqlStore) -> None:
    conversation = await store.start_conversation("ada")
    draft = said("", Speaker.BOT, status=TurnStatus.DRAFT)
    await store.save_turn(conversation.id, draft)
    await store.save_turn(conversation.id, said("a later one"))
    for _ in range(20):
        draft = replace(draft, text=draft.text + "word ")
        await store.save_turn(conversation.id, draft)
    done = replace(draft, status=TurnStatus.COMPLETE)
    await store.save_turn(conversation.id, done)
    assert (await store.turns(conversation.id))[0] == done
    assert len(await store.turns(conversation.id)) == 2


async def test_a_turn_cannot_move_to_another_conversation(store: SqlStore) -> None:
    one, two = await store.start_conversation("ada"), await store.start_conversation("ben")
    turn = said("mine")
    await store.save_turn(one.id, turn)
    with pytest.raises(StoreError, match="another conversation"):
        await store.save_turn(two.id, replace(turn, text="stolen"))
    assert await store.turns(one.id) == [turn]


async def test_a_turn_of_no_conversation_is_refused_not_lost_silently(store: SqlStore) -> None:
    with pytest.raises(StoreError, match="refused"):
        await store.save_turn("nowhere", said("hello?"))
    assert await store.turns("nowhere") == []


async def test_text_no_database_takes_is_mended(store: SqlStore) -> None:
    conversation = await store.start_conversation("a\0b")
    await store.save_turn(conversation.id, said("nul \0, lone \ud800 surrogate, pair \U0001f600"))
    (turn,) = await store.turns(conversation.id)
    assert turn.text == "nul \ufffd, lone \ufffd surrogate, pair \U0001f600"
    assert await store.latest_conversation("a\0b") is not None


async def test_a_very_long_turn(store: SqlStore) -> None:
    conversation = await store.start_conversation("ada")
    turn = said("x" * 5_000_000)
    await store.save_turn(conversation.id, turn)
    assert await store.turns(conversation.id) == [turn]


# --- traces -----------------------------------------------------------------------------------


async def test_traces(store: SqlStore) -> None:
    conversation = await store.start_conversation("ada")
    assert await store.latest_trace(conversation.id) is None
    first, second = (Trace(conversation=conversation.id, user=said(t)) for t in ("a", "b"))
    await store.save_trace(first)
    await store.save_trace(second)
    first = replace(first, written=("I have a cat.",))
    await store.save_trace(first)
    assert await store.trace(first.id) == first
    assert await store.latest_trace(conversation.id) == second
    assert await store.trace("none") is None
    assert await store.latest_trace("none") is None


# --- memories ---------------------------------------------------------------------------------


async def test_a_memory_comes_back_whole(store: SqlStore) -> None:
    memory = fact(
        "I have a dog called Bubbles.",
        Speaker.BOT,
        origin=MemoryOrigin.PERSONA,
        conversation=new_id(),
        message=new_id(),
        turns_since_used=7,
        created_at=datetime(2021, 3, 4, 5, 6, 7, 8, tzinfo=UTC),
        vector=array("f", [0.25, -1.5, 3.4028234663852886e38]),
    )
    stored = await store.add_memory("ada", memory)
    assert stored.id > 0
    assert stored == replace(memory, id=stored.id)
    (found,) = await store.memories("ada")
    assert found == stored
    assert found.vector == memory.vector
    assert isinstance(found.vector, array)
    assert found.vector.typecode == "f"


async def test_superseded_memories_are_kept_apart(store: SqlStore) -> None:
    bergen = await store.add_memory("ada", fact("I live in Bergen."))
    oslo = await store.add_memory("ada", fact("I live in Oslo."), supersedes=[bergen.id])
    rome = await store.add_memory("ada", fact("I live in Rome."), supersedes=[oslo.id, bergen.id])
    assert await store.memories("ada") == [rome]
    history = await store.memories("ada", superseded=True)
    assert [(m.text, m.superseded_by) for m in history] == [
        ("I live in Bergen.", oslo.id),
        ("I live in Oslo.", rome.id),
        ("I live in Rome.", None),
    ]


async def test_forgetting_takes_older_versions_along_and_never_reuses_ids(store: SqlStore) -> None:
    first = await store.add_memory("ada", fact("I am 30."))
    second = await store.add_memory("ada", fact("I am 31."), supersedes=[first.id])
    third = await store.add_memory("ada", fact("I am 32."), supersedes=[second.id])
    other = await store.add_memory("ada", fact("I like tea."))
    assert await store.forget_memory("ada", third.id)
    assert not await store.forget_memory("ada", third.id)
    assert await store.memories("ada", superseded=True) == [other]
    assert await store.forget_memory("ada", other.id)
    fresh = await store.add_memory("ada", fact("I like coffee."))
    assert fresh.id > other.id


async def test_edit(store: SqlStore) -> None:
    memory = await store.add_memory("ada", fact("I like tee.", vector=array("f", [1.0])))
    vector = array("f", [0.5])
    edited = await store.edit_memory("ada", memory.id, "I like tea.", vector)
    assert edited is not None
    assert (edited.id, edited.text, edited.vector) == (memory.id, "I like tea.", vector)
    assert edited.updated_at > memory.updated_at
    assert edited.created_at == memory.created_at
    assert await store.memories("ada") == [edited]
    emptied = await store.edit_memory("ada", memory.id, "I like tea.", None)
    assert emptied is not None
    assert emptied.vector is None


@pytest.mark.parametrize("unknown", [0, -1, 12345, 2**63, 10**30])
async def test_unknown_ids_never_raise(store: SqlStore, unknown: int) -> None:
    assert await store.edit_memory("ada", unknown, "x", None) is None
    assert not await store.forget_memory("ada", unknown)
    await store.age_memories("ada", [unknown])
    stored = await store.add_memory("ada", fact("I row."), supersedes=[unknown])
    assert await store.memories("ada") == [stored]


async def test_another_users_memories_are_out_of_reach(store: SqlStore) -> None:
    mine = await store.add_memory("ada", fact("I am shy.", turns_since_used=3))
    assert await store.memories("ben", superseded=True) == []
    assert await store.edit_memory("ben", mine.id, "I am loud.", None) is None
    assert not await store.forget_memory("ben", mine.id)
    assert await store.forget_all_memories("ben") == 0
    await store.age_memories("ben", [mine.id])
    await store.add_memory("ben", fact("I am Ben."), supersedes=[mine.id])
    assert await store.memories("ada") == [mine]
    export = json.dumps(await store.export_user("ben"))
    assert "shy" not in export


async def test_ageing(store: SqlStore) -> None:
    old = await store.add_memory("ada", fact("I am 30."))
    used = await store.add_memory("ada", fact("I am 31."), supersedes=[old.id])
    idle = await store.add_memory("ada", fact("I row."))
    for ids in ([], [idle.id], [used.id], [used.id, 999]):
        await store.age_memories("ada", ids)
    counts = {m.id: m.turns_since_used for m in await store.memories("ada", superseded=True)}
    assert counts == {old.id: 0, used.id: 0, idle.id: 2}


async def test_forget_all(store: SqlStore) -> None:
    first = await store.add_memory("ada", fact("I am 30."))
    await store.add_memory("ada", fact("I am 31."), supersedes=[first.id])
    kept = await store.add_memory("ben", fact("I am Ben."))
    assert await store.forget_all_memories("ada") == 2
    assert await store.memories("ada", superseded=True) == []
    assert await store.forget_all_memories("ada") == 0
    assert await store.memories("ben") == [kept]


async def test_the_same_words_from_two_processes_are_one_memory(where: str) -> None:
    one, two = await open_store(where), await open_store(where)
    written = await asyncio.gather(
        *(store.add_memory("ada", fact("I row.")) for store in (one, two) for _ in range(4))
    )
    assert len({memory.id for memory in written}) == 1
    await one.add_memory("ada", fact("I row.", Speaker.BOT))
    await two.add_memory("ben", fact("I row."))
    assert [len(await two.memories(user)) for user in ("ada", "ben")] == [2, 1]
    newer = await one.add_memory("ada", fact("I swim."), supersedes=[written[0].id])
    again = await one.add_memory("ada", fact("I row."), supersedes=[newer.id])
    assert again.id != written[0].id  # that one is history
    await one.aclose()
    await two.aclose()


async def test_what_is_forgotten_is_gone_from_traces(store: SqlStore) -> None:
    """Also from those of turns that had nothing to do with it, and whatever JSON makes of it."""
    secret = 'My "pin" is 4711\\n, Grüße 👋.'
    old = await store.add_memory("ada", fact("My pin is 1234."))
    memory = await store.add_memory("ada", fact(secret), supersedes=[old.id])
    kept = await store.add_memory("ada", fact("I row."))
    conversation = await store.start_conversation("ada")
    call = ModuleCall(module="mkm", dialect="opt", prompt=f"Person 1\n{secret}\nI row.", raw=secret)
    told = ({"kind": "knowledge", "module": "mkm", "text": secret},)
    traces = [
        Trace(conversation=conversation.id, user=said(secret), memories=(memory, kept),
              calls=(call,), recalled=(secret,), events=told, history=(said(secret),)),
        Trace(conversation=conversation.id, user=said("Hi"), memories=(old, kept)),
    ]  # fmt: skip
    for trace in traces:
        await store.save_trace(trace)
    others = await store.start_conversation("ben")
    await store.save_trace(Trace(conversation=others.id, user=said("x"), recalled=(secret,)))

    assert await store.forget_memory("ada", memory.id)
    first, second = [await store.trace(trace.id) for trace in traces]
    assert first is not None and second is not None
    assert [m.text for m in first.memories] == ["[forgotten]", "I row."]
    assert [m.text for m in second.memories] == ["[forgotten]", "I row."]
    assert first.calls[0].prompt == "Person 1\n[forgotten]\nI row."
    assert first.calls[0].raw == first.recalled[0] == first.events[0]["text"] == "[forgotten]"
    assert first.user.text == first.history[0].text == secret  # it was said, and stays so
    unharmed = await store.latest_trace(others.id)
    assert unharmed is not None and unharmed.recalled == (secret,)
    assert await store.forget_all_memories("ada") == 1
    assert "I row." not in json.dumps((await store.export_user("ada"))["conversations"])


async def test_what_is_forgotten_is_gone_from_the_disk(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "bb3.db")
    await asyncio.gather(*(store.memories("ada") for _ in range(4)))  # connections stay open
    kept = await store.add_memory("ada", fact("I row on Loch Ness."))
    secret = await store.add_memory("ada", fact("I hid it under the oak."))
    others = [await store.add_memory("ada", fact(f"I hid it {n} in the barn.")) for n in range(2)]

    def on_disk(text: str) -> bool:
        return any(text.encode() in path.read_bytes() for path in tmp_path.iterdir())

    assert on_disk("under the oak")
    await store.forget_memory("ada", secret.id)
    assert not on_disk("under the oak")
    assert on_disk("in the barn")
    assert [m.id for m in await store.memories("ada")] == [kept.id, *(m.id for m in others)]
    await store.forget_all_memories("ada")
    assert not on_disk("in the barn")
    await store.aclose()


# --- the whole --------------------------------------------------------------------------------


async def test_export_is_json_and_complete(store: SqlStore) -> None:
    conversation = await store.start_conversation("ada")
    turn = said("I moved to Oslo.")
    await store.save_turn(conversation.id, turn)
    await store.save_trace(Trace(conversation=conversation.id, user=turn, model="m"))
    old = await store.add_memory("ada", fact("I live in Bergen.", vector=array("f", [1.0])))
    await store.add_memory("ada", fact("I live in Oslo."), supersedes=[old.id])
    data = json.loads(json.dumps(await store.export_user("ada"), allow_nan=False))
    assert data["user"] == "ada"
    (talk,) = data["conversations"]
    assert [t["text"] for t in talk["turns"]] == ["I moved to Oslo."]
    assert [t["model"] for t in talk["traces"]] == ["m"]
    assert [m["text"] for m in data["memories"]] == ["I live in Bergen.", "I live in Oslo."]
    nobody = await store.export_user("nobody")
    assert (nobody["conversations"], nobody["memories"]) == ([], [])


async def test_everything_survives_a_reopening(where: str) -> None:
    store = await open_store(where)
    conversation = await store.start_conversation("ada")
    await store.save_turn(conversation.id, said("hello"))
    memory = await store.add_memory("ada", fact("I row.", vector=array("f", [0.5])))
    await store.aclose()
    again = await open_store(where)
    assert await again.latest_conversation("ada") == conversation
    assert [t.text for t in await again.turns(conversation.id)] == ["hello"]
    assert await again.memories("ada") == [memory]
    await again.aclose()


async def test_many_tasks_at_once_lose_nothing(store: SqlStore) -> None:
    conversation = await store.start_conversation("ada")

    async def work(n: int) -> None:
        for i in range(5):
            await store.save_turn(conversation.id, said(f"{n}.{i}"))
            await store.add_memory("ada", fact(f"I have {n} {i}."))
            await store.memories("ada")

    await asyncio.gather(*(work(n) for n in range(12)))
    assert len({t.text for t in await store.turns(conversation.id)}) == 60
    assert len({m.text for m in await store.memories("ada")}) == 60


async def test_a_cancelled_write_leaves_the_store_usable(store: SqlStore) -> None:
    conversation = await store.start_conversation("ada")
    dice = random.Random(7)
    for n in range(40):
        task = asyncio.create_task(store.save_turn(conversation.id, said(str(n))))
        await asyncio.sleep(dice.random() * 0.004)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    last = said("still here")
    await asyncio.wait_for(store.save_turn(conversation.id, last), 10)
    assert (await store.turns(conversation.id))[-1] == last


async def test_a_closed_store_says_so(store: SqlStore) -> None:
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreError, match="closed"):
        await store.memories("ada")
