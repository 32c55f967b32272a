"""Stopping a turn: whatever was shown is kept, the model is freed, the next turn works."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

import pytest

from bb3.core.types import TurnStatus
from tests.chat.conftest import ASK, SCRIPT, of_kind, scores

LONG = {**SCRIPT, "vrm": "one two three four five six seven eight nine ten " * 5}
PLAIN = {"search": "never", "memory": "never", "entity": "never"}


async def stopped_at(house, text, kind, step=None, count=1, pause_s=0.0):
    """Run a turn until the count-th event of a kind, then close its iterator."""
    events = []
    async with aclosing(house.agent.chat(await house.session(), text, seed=1)) as stream:
        async for event in stream:
            events.append(event)
            wanted = event.kind == kind and step in (None, getattr(event, "step", None))
            count -= wanted
            if count == 0:
                await asyncio.sleep(pause_s)
                return events
    pytest.fail(f"there was no {kind}")


async def test_in_the_middle_of_the_reply(build):
    house = await build(LONG, model={"delay_s": 0.01}, **PLAIN)
    events = await stopped_at(house, "Count!", "token", count=4)
    shown = "".join(event.text for event in of_kind(events, "token"))
    session = await house.session()
    stored = await house.agent.store.turns(session.conversation.id)
    assert stored == session.turns
    assert [t.status for t in stored] == [TurnStatus.COMPLETE, TurnStatus.INTERRUPTED]
    assert stored[1].text.startswith(shown)
    assert [request.module for request in house.model.cancelled] == ["vrm"]
    trace = await house.agent.store.latest_trace(session.conversation.id)
    assert trace.reply == stored[1]
    assert [(c.module, c.error) for c in trace.calls] == [("vrm", "It was stopped before its end.")]
    assert await session.book.known() == []
    house.model.delay_s = 0
    events = await house.say("And now?")
    assert of_kind(events, "reply")[0].turn.text == LONG["vrm"].strip()
    said = [m.content for m in house.model.requests[-3].prompt.messages]
    assert house.model.requests[-3].module == "vrm"
    assert said[-3:] == ["Count!", stored[1].text, "And now?"]


async def test_in_the_middle_of_an_opening(build):
    house = await build({**SCRIPT, "orm": "Hello! How is Bubbles?"})
    await house.remember("I have a dog called Bubbles.")
    await stopped_at(house, "Opening", "token")
    session = await house.session()
    stored = await house.agent.store.turns(session.conversation.id)
    assert [t.status for t in stored] == [TurnStatus.INTERRUPTED]
    assert stored == session.turns
    assert (await house.agent.store.latest_trace(session.conversation.id)).reply == stored[0]


@pytest.mark.parametrize("step", ["sdm", "search", "skm", "mkm", "srm"])
async def test_before_the_reply(build, step):
    house = await build(
        LONG,
        model={"delay_s": 0.05, "scores": scores(search=True, memory=True)},
        search_delay_s=0.1,
    )
    await house.remember("I have a dog called Bubbles.")
    await stopped_at(house, ASK, "working", step)
    asked = len(house.model.requests)
    await asyncio.sleep(0.3)
    assert len(house.model.requests) == asked  # nothing goes on behind the reader's back
    session = await house.session()
    assert [t.text for t in session.turns] == [ASK]
    assert await house.agent.store.turns(session.conversation.id) == session.turns
    trace = await house.agent.store.latest_trace(session.conversation.id)
    assert trace.reply is None
    house.model.delay_s = 0
    events = await house.say("And now?")
    assert of_kind(events, "reply")[0].turn.text == SCRIPT["srm"]


async def test_while_memories_are_written(build):
    house = await build({**SCRIPT, "mgm": "I live in Turin."}, model={"delay_s": 0.02}, **PLAIN)
    await stopped_at(house, "I live in Turin.", "working", "mgm")
    session = await house.session()
    stored = await house.agent.store.turns(session.conversation.id)
    assert [t.status for t in stored] == [TurnStatus.COMPLETE] * 2
    assert stored[1].text == SCRIPT["vrm"]
    trace = await house.agent.store.latest_trace(session.conversation.id)
    assert trace.reply == stored[1]
    assert trace.written == ()


async def test_the_task_of_the_reader_is_cancelled(build):
    house = await build(LONG, model={"delay_s": 0.01}, **PLAIN)
    session = await house.session()
    seen = []

    async def read():
        async with aclosing(house.agent.chat(session, "Count!", seed=1)) as events:
            async for event in events:
                seen.append(event)

    task = asyncio.create_task(read())
    while not of_kind(seen, "token"):
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [t.status for t in session.turns] == [TurnStatus.COMPLETE, TurnStatus.INTERRUPTED]
    assert len(asyncio.all_tasks()) == 1


async def test_no_task_is_left_when_the_iterator_is_closed_early(build):
    house = await build(LONG, model={"delay_s": 0.01})
    session = await house.session()
    stream = house.agent.chat(session, "Hello!", seed=1)
    await anext(stream)
    await stream.aclose()
    assert len(asyncio.all_tasks()) == 1


async def test_replies_of_several_candidates_are_stopped_together(build):
    house = await build(
        LONG,
        model={"delay_s": 0.05, "scores": scores(search=True, memory=True)},
        conditioning="separate",
    )
    await house.remember("I have a dog called Bubbles.")
    await stopped_at(house, ASK, "working", "mrm", pause_s=0.08)
    assert {request.module for request in house.model.cancelled} == {"srm", "mrm"}
    session = await house.session()
    assert [t.text for t in session.turns] == [ASK]


@pytest.mark.parametrize("seed", [1, 2])
async def test_stopped_at_any_moment_store_and_session_agree(build, seed):
    def answer(request):  # every statement becomes a memory
        said = request.prompt.messages[-1].content
        return said if request.module == "mgm" else SCRIPT[request.module]

    both = {"scores": scores(search=True, memory=True), "delay_s": 0.001}
    house = await build(answer, model=both, safety="words")
    session = await house.session()
    dice = random.Random(seed)
    for number in range(30):
        task = asyncio.create_task(house.say(f"I have {number} cats."))
        await asyncio.sleep(dice.random() * 0.12)
        task.cancel()
        if number % 2:  # an impatient reader
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        async with session.busy:  # whoever was impatient finds the turn closing behind him
            pass
        stored = await house.agent.store.turns(session.conversation.id)
        assert stored == session.turns
    assert len(await house.agent.store.memories("ann")) <= 1  # each replaced the one before
