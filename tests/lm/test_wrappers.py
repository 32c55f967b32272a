import asyncio

import pytest

from bb3.core.errors import ModelError
from bb3.core.ports import GenerationRequest, GenerationResult, Prompt, Sampling
from bb3.lm.scripted import ScriptedModel
from bb3.lm.wrappers import CacheModel, FallbackModel, LimitModel, ModelWrapper

BROKEN = {"vrm": ModelError("broken")}


def ask(text: str = "hello", method: str = "greedy", **kwargs) -> GenerationRequest:
    sampling = Sampling(method=method)
    return GenerationRequest(prompt=Prompt(text=text), module="vrm", sampling=sampling, **kwargs)


async def streamed(model, request) -> tuple[str, GenerationResult]:
    *pieces, result = [piece async for piece in model.stream(request)]
    return "".join(pieces), result


async def test_a_wrapper_passes_everything_on():
    inner = ScriptedModel({"vrm": "a b"}, scores={"x": -1.0}, dialect="opt", name="inner")
    model = ModelWrapper(inner)
    assert (model.name, model.dialect, model.can_score) == ("inner", "opt", True)
    assert (await model.generate([ask()]))[0].text == "a b"
    assert (await streamed(model, ask()))[0] == "a b"
    assert (await model.score(ask(), ["x"])).logprobs == (-1.0,)
    assert await model.count_tokens(Prompt(text="a b c")) == 3
    await model.aclose()
    assert inner.closed


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


async def test_cache_remembers_greedy_answers_and_scores():
    inner = ScriptedModel({"vrm": ["one", "two", "three", "four"]}, scores={"x": -1.0})
    model = CacheModel(inner)
    assert (await model.generate([ask()]))[0].text == "one"
    again = (await model.generate([ask(deadline_s=5)]))[0]
    assert again.text == "one"
    assert (again.tokens.prompt, again.tokens.cached, again.tokens.generated) == (1, 1, 0)
    assert (await streamed(model, ask()))[0] == "one"
    assert (await model.generate([ask(method="nucleus")]))[0].text == "two"
    assert (await model.generate([ask(method="nucleus")]))[0].text == "three"
    asked = len(inner.requests)
    for _ in range(2):
        assert (await model.score(ask(), ["x"])).logprobs == (-1.0,)
    assert len(inner.requests) == asked + 1


async def test_cache_forgets_the_least_used_and_failures():
    inner = ScriptedModel(lambda request: request.prompt.text)
    model = CacheModel(inner, size=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        await streamed(model, ask(text))
    assert [r.prompt.text for r in inner.requests] == ["a", "b", "c", "b"]
    failing = CacheModel(ScriptedModel({"vrm": [ModelError("once"), "then"]}))
    with pytest.raises(ModelError):
        await failing.generate([ask()])
    assert (await failing.generate([ask()]))[0].text == "then"


async def test_limit_lets_so_many_through():
    running = most = 0

    class Counting(ScriptedModel):
        async def _wait(self, request):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.005)
            running -= 1

    model = LimitModel(Counting({"vrm": "word"}), 2)
    results = await model.generate([ask(str(n)) for n in range(6)])
    await asyncio.gather(*(streamed(model, ask()) for _ in range(3)), model.score(ask(), ["x"]))
    assert len(results) == 6
    assert most == 2
