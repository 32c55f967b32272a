"""The turn: order of events, what runs together, what waits, and every step down."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from bb3.core.errors import AssetError, ModelError, SearchError, StoreError
from bb3.core.types import Speaker, TurnStatus
from bb3.modules.catalog import MODULES
from bb3.safety.guard import build_guard
from tests.chat.conftest import ASK, SCRIPT, kinds, of_kind, scores

BOTH = {"scores": scores(search=True, memory=True)}
DOWN = ModelError("The engine is on fire.", remedy="Pour water.")


def overlapping(trace, one: str, other: str) -> bool:
    a, b = (next(c for c in trace.calls if c.module == tag) for tag in (one, other))
    return a.started_ms < b.started_ms + b.ms and b.started_ms < a.started_ms + a.ms


async def test_order_of_events(build):
    house = await build(SCRIPT | {"mgm": ["nothing", "nothing"]}, model=BOTH)
    await house.remember("I have a dog called Bubbles.")
    events = await house.say(ASK)
    order = [kind for kind in kinds(events) if kind != "working"]
    first = {kind: order.index(kind) for kind in order}
    assert order.count("reply") == order.count("done") == 1
    assert order[-1] == "done"
    assert first["decision"] < first["query"] < first["documents"] < first["token"]
    assert first["decision"] < first["recalled"] < first["token"]
    assert max(i for i, kind in enumerate(order) if kind == "knowledge") < first["token"]
    assert first["token"] < first["reply"] < first["done"]
    steps = [event.step for event in of_kind(events, "working")]
    assert sorted(steps) == sorted("sdm mdm sgm search skm mkm srm mgm mgm".split())
    assert set(steps[:2]) == {"sdm", "mdm"}
    assert steps[-2:] == ["mgm", "mgm"]
    assert "".join(event.text for event in of_kind(events, "token")).strip() == SCRIPT["srm"]
    trace = events[-1].trace
    assert trace.query == "capital of Norway"
    assert trace.recalled == ("I have a dog called Bubbles.",)
    assert [d.title for d in trace.documents] == ["Oslo"]
    assert trace.first_token_ms < trace.ms
    assert {c.module for c in trace.calls} == {*"sdm mdm sgm skm mkm srm mgm".split()}


async def test_independent_modules_run_together(build):
    house = await build(SCRIPT, model=BOTH | {"delay_s": 0.03}, search_delay_s=0.2)
    await house.remember("I have a dog called Bubbles.")
    trace = await house.trace(ASK)
    assert overlapping(trace, "sdm", "mdm")
    assert overlapping(trace, "sgm", "mkm")
    mkm = next(c for c in trace.calls if c.module == "mkm")
    skm = next(c for c in trace.calls if c.module == "skm")
    assert mkm.started_ms + mkm.ms < skm.started_ms  # it did not wait for the search
    first, second = (c for c in trace.calls if c.module == "mgm")
    assert second.started_ms < first.started_ms + first.ms


async def test_memories_are_written_after_the_reply(build):
    script = SCRIPT | {"mgm": "I have a dog called Bubbles."}
    house = await build(script, model={"delay_s": 0.01}, remember_own=False)
    events = await house.say("I have a dog called Bubbles.")
    order = kinds(events)
    assert order.index("reply") < order.index("remembered") < order.index("done")
    (written,) = of_kind(events, "remembered")
    assert written.memory.speaker is Speaker.USER
    trace = events[-1].trace
    assert trace.written == ("I have a dog called Bubbles.",)
    mgm = next(c for c in trace.calls if c.module == "mgm")
    assert mgm.started_ms > trace.first_token_ms
    memories = await (await house.session()).book.known()
    assert [(m.message, m.turns_since_used) for m in memories] == [(trace.user.id, 1)]


async def test_nothing_is_asked_that_cannot_matter(build):
    house = await build(model=BOTH)
    house.agent = replace(house.agent, search=None)
    trace = await house.trace("Hello!")
    assert [c.module for c in trace.calls if c.module != "mgm"] == ["ckm", "vrm"]


@pytest.mark.parametrize(
    ("choices", "asked"),
    [
        ({"search": "never", "memory": "never", "entity": "never"}, {"vrm"}),
        ({"search": "never", "memory": "never", "entity": "always"}, {"ckm", "crm"}),
        ({"search": "never", "memory": "never"}, {"ckm", "crm"}),
        ({"search": "always", "memory": "never"}, {"sgm", "skm", "srm"}),
        ({"search": "never", "memory": "always"}, {"mkm", "mrm"}),
        ({"search": "always", "memory": "always"}, {"sgm", "skm", "mkm", "srm"}),
        (
            {"search": "always", "memory": "always", "entity": "always"},
            {"sgm", "skm", "mkm", "ckm", "srm"},
        ),
        ({"search": "never", "memory": "never", "style": "Dry"}, {"ckm", "grm"}),
    ],
)
async def test_forced_decisions(build, choices, asked):
    house = await build(remember=False, remember_own=False, **choices)
    await house.remember("I have a dog called Bubbles.")
    events = await house.say(ASK)
    assert {c.module for c in events[-1].trace.calls} == asked
    assert all(event.forced for event in of_kind(events, "decision"))


@pytest.mark.parametrize("tag", [tag for tag in MODULES if tag not in ("crm", "mrm", "grm", "brm")])
@pytest.mark.parametrize("name", ["chat", "opt"])
async def test_every_module_may_fail(build, tag, name):
    script = SCRIPT | {"sdm": "x", "mdm": "x"}

    def failing(request):
        return DOWN if request.module == tag else script[request.module]

    model = {"scores": scores(search=True, memory=True, name=name)}
    if tag in ("sdm", "mdm"):
        model = {"can_score": False}
    house = await build(failing, name=name, model=model, entity="always")
    await house.remember("I have a dog called Bubbles.")
    events = await house.say("Opening" if tag == "orm" else ASK)
    (reply,) = of_kind(events, "reply")
    assert reply.turn.text
    assert "fire" not in reply.turn.text
    trace = events[-1].trace
    failed = [c for c in trace.calls if c.module == tag]
    if tag == "vrm":  # was not needed
        assert failed == []
    else:
        assert all(c.error == str(DOWN) and not c.output for c in failed)
        assert tag in {e.step for e in of_kind(events, "degraded")}
    if tag == "srm":
        assert reply.module == "vrm"


async def test_a_model_that_is_down_gives_canned_replies(build):
    house = await build(lambda _: DOWN, model={"can_score": False})
    await house.remember("I have a dog called Bubbles.")
    for text in (ASK, "And now?"):
        events = await house.say(text)
        (reply,) = of_kind(events, "reply")
        assert reply.module == "canned"
        assert reply.turn.text in house.agent.guard.canned.bot
    (session,) = house.sessions.values()
    stored = await house.agent.store.turns(session.conversation.id)
    assert [t.text for t in stored] == [t.text for t in session.turns]
    assert len(stored) == 4


async def test_counting_tokens_may_fail(build):
    house = await build(model=BOTH)

    async def broken(_prompt) -> int:
        raise DOWN

    house.model.count_tokens = broken
    house.model.context_tokens = 200  # so that prompts must be counted
    events = await house.say("long " * 200)
    assert of_kind(events, "reply")[0].module == "canned"
    assert all(c.error == str(DOWN) for c in events[-1].trace.calls)


async def test_search_that_fails_or_finds_nothing_gives_way_to_an_entity(build):
    for found in (SearchError("The server is away."), ()):
        house = await build(finds=found, model=BOTH, where=f"{len(str(found))}.sqlite")
        events = await house.say(ASK)
        trace = events[-1].trace
        assert of_kind(events, "reply")[0].module == "crm"
        assert [c.module for c in trace.calls if c.module in ("skm", "ckm")] == ["ckm"]
        assert of_kind(events, "documents")[0].documents == ()
        away = [e for e in of_kind(events, "degraded") if e.step == "search"]
        assert len(away) == (1 if found else 0)
        assert trace.documents == ()


async def test_search_may_fail_in_any_way_that_has_a_name(build):
    house = await build(model=BOTH)

    async def torn(query, k):
        raise AssetError("The index is torn.")

    house.search.search = torn
    events = await house.say(ASK)
    assert of_kind(events, "reply")[0].module == "crm"
    assert [e.step for e in of_kind(events, "degraded")] == ["search"]


@pytest.mark.parametrize("part", ["model", "search", "memory", "store"])
async def test_a_fault_in_a_part_costs_that_part_and_not_the_turn(build, monkeypatch, part, caplog):
    """Not an error with a name but a mistake in somebody's code."""
    house = await build(model=BOTH)
    await house.remember("I have a dog called Bubbles.")

    async def mistaken(*args, **kwargs):
        raise TypeError("'NoneType' object is not iterable")

    match part:
        case "model":
            monkeypatch.setattr(house.model, "score", mistaken)
        case "search":
            monkeypatch.setattr(house.search, "search", mistaken)
        case "memory":
            monkeypatch.setattr((await house.session()).book, "recall", mistaken)
        case "store":
            monkeypatch.setattr(house.agent.store, "save_turn", mistaken)
    events = await house.say(ASK)
    wrote = {"model": "crm", "search": "mrm", "memory": "srm", "store": "srm"}[part]
    assert of_kind(events, "reply")[0].module == wrote
    assert events[-1].kind == "done"
    told = of_kind(events, "degraded")
    assert {e.step for e in told} == ({"sdm", "mdm"} if part == "model" else {part})
    assert all(e.reason == "TypeError: 'NoneType' object is not iterable" for e in told)
    assert "test_turn.py" in caplog.text  # the traceback, for whoever mends it


class BrokenEmbedder:
    name, dim = "broken", 4

    async def embed(self, texts):
        raise ModelError("no vectors today")


async def test_embedder_that_fails_leaves_words(build):
    script = SCRIPT | {"mgm": "I live in Turin."}
    house = await build(
        script, model=BOTH, agent={"embedder": BrokenEmbedder()}, remember_own=False
    )
    await house.remember("I have a dog called Bubbles.")
    trace = await house.trace("I live in Turin. What is my dog called?")
    assert trace.recalled == ("I have a dog called Bubbles.",)
    assert trace.written == ("I live in Turin.",)


class Failing:
    """A store of which some methods fail from some call on."""

    def __init__(self, store, methods: set[str], after: int = 0) -> None:
        self._store, self._methods, self._left = store, methods, after
        self.refused = 0

    def __getattr__(self, name):
        if name not in self._methods:
            return getattr(self._store, name)

        async def fail(*args, **kwargs):
            self._left -= 1
            if self._left >= 0:
                return await getattr(self._store, name)(*args, **kwargs)
            self.refused += 1
            raise StoreError("The disk is full.")

        return fail


@pytest.mark.parametrize(
    ("methods", "after"),
    [
        ({"save_turn", "save_trace"}, 0),
        ({"save_turn", "save_trace"}, 3),
        ({"save_trace"}, 0),
        ({"memories"}, 0),
        ({"add_memory"}, 0),
        ({"age_memories"}, 0),
    ],
)
async def test_store_that_fails_does_not_stop_the_turn(build, methods, after):
    house = await build(SCRIPT | {"mgm": "I live in Turin."}, model=BOTH, remember_own=False)
    await house.remember("I have a dog called Bubbles.")
    session = await house.session()
    broken = Failing(house.agent.store, methods, after)
    house.agent = replace(house.agent, store=broken)
    session.book._store = broken
    events = await house.say("I live in Turin.")
    assert of_kind(events, "reply")[0].turn.text == SCRIPT["srm"]
    steps = [e.step for e in of_kind(events, "degraded")]
    assert steps == (["memory"] * len(steps) if "save_trace" not in methods else ["store"])
    assert steps
    assert events[-1].kind == "done"
    assert broken.refused < 8  # not once for every piece of the reply
    assert all("disk" not in turn.text for turn in session.turns)


async def test_deadline_of_a_module(build):
    def slow(request):
        return SCRIPT[request.module]

    house = await build(slow, model=BOTH, module_deadline_s=0.2)

    async def hang(request, continuations):
        await asyncio.sleep(30)

    house.model.score = hang
    began = time.monotonic()
    events = await house.say(ASK)
    assert time.monotonic() - began < 5
    late = next(e for e in of_kind(events, "degraded") if e.step == "sdm")
    assert late.reason.startswith("No answer within 0.2 s")
    assert of_kind(events, "reply")[0].module == "crm"


async def test_deadline_of_all_that_goes_before_the_reply(build):
    house = await build(model=BOTH, search_delay_s=30, find_deadline_s=0.3)
    await house.remember("I have a dog called Bubbles.")
    events = await house.say(ASK)
    assert of_kind(events, "reply")[0].module == "mrm"  # what was found in time is used
    assert "turn" in {e.step for e in of_kind(events, "degraded")}
    assert "ckm" not in {c.module for c in events[-1].trace.calls}


async def test_deadlines_hold_for_decisions_too(build):
    house = await build(model={"delay_s": 0.3} | BOTH, find_deadline_s=0.1, turn_deadline_s=20.0)
    events = await house.say(ASK)
    assert of_kind(events, "reply")[0].module == "vrm"
    assert [e.reason for e in of_kind(events, "degraded")] == [
        "Nothing more was found within 0.1 s."
    ]


async def test_waiting_for_an_earlier_turn_costs_no_time(build):
    house = await build(model={"delay_s": 0.04}, search="never", memory="never", entity="never",
                        turn_deadline_s=1.5)  # fmt: skip
    told = await asyncio.gather(*(house.say(f"message {number}") for number in range(8)))
    assert sum(events[-1].trace.ms for events in told) > 1500
    assert all(of_kind(events, "reply")[0].module == "vrm" for events in told)
    assert all(e.turn.status is TurnStatus.COMPLETE for ev in told for e in of_kind(ev, "reply"))


async def test_deadline_of_the_turn_keeps_what_was_written(build):
    words = "one two three four five six seven eight nine ten " * 20
    script = SCRIPT | {"vrm": words}
    house = await build(
        script, model={"delay_s": 0.05}, entity="never", memory="never", search="never",
        turn_deadline_s=0.5,
    )  # fmt: skip
    events = await house.say("Count!")
    (reply,) = of_kind(events, "reply")
    assert reply.turn.text
    assert words.startswith(reply.turn.text)
    assert (reply.module, reply.turn.status) == ("vrm", TurnStatus.INTERRUPTED)
    assert len(reply.turn.text) < len(words)
    stopped = next(c for c in events[-1].trace.calls if c.module == "vrm")
    assert stopped.error == "It was stopped before its end."
    assert [r.module for r in house.model.cancelled] == ["vrm"]


async def test_no_time_at_all_gives_a_canned_reply(build):
    house = await build(model={"delay_s": 0.2}, turn_deadline_s=0.05)
    events = await house.say("Hello!")
    assert of_kind(events, "reply")[0].module == "canned"


async def test_a_blocked_message_is_kept_apart(build):
    house = await build(SCRIPT | {"mgm": "I am a shithead."}, safety="words")
    events = await house.say("You stupid fucking shithead.")
    assert [e.side for e in of_kind(events, "blocked")] == ["user"]
    assert of_kind(events, "reply")[0].turn.text in house.agent.guard.canned.user
    assert house.model.requests == []
    await house.say("I like trams.")
    assert "shithead" not in "".join(r.prompt.written_out() for r in house.model.requests)
    session = await house.session()
    assert [m.text for m in await session.book.known()] == ["I like trams."]
    stored = await house.agent.store.turns(session.conversation.id)
    assert stored[0].status is TurnStatus.BLOCKED
    again = await house.agent.open("ann")
    assert [t.text for t in again.turns] == [t.text for t in session.turns]


async def test_a_blocked_reply_is_hidden_and_forgotten(build):
    script = SCRIPT | {"vrm": "Well, you are a fucking idiot, my friend.", "mgm": "I am fine."}
    house = await build(script, safety="words")
    events = await house.say("Hello!")
    assert [e.side for e in of_kind(events, "blocked")] == ["bot"]
    assert "fucking" not in "".join(e.text for e in of_kind(events, "token"))
    (reply,) = of_kind(events, "reply")
    assert reply.turn.text in house.agent.guard.canned.bot
    session = await house.session()
    stored = await house.agent.store.turns(session.conversation.id)
    assert [t.text for t in stored] == ["Hello!", reply.turn.text]
    assert [len(house.model.asked(tag)) for tag in ("vrm", "mgm")] == [1, 1]  # not on the reply
    assert len(house.model.cancelled) == 1
    call = next(c for c in events[-1].trace.calls if c.module == "vrm")
    assert "fucking" not in call.raw + call.output
    await house.say("And now?")
    assert "fucking" not in "".join(r.prompt.written_out() for r in house.model.requests)


class Crashing:
    name = "crashing"

    async def classify(self, texts, contexts=None):
        raise RuntimeError("out of memory")


async def test_a_guard_that_fails_is_told(build):
    house = await build(guard=build_guard("all", classifiers=[Crashing()]))
    events = await house.say("Hello!")
    assert of_kind(events, "reply")[0].module == "vrm"
    assert {e.step for e in of_kind(events, "degraded")} == {"guard"}
