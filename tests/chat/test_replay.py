"""Turns again: from the seed, from the trace, and with an answer changed."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest

from bb3.core.errors import UsageError
from bb3.core.ports import GenerationRequest
from bb3.core.types import Document
from tests.chat.conftest import ASK, OSLO, SCRIPT, of_kind, scores

BOTH = {"scores": scores(search=True, memory=True)}


async def again(house, trace, edits=None, agent=None):
    agent = agent or house.agent
    asked, searched = len(house.model.requests), len(house.search.queries)
    async with aclosing(agent.replay(trace, edits)) as events:
        told = [event async for event in events]
    modules = [request.module for request in house.model.requests[asked:]]
    return told, modules, house.search.queries[searched:]


def outputs(trace) -> list[tuple]:
    return sorted((c.module, c.prompt, c.output, c.logprob, c.seed) for c in trace.calls)


def seeded(request: GenerationRequest) -> str:
    """A model that is as good as its dice."""
    if request.module in ("vrm", "srm", "crm", "mrm"):
        return f"I say {request.seed} about Norway."
    return SCRIPT[request.module]


async def test_the_seed_decides(build):
    traces = []
    for where in ("a", "b", "c"):
        house = await build(seeded, model=BOTH | {"delay_s": 0.002}, where=f"{where}.sqlite")
        await house.remember("I have a dog called Bubbles.")
        await house.say("Hello!", seed=7)
        traces.append(await house.trace(ASK, seed=8 if where == "c" else 7))
    assert outputs(traces[0]) == outputs(traces[1])
    assert traces[0].reply.text == traces[1].reply.text != traces[2].reply.text


async def test_without_a_seed_turns_differ(build):
    house = await build(seeded)
    one, two = await house.trace("Hi!", seed=None), await house.trace("Hi!", seed=None)
    assert one.seed != two.seed
    assert {c.seed for c in one.calls}.isdisjoint({c.seed for c in two.calls})


@pytest.mark.parametrize("conditioning", ["combined", "separate", "both"])
async def test_without_edits_nothing_is_asked(build, conditioning):
    house = await build(seeded, model=BOTH, conditioning=conditioning, entity="always")
    await house.remember("I have a dog called Bubbles.")
    await house.say("Hello!")
    trace = await house.trace(ASK)
    stored = await house.agent.store.trace(trace.id)
    for recorded in (trace, stored):
        told, asked, searched = await again(house, recorded)
        assert (asked, searched) == ([], [])
        replayed = told[-1].trace
        assert replayed.reply.text == trace.reply.text
        assert replayed.documents == trace.documents
        assert outputs(replayed) == [row for row in outputs(trace) if row[0] != "mgm"]


@pytest.mark.parametrize("name", ["chat", "opt", "r2c2"])
async def test_a_later_turn_is_replayed_with_what_was_known_then(build, name):
    house = await build(
        seeded,
        name=name,
        model=BOTH | {"scores": scores(search=True, memory=True, name=name)},
        agent={"persona": ("I am a sailor.",)},
    )
    await house.remember("I have a dog called Bubbles.")
    for _ in range(2):
        trace = await house.trace(ASK)
    assert trace.earlier["skm"] == (SCRIPT["skm"],)
    assert trace.persona == ("I am a sailor.",)
    other = replace(house.agent, persona=("I am a cook.",))
    stored = await house.agent.store.trace(trace.id)
    told, asked, searched = await again(house, stored, agent=other)
    assert (asked, searched) == ([], [])
    assert told[-1].trace.reply.text == trace.reply.text


async def test_nothing_is_stored(build):
    house = await build(seeded, model=BOTH)
    trace = await house.trace(ASK)
    before = await house.agent.store.export_user("ann")
    del before["exported_at"]
    await again(house, trace, {"sgm": "trams"})
    after = await house.agent.store.export_user("ann")
    assert {name: after[name] for name in before} == before
    assert len((await house.session()).turns) == 2


async def test_an_edited_query_is_searched_and_what_follows_is_asked_anew(build):
    trams = Document(title="Trams", text="Trams are green. Trams run in Oslo.", url="http://b")
    house = await build(seeded, model=BOTH)
    house.search._answers["green trams"] = (trams,)
    await house.remember("I have a dog called Bubbles.")
    trace = await house.trace(ASK)
    told, asked, searched = await again(house, trace, {"sgm": "green trams"})
    assert searched == [("green trams", 5)]
    assert sorted(asked) == ["skm", "srm"]
    replayed = told[-1].trace
    assert replayed.query == "green trams"
    assert [d.title for d in replayed.documents] == ["Trams"]
    assert [c.module for c in replayed.calls if c.edited] == ["sgm"]


async def test_an_edited_decision(build):
    house = await build(seeded, model=BOTH)
    await house.remember("I have a dog called Bubbles.")
    trace = await house.trace(ASK)
    told, asked, searched = await again(house, trace, {"sdm": "no"})
    assert (asked, searched) == (["mrm"], [])
    assert of_kind(told, "reply")[0].module == "mrm"
    told, asked, _ = await again(house, trace, {"sdm": "no", "mdm": "no"})
    assert asked == ["ckm", "crm"]


async def test_a_forced_decision_can_be_edited(build):
    house = await build(seeded, model=BOTH, search="never", memory="never")
    trace = await house.trace(ASK)
    told, asked, searched = await again(house, trace, {"sdm": "yes"})
    assert asked == ["sgm", "skm", "srm"]
    assert len(searched) == 1
    assert told[-1].trace.documents == (OSLO,)


async def test_an_edited_reply(build):
    house = await build(seeded, model=BOTH)
    trace = await house.trace(ASK)
    told, asked, _ = await again(house, trace, {"srm": "My own words."})
    assert asked == []
    assert told[-1].trace.reply.text == "My own words."


async def test_knowledge_that_was_put_there_is_taken_at_its_word(build):
    house = await build(seeded, model=BOTH)
    trace = await house.trace(ASK)
    told, asked, _ = await again(house, trace, {"skm": "The moon is made of cheese."})
    assert asked == ["srm"]
    assert of_kind(told, "knowledge")[0].text == "The moon is made of cheese."


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"xyz": "a"}, "There is no module 'xyz'. Known: "),
        ({"sdm": "maybe"}, "sdm decides: its answer is yes or no, not 'maybe'."),
        ({"mdm": ""}, "mdm decides"),
    ],
)
async def test_bad_edits_are_refused(build, edits, message):
    house = await build(seeded, model=BOTH)
    trace = await house.trace(ASK)
    with pytest.raises(UsageError, match=r"no module|decides") as caught:
        await again(house, trace, edits)
    assert str(caught.value).startswith(message)


async def test_a_replay_has_the_settings_and_the_day_of_the_turn(build):
    house = await build(
        seeded, model=BOTH, append_to_query="2022", agent={"tell_date": True}, window=4
    )
    trace = await house.trace(ASK)
    old = replace(trace, user=replace(trace.user, at=trace.user.at - timedelta(days=400)))
    _, asked, _ = await again(house, old)
    assert asked == ["srm"]  # only the reply is told the date, and it was another day
    elsewhere = house.agent.with_pipeline(replace(house.agent.pipeline, search="never", window=64))
    stored = await house.agent.store.trace(trace.id)
    told, asked, searched = await again(house, stored, agent=elsewhere)
    assert (asked, searched) == ([], [])
    assert told[-1].trace.pipeline == trace.pipeline


async def test_tries_of_an_opening_are_told_apart(build):
    house = await build({"orm": ["Person 1: hi", "Person 2: hi", "Hello you!"]})
    await house.remember("I have a dog called Bubbles.")
    trace = await house.trace("Opening")
    assert trace.reply.text == "Hello you!"
    told, asked, _ = await again(house, trace)
    assert asked == []
    assert told[-1].trace.reply.text == "Hello you!"


async def test_an_interrupted_turn_can_be_replayed(build):
    house = await build(seeded, model=BOTH | {"delay_s": 0.01})
    session = await house.session()
    async with aclosing(house.agent.chat(session, ASK, seed=3)) as events:
        async for event in events:
            if event.kind == "documents":
                break
    trace = await house.agent.store.latest_trace(session.conversation.id)
    house.model.delay_s = 0
    told, asked, searched = await again(house, trace)
    assert (asked, searched) == (["skm", "srm"], [])
    assert told[-1].trace.reply.text


async def test_queries_that_found_nothing_are_not_searched_again(build):
    house = await build(SCRIPT | {"sgm": "Norway"}, model=BOTH, finds=())
    house.search._answers["capital norway"] = (OSLO,)
    trace = await house.trace(ASK)
    told, asked, searched = await again(house, trace)
    assert (asked, searched) == ([], [])
    assert told[-1].trace.documents == (OSLO,)
