import asyncio

import pytest

from bb3.core.errors import ModelError
from bb3.core.ports import GenerationRequest, GenerationResult, Prompt, Sampling
from bb3.lm.fallback import FallbackModel
from bb3.lm.scripted import ScriptedModel

BROKEN = {"vrm": ModelError("broken")}


def ask(text: str = "hello", method: str = "greedy", **kwargs) -> GenerationRequest:
    sampling = Sampling(method=method)
    return GenerationRequest(prompt=Prompt(text=text), module="vrm", sampling=sampling, **kwargs)


async def streamed(model, request) -> tuple[str, GenerationResult]:
    *pieces, result = [piece async for piece in model.stream(request)]
    return "".join(pieces), result


async def test_fallback_answers_what_the_first_cannot():
    second = ScriptedModel({"vrm": "second"}, scores={"x": -3.0})
    model = FallbackModel(ScriptedModel(BROKEN, can_score=False), second)
    assert (await model.generate([ask(), ask()]))[1].text == "second"
    assert (await streamed(model, ask()))[0] == "second"
    assert (await model.score(ask(), ["x"])).logprobs == (-3.0,)
    await model.aclose()
    assert second.closed


async def test_fallback_leaves_a_good_first_alone():
    second = ScriptedModel({})
    model = FallbackModel(ScriptedModel({"vrm": "first"}), second)
    assert (await streamed(model, ask()))[0] == "first"
    assert second.requests == []


async def test_fallback_does_not_begin_a_reply_twice():
    class Breaking(ScriptedModel):
        async def stream(self, request):
            yield "half a "
            raise ModelError("gone")

    model = FallbackModel(Breaking({}), ScriptedModel({"vrm": "second"}))
    pieces = []
    with pytest.raises(ModelError, match="gone"):
        async for piece in model.stream(ask()):
            pieces.append(piece)
    assert pieces == ["half a "]


async def test_fallback_raises_when_both_fail():
    with pytest.raises(ModelError, match="broken"):
        await FallbackModel(ScriptedModel({}), ScriptedModel(BROKEN)).generate([ask()])


async def test_a_first_that_failed_twice_rests():
    first = ScriptedModel({"vrm": [ModelError("away"), "back", *[ModelError("away")] * 3, "back"]})
    second = ScriptedModel({"vrm": "second"}, can_score=False, name="second")
    model = FallbackModel(first, second, rest_s=0.05)

    async def said() -> str:
        assert await model.count_tokens(Prompt(text="a b")) == 2
        return (await model.generate([ask()]))[0].text

    assert [await said() for _ in range(5)] == ["second", "back", "second", "second", "second"]
    assert len(first.requests) == 4
    assert (model.name, model.can_score) == ("second", False)  # who is asked now
    await asyncio.sleep(0.06)
    assert model.can_score
    assert await said() == "second"  # still away: rests again at once
    assert await said() == "second"
    await asyncio.sleep(0.06)
    assert [await said(), (await streamed(model, ask()))[0]] == ["back", "back"]


async def test_fallback_tells_of_both():
    first = ScriptedModel({}, dialect="opt", name="big")
    second = ScriptedModel({}, dialect="opt", name="small")
    second.context_tokens = 1024
    model = FallbackModel(first, second)
    assert (model.name, model.dialect, model.context_tokens) == ("big", "opt", 1024)
    assert await model.count_tokens(Prompt(text="a b c")) == 3
    await model.aclose()
    assert first.closed
    assert second.closed
