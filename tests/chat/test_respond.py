"""Which reply is given: combined, separate, both; openings; replies that come to nothing."""

from __future__ import annotations

import pytest

from bb3.core.ports import GenerationResult, Sampling
from bb3.core.types import TokenCounts
from bb3.modules.sampling import family
from tests.chat.conftest import ASK, SCRIPT, of_kind, scores

PLAIN = {"search": "never", "memory": "never", "entity": "never"}

BOTH = {"scores": scores(search=True, memory=True)}


def likely(house, logprobs: dict[str, tuple[float, int]]) -> None:
    """Give the model's answers these log-probabilities and lengths."""
    plain = house.model._generate

    async def generate(request):
        result = await plain(request)
        logprob, count = logprobs.get(request.module, (-1.0, 1))
        return GenerationResult(
            text=result.text, logprob=logprob, tokens=TokenCounts(generated=count)
        )

    house.model._generate = generate


@pytest.mark.parametrize(
    ("logprobs", "module"),
    [
        ({"srm": (-9, 10), "mrm": (-20, 10)}, "srm"),
        ({"srm": (-20, 10), "mrm": (-9, 10)}, "mrm"),
        # the mean of a token counts: the sum would take the shorter
        ({"srm": (-5, 2), "mrm": (-10, 20)}, "mrm"),
    ],
)
async def test_separate_takes_the_likeliest(build, logprobs, module):
    house = await build(model=BOTH, conditioning="separate")
    likely(house, logprobs)
    await house.remember("I have a dog called Bubbles.")
    events = await house.say(ASK)
    (reply,) = of_kind(events, "reply")
    assert (reply.module, reply.turn.text) == (module, SCRIPT[module])
    prompts = {r.module: r.prompt.messages[-1].content for r in house.model.requests}
    assert prompts["srm"] == f"{ASK}\n(Fact: Oslo is the capital of Norway.)"
    assert prompts["mrm"] == f"{ASK}\n(Remember: I have a dog called Bubbles.)"


async def test_both_ways_compete(build):
    def answer(request):
        last = request.prompt.messages[-1].content if request.prompt.messages else ""
        if request.module == "srm":
            return "combined" if "Remember" in last else "search alone"
        return SCRIPT[request.module]

    house = await build(answer, model=BOTH, conditioning="both")
    await house.remember("I have a dog called Bubbles.")
    events = await house.say(ASK)
    asked = [r.module for r in house.model.requests if r.module in ("srm", "mrm")]
    assert sorted(asked) == ["mrm", "srm", "srm"]
    assert of_kind(events, "reply")[0].turn.text == "combined"  # the first of equals


async def test_a_candidate_that_fails_leaves_the_others(build):
    house = await build(SCRIPT | {"srm": ""}, model=BOTH, conditioning="separate")
    await house.remember("I have a dog called Bubbles.")
    events = await house.say(ASK)
    assert of_kind(events, "reply")[0].module == "mrm"


async def test_an_empty_reply_gives_way_to_a_plain_one(build):
    house = await build(SCRIPT | {"srm": " \n "}, model=BOTH)
    events = await house.say(ASK)
    assert of_kind(events, "reply")[0].turn.text == SCRIPT["vrm"]
    assert len(of_kind(events, "reply")) == 1


async def test_parameters_of_combined_replies(build):
    table = {
        **family("chat"),
        "srm": Sampling(max_tokens=11),
        "mrm": Sampling(max_tokens=12),
        "vrm": Sampling(max_tokens=13),
        "crm": Sampling(max_tokens=14),
    }

    async def asked(**settings):
        where = f"{len(str(settings))}-{settings.get('combined_response')}.sqlite"
        settings = {"sampling": table} | settings
        house = await build(where=where, **settings)
        await house.remember("I have a dog called Bubbles.")
        await house.say(ASK)
        replies = [r for r in house.model.requests if r.module in ("srm", "mrm", "vrm", "crm")]
        return [(r.module, r.sampling.max_tokens) for r in replies]

    never = {"search": "never", "memory": "never", "entity": "never"}
    alone = {"search": "never", "memory": "always"}
    assert await asked(**alone) == [("mrm", 12)]
    assert await asked(**alone, combined_response="srm") == [("mrm", 11)]
    assert await asked(**alone, combined_response="srm", conditioning="separate") == [("mrm", 12)]
    assert await asked(**never, combined_response="srm") == [("vrm", 13)]
    assert await asked(search="always", memory="always") == [("srm", 11)]


class TestOpening:
    async def test_speaks_of_what_is_remembered(self, build):
        house = await build()
        await house.remember("I have a dog called Bubbles.")
        events = await house.say("Opening")
        assert of_kind(events, "reply")[0].module == "orm"
        session = await house.session()
        assert [t.text for t in session.turns] == [SCRIPT["orm"]]
        stored = await house.agent.store.turns(session.conversation.id)
        assert [t.text for t in stored] == [SCRIPT["orm"]]
        assert "Bubbles" in house.model.requests[0].prompt.messages[-1].content
        assert [r.module for r in house.model.requests] == ["orm"]
        assert [m.turns_since_used for m in await session.book.known()] == [1]

    @pytest.mark.parametrize(
        ("answers", "tries", "reply"),
        [
            (["Person 1: hi", "Hello!"], 2, "Hello!"),
            (["Person 1: hi", "Person 2: yes", "Hello!"], 3, "Hello!"),
            (["I know Person 1: you  have a dog"] * 3, 3, "I know you have a dog"),
            (["Hi Person 2, tell me"] * 4, 3, "Hi , tell me"),
        ],
    )
    async def test_speaks_for_itself_only(self, build, answers, tries, reply):
        house = await build({"orm": answers})
        await house.remember("I have a dog called Bubbles.")
        events = await house.say("Opening")
        assert of_kind(events, "reply")[0].turn.text == reply
        assert len(house.model.asked("orm")) == tries
        seeds = {request.seed for request in house.model.asked("orm")}
        assert len(seeds) == tries  # the same dice would fall the same way

    async def test_with_nothing_left_is_canned(self, build):
        house = await build({"orm": "Person 1: Person 2:"})
        await house.remember("I have a dog called Bubbles.")
        events = await house.say("Opening")
        assert of_kind(events, "reply")[0].module == "canned"

    @pytest.mark.parametrize("name", ["chat", "opt", "fewshot", "r2c2"])
    async def test_without_memories_is_a_plain_beginning(self, build, name):
        house = await build(name=name)
        events = await house.say("Opening")
        assert of_kind(events, "reply")[0].turn.text == SCRIPT["vrm"]
        assert [r.module for r in house.model.requests] == ["vrm"]
        assert "Opening" not in house.model.requests[0].prompt.written_out()
        await house.say("Hello!")
        assert "Opening" not in house.model.requests[-1].prompt.written_out()

    async def test_switched_off_is_a_message_like_any_other(self, build):
        house = await build(opening=False)
        await house.remember("I have a dog called Bubbles.")
        await house.say("Opening")
        assert "orm" not in {r.module for r in house.model.requests}
        assert (await house.session()).turns[0].text == "Opening"


def shown(events) -> str:
    return "".join(event.text for event in of_kind(events, "token"))


async def test_what_reading_makes_of_an_answer_passes_the_guard_too(build):
    hidden = '{"answer": "You are a \\u0066ucking idiot, my friend."}'
    house = await build(SCRIPT | {"vrm": hidden}, safety="words", **PLAIN)
    events = await house.say("Hello!")
    assert [e.side for e in of_kind(events, "blocked")] == ["bot"]
    assert "idiot" not in shown(events)
    assert of_kind(events, "reply")[0].module == "canned"


@pytest.mark.parametrize(
    "answer",
    ['{"answer": "Nice to meet you."}', '```json\n{"answer": "Nice to meet you."}\n```',
     '  ["Nice to meet you."]'],
)  # fmt: skip
async def test_the_wrapping_of_an_answer_is_not_shown(build, answer):
    house = await build(SCRIPT | {"vrm": answer}, **PLAIN)
    events = await house.say("Hello!")
    assert shown(events) == of_kind(events, "reply")[0].turn.text == "Nice to meet you."


async def test_a_wrapped_answer_of_which_nothing_can_be_read_gives_way(build):
    house = await build(SCRIPT | {"srm": '{"a": "x", "b": "y"}'}, model=BOTH)
    events = await house.say(ASK)
    assert shown(events) == of_kind(events, "reply")[0].turn.text == SCRIPT["vrm"]
