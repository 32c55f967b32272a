import asyncio
from contextlib import aclosing

import pytest

from bb3.core.errors import ModelError, ModelTimeout
from bb3.core.ports import GenerationRequest, Prompt
from bb3.lm.scripted import ScriptedModel


def ask(module: str = "vrm", text: str = "hello there", **kwargs) -> GenerationRequest:
    return GenerationRequest(prompt=Prompt(text=text), module=module, **kwargs)


async def test_answers_by_module_and_remembers():
    model = ScriptedModel({"vrm": "Hi, how are you?", "sgm": ["first", "second"]})
    results = await model.generate([ask("vrm"), ask("sgm"), ask("sgm"), ask("sgm")])
    assert [r.text for r in results] == ["Hi, how are you?", "first", "second", "second"]
    assert results[0].tokens.prompt == 2
    assert results[0].tokens.generated == 4
    assert len(model.asked("sgm")) == 3


async def test_a_function_may_answer():
    model = ScriptedModel(lambda request: request.prompt.text.upper())
    assert (await model.generate([ask()]))[0].text == "HELLO THERE"


async def test_streams_word_by_word():
    model = ScriptedModel({"vrm": "One two\n three "})
    *pieces, result = [piece async for piece in model.stream(ask())]
    assert pieces == ["One", " two", "\n three", " "]
    assert result.text == "One two\n three "


async def test_fails_as_told():
    model = ScriptedModel({"vrm": ModelError("broken")})
    with pytest.raises(ModelError, match="broken"):
        await model.generate([ask()])
    with pytest.raises(ModelError, match="no answer for sdm"):
        await model.generate([ask("sdm")])


async def test_scores():
    model = ScriptedModel({}, scores={("sdm", "search"): -1.0, "search": -2.0})
    assert (await model.score(ask("sdm"), ["search", "no"])).logprobs == (-1.0, -20.0)
    assert (await model.score(ask("mdm"), ["search"])).logprobs == (-2.0,)
    with pytest.raises(ModelError, match="cannot score"):
        await ScriptedModel({}, can_score=False).score(ask(), ["a"])


async def test_can_be_slow_and_cancelled():
    model = ScriptedModel({"vrm": "a b c d e f"}, delay_s=0.01)
    async with aclosing(model.stream(ask())) as pieces:
        async for _ in pieces:
            break
    task = asyncio.create_task(model.generate([ask()]))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert len(model.cancelled) == 2
    with pytest.raises(ModelTimeout):
        await ScriptedModel({"vrm": "a"}, delay_s=9).generate([ask(deadline_s=0.01)])
