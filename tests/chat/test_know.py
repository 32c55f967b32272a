"""Decisions, and what becomes of answers that the material does not bear out."""

from __future__ import annotations

import pytest

from bb3.chat.ask import says_yes
from bb3.chat.know import quoted
from bb3.core.errors import ModelError
from bb3.core.types import Document, Memory, Speaker
from bb3.modules.dialects import dialect
from tests.chat.conftest import ASK, OSLO, SCRIPT, of_kind, scores

SEARCH = {"scores": scores(search=True)}
MEMORY = {"scores": scores(memory=True)}


@pytest.mark.parametrize(
    ("answer", "yes", "no", "means"),
    [
        ("search", " search", " do not search", True),
        (" search ", " search", " do not search", True),
        ("Search for it", " search", " do not search", True),
        ("do not search", " search", " do not search", False),
        ("do not access memory", " access memory", " do not access memory", False),
        ("access memory", " access memory", " do not access memory", True),
        ("__do-search__", "__do-search__", "__do-not-search__", True),
        ("__do-not-search__", "__do-search__", "__do-not-search__", False),
        ("researching", " search", " do not search", False),
        ("I would search", " search", " do not search", False),
        ("", " search", " do not search", False),
        ("yes", "yes", "yes but no", True),
        ("yes but no", "yes", "yes but no", False),
    ],
)
def test_generated_decisions(answer, yes, no, means):
    assert says_yes(answer, yes, no) is means


@pytest.mark.parametrize(
    ("odds", "threshold", "yes"), [(1.0, 0.0, True), (-0.1, 0.0, False), (1.0, 1.5, False),
                                   (-1.0, -2.0, True), (0.0, 0.0, False)],
)  # fmt: skip
async def test_scored_decisions_are_held_against_the_threshold(build, odds, threshold, yes):
    said = {("sdm", "fact"): odds - 3.0, ("sdm", "chat"): -3.0}
    house = await build(model={"scores": said}, thresholds={"sdm": threshold})
    events = await house.say(ASK)
    decision = next(e for e in of_kind(events, "decision") if e.module == "sdm")
    assert decision.yes is yes
    assert decision.margin == pytest.approx(odds - threshold)
    call = next(c for c in events[-1].trace.calls if c.module == "sdm")
    assert (call.output, call.logprob) == ("yes" if yes else "no", pytest.approx(odds))


@pytest.mark.parametrize(("said", "yes"), [("fact", True), ("chat", False), ("bananas", False)])
async def test_models_that_cannot_score_are_asked_to_say_it(build, said, yes):
    house = await build(SCRIPT | {"sdm": said}, model={"can_score": False})
    events = await house.say(ASK)
    decision = next(e for e in of_kind(events, "decision") if e.module == "sdm")
    assert (decision.yes, decision.margin) == (yes, None)


@pytest.mark.parametrize(
    ("query", "searched", "fallback"),
    [
        ("capital of Norway", "capital of Norway", False),
        ("", "capital norway", True),
        ("nothing", "capital norway", True),
        ("who won the football world cup", "capital norway", True),  # from nowhere
        ("the of and", "capital norway", True),
        ("Norway " * 30, "capital norway", True),
        ('{"query": "capital of Norway"}', "capital of Norway", False),
    ],
)
async def test_unusable_queries_give_way_to_keywords(build, query, searched, fallback):
    house = await build(SCRIPT | {"sgm": query}, model=SEARCH)
    events = await house.say(ASK)
    assert house.search.queries == [(searched, 5)]
    (told,) = of_kind(events, "query")
    assert (told.text, told.fallback) == (searched, fallback)


async def test_a_query_that_finds_nothing_is_followed_by_keywords(build):
    house = await build(SCRIPT | {"sgm": "Norway"}, model=SEARCH, finds=())
    house.search._answers["capital norway"] = (OSLO,)
    events = await house.say(ASK)
    assert [query for query, _ in house.search.queries] == ["Norway", "capital norway"]
    assert [e.fallback for e in of_kind(events, "query")] == [False, True]
    assert of_kind(events, "reply")[0].module == "srm"


async def test_trained_models_are_taken_at_their_word(build):
    script = SCRIPT | {"sgm": "football", "skm": "Not in any document."}
    model = {"scores": scores(search=True, name="opt")}
    house = await build(script, name="opt", model=model, append_to_query="2022", documents=3)
    events = await house.say(ASK)
    assert house.search.queries == [("football 2022", 3)]
    assert events[-1].trace.query == "football 2022"
    assert of_kind(events, "knowledge")[0].text == "Not in any document."
    house = await build(script, name="opt", model=model, finds=(), where="b.sqlite")
    await house.say(ASK)
    assert house.search.queries == [("football", 5)]


@pytest.mark.parametrize(
    ("answer", "settled"),
    [
        ("Oslo is the capital of Norway.", "Oslo is the capital of Norway."),
        ("Oslo has many green dragons and a pink palace.", "Oslo is the capital of Norway."),
        ("nothing", "Oslo is the capital of Norway."),
        ("", "Oslo is the capital of Norway."),
        ("I am", "Oslo is the capital of Norway."),
    ],
)
async def test_knowledge_must_be_in_the_documents(build, answer, settled):
    house = await build(SCRIPT | {"skm": answer}, model=SEARCH)
    events = await house.say(ASK)
    assert [e.text for e in of_kind(events, "knowledge")] == [settled]


async def test_the_best_sentence_stands_in(build):
    page = Document(title="Norway", text="It is cold there. The capital of Norway is Oslo. Bye.")
    house = await build(SCRIPT | {"skm": ""}, model=SEARCH, finds=(page,))
    events = await house.say(ASK)
    assert of_kind(events, "knowledge")[0].text == "The capital of Norway is Oslo."


async def test_documents_without_text_are_no_knowledge(build):
    house = await build(SCRIPT | {"skm": ""}, model=SEARCH, finds=(Document(title="T", text=" "),))
    events = await house.say(ASK)
    assert of_kind(events, "knowledge") == []
    assert of_kind(events, "reply")[0].module == "vrm"


@pytest.mark.parametrize(
    ("answer", "settled"),
    [
        ("I have a dog called Bubbles.", "I have a dog called Bubbles."),
        ("User: I have a dog called Bubbles", "I have a dog called Bubbles."),
        ("You have a dog called Bubbles", "I have a dog called Bubbles."),
        ("I live in Turin.", "I live in Turin."),
        ("I like elephants very much", "I have a dog called Bubbles."),  # the best recalled
        ("", "I have a dog called Bubbles."),
    ],
)
async def test_memories_are_quoted_from_the_store(build, answer, settled):
    house = await build(SCRIPT | {"mkm": answer}, model=MEMORY)
    await house.remember("I live in Turin.")
    await house.remember("I have a dog called Bubbles.")
    events = await house.say("What is my dog called?")
    assert [e.text for e in of_kind(events, "knowledge")] == [settled]
    assert events[-1].trace.recalled == (settled,)
    ages = {m.text: m.turns_since_used for m in await (await house.session()).book.known()}
    assert ages == {
        "I live in Turin.": int(settled != "I live in Turin."),
        "I have a dog called Bubbles.": int(settled == "I live in Turin."),
    }


@pytest.mark.parametrize(
    ("answer", "settled"),
    [
        ("Person 1's Persona: I live in Turin.", "Person 1's Persona: I live in Turin."),
        ("I live in Turin.", "Person 1's Persona: I live in Turin."),
        ("I live in turin", None),
        ("I like elephants", None),
    ],
)
async def test_trained_models_must_quote_exactly(build, answer, settled):
    model = {"scores": scores(memory=True, name="opt")}
    house = await build(SCRIPT | {"mkm": answer}, name="opt", model=model)
    await house.remember("I live in Turin.")
    events = await house.say("Where do I live?")
    assert [e.text for e in of_kind(events, "knowledge")] == ([settled] if settled else [])
    assert of_kind(events, "reply")[0].module == ("mrm" if settled else "vrm")
    assert {e.step for e in of_kind(events, "degraded")} == (set() if settled else {"mkm"})


@pytest.mark.parametrize(
    ("answer", "settled"),
    [
        ("trams", "trams"),
        ("Trams in Turin", "Trams in Turin"),
        ("dragons", None),
        ("the", None),
        ("", None),
        ("trams and Turin and you and me", None),
    ],
)
async def test_an_entity_must_be_of_the_conversation(build, answer, settled):
    house = await build(SCRIPT | {"ckm": answer})
    events = await house.say("I like the trams in Turin.")
    assert [e.text for e in of_kind(events, "knowledge")] == ([settled] if settled else [])
    assert of_kind(events, "reply")[0].module == ("crm" if settled else "vrm")


async def test_earlier_knowledge_is_remembered_for_the_next_turn(build):
    house = await build(name="r2c2", model={"scores": scores(search=True, name="r2c2")})
    await house.say(ASK)
    await house.say(ASK)
    blocks = [request.prompt.block_text for request in house.model.asked("skm")]
    assert blocks[0].endswith("__SILENCE__")
    assert blocks[1].endswith(f"__SILENCE__ {SCRIPT['skm']}")
    again = await house.agent.open("ann")
    assert again.earlier == (await house.session()).earlier == {"skm": [SCRIPT["skm"]] * 2}


BOTH_LIKE_PIZZA = (
    Memory(speaker=Speaker.USER, text="I like pizza.", id=1),
    Memory(speaker=Speaker.BOT, text="I like pizza.", id=2),
)


@pytest.mark.parametrize("name", ["opt", "r2c2", "chat", "fewshot"])
def test_whose_memory_it_is_is_heeded(name):
    spoken = dialect(name)
    for memory in BOTH_LIKE_PIZZA:
        assert quoted(spoken.quote(memory), BOTH_LIKE_PIZZA, spoken, exactly=True) is memory
    user, _ = BOTH_LIKE_PIZZA
    assert quoted("I like pizza.", BOTH_LIKE_PIZZA, spoken, exactly=True) is user
    assert quoted("I like pizzas.", BOTH_LIKE_PIZZA, spoken, exactly=True) is None
    assert quoted("I like pizzas.", BOTH_LIKE_PIZZA, spoken, exactly=False) is user
    assert quoted("", BOTH_LIKE_PIZZA, spoken, exactly=False) is None


@pytest.mark.parametrize("name", ["chat", "fewshot"])
async def test_what_the_bot_said_of_itself_is_not_told_as_the_users(build, name):
    house = await build(SCRIPT | {"mkm": "I love pizza."}, name=name,
                        model={"scores": scores(memory=True, name=name)})  # fmt: skip
    await (await house.session()).book.remember("I love pizza.", speaker=Speaker.BOT)
    await house.say("What food do you like?")
    asked = [house.model.asked(tag)[0].prompt.written_out() for tag in ("mkm", "mrm")]
    mark = "You said of yourself: I love pizza." if name == "chat" else "Person 2's Persona: I love"
    assert all(mark in prompt for prompt in asked)


@pytest.mark.parametrize("name", ["chat", "opt"])
async def test_an_edited_memory_stands_as_it_was_edited(build, name):
    house = await build(name=name, model={"scores": scores(memory=True, name=name)})
    await house.remember("I have a dog called Bubbles.")
    trace = await house.trace("What is my dog called?")
    cat = "I have a cat called Tom."
    events = [event async for event in house.agent.replay(trace, {"mkm": cat})]
    assert [k.text for k in of_kind(events, "knowledge")] == [cat]
    assert not of_kind(events, "degraded")
    assert cat in house.model.asked("mrm")[-1].prompt.written_out()


async def test_a_knowledge_module_that_fails_leaves_the_best_memory(build):
    house = await build(SCRIPT | {"mkm": ModelError("away")}, model=MEMORY)
    await house.remember("I have a dog called Bubbles.")
    events = await house.say("What is my dog called?")
    assert [k.text for k in of_kind(events, "knowledge")] == ["I have a dog called Bubbles."]
    assert of_kind(events, "reply")[0].module == "mrm"
