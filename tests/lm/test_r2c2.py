"""The R2C2 model behind the port; without torch nothing here runs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from bb3.app.models import open_model
from bb3.app.settings import load as load_settings
from bb3.assets.registry import load_registry
from bb3.core.errors import ModelError, ModelTimeout
from bb3.core.ports import GenerationRequest, GenerationResult, Message, Prompt, Sampling
from bb3.lm import desk
from bb3.lm.network import Network, open_network
from bb3.lm.r2c2 import R2C2Model, _visible, load
from bb3.modules.sampling import family
from bb3.nets.decoding import Ask
from bb3.nets.r2c2 import encode
from tests.lm.networks import write_blenderbot, write_r2c2
from tests.nets.test_decoding import plain_beam_search

BEAM = Sampling(method="beam", beam_size=3, max_tokens=20, min_tokens=4, block_ngram=3)
VARIETY = [
    Sampling(max_tokens=12),
    BEAM,
    replace(BEAM, beam_size=6, block_context_ngram=2),
    replace(BEAM, min_tokens=8, length_penalty=1.2),
]
TEXTS = ["hello there", "the cat in the hat\nis thin", "x" * 400, "é ß 漢 \U0001f600"]


def ask(text: str, sampling: Sampling = BEAM, **fields: Any) -> GenerationRequest:
    prompt = Prompt(text=text, documents=fields.pop("documents", ()))
    return GenerationRequest(prompt=prompt, module="srm", sampling=sampling, **fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_r2c2(tmp_path_factory.mktemp("r2c2") / "small")


@pytest.fixture(scope="module")
def opened(folder: Path) -> Network:
    return open_network(folder, dtype="float32", device="cpu")


@pytest.fixture
async def model(opened: Network) -> AsyncIterator[R2C2Model]:
    model = R2C2Model(opened, threads=1)
    yield model
    await model.aclose()


async def test_answers_are_those_of_plain_loops(tmp_path: Path) -> None:
    opened = open_network(write_r2c2(tmp_path / "free", suppressed=[]), dtype="float32")
    model = R2C2Model(opened, threads=1)
    for sampling in VARIETY:
        for text in TEXTS[:2]:
            (found,) = await model.generate([ask(text, sampling, documents=("a / b", " / "))])
            rows = opened.layout.rows(text, ("a / b",))
            plain = plain_beam_search(
                opened.model,
                Ask(
                    encoded=encode(opened.model, [rows])[0],
                    settings=model._settings(sampling, None),
                    context=opened.layout.blocked(text),
                ),
            )
            assert found.text == opened.codec.decode(plain[0][0])
            assert found.tokens.prompt == len(rows[0])
    await model.aclose()


async def test_requests_of_many_kinds_together_are_answered_as_if_alone(model: R2C2Model) -> None:
    requests = [
        ask(text, sampling, documents=documents)
        for text in TEXTS
        for sampling in VARIETY
        for documents in ((), ("title / a fact", "another / one of them"))
    ]
    together = await model.generate(requests)
    assert len({result.text for result in together}) > len(requests) / 3
    for request, result in zip(requests, together, strict=True):
        (alone,) = await model.generate([request])
        assert alone.text == result.text
        assert alone.logprob == pytest.approx(result.logprob, abs=1e-3)
        assert alone.finish_reason in ("stop", "length")
        assert alone.tokens.generated <= request.sampling.max_tokens


@pytest.mark.parametrize("sampling", [Sampling(max_tokens=30, min_tokens=9), BEAM])
async def test_a_stream_adds_up(model: R2C2Model, sampling: Sampling) -> None:
    (whole,) = await model.generate([ask("hello", sampling)])
    *pieces, result = [piece async for piece in model.stream(ask("hello", sampling))]
    assert isinstance(result, GenerationResult)
    assert replace(result, tokens=whole.tokens) == whole
    assert "".join(pieces) == result.text
    if sampling.method == "greedy":
        assert len(pieces) > 5


@pytest.mark.parametrize(
    ("begun", "shown"),
    [
        ("I am __", "I am "),
        ("I am __NO", "I am "),
        ("I am __NO__PERSONA__ sure", "I am   sure"),
        ("snake_case is", "snake_case is"),
        ("snake_cas", ""),
        ("caf\ufffd", "caf"),
        ("", ""),
    ],
)
def test_what_may_become_a_control_token_is_held_back(begun: str, shown: str) -> None:
    assert _visible(begun) == shown


async def test_stops_end_the_answer(model: R2C2Model) -> None:
    plain = Sampling(max_tokens=30, min_tokens=20)
    (whole,) = await model.generate([ask("hello", plain)])
    stop = whole.text[7:9]
    (cut,) = await model.generate([ask("hello", replace(plain, stop=(stop,)))])
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"


async def test_sampling_is_repeatable_and_zero_temperature_is_greedy(model: R2C2Model) -> None:
    nucleus = Sampling(method="factual_nucleus", top_p=0.9, max_tokens=20, min_tokens=10)
    drawn = [(await model.generate([ask("hello", nucleus, seed=s)]))[0].text for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    (cold,) = await model.generate([ask("hello", replace(nucleus, temperature=0.0))])
    greedy = Sampling(max_tokens=20, min_tokens=10)
    assert cold.text == (await model.generate([ask("hello", greedy)]))[0].text


async def test_scores_are_log_probabilities(model: R2C2Model, opened: Network) -> None:
    words = ("the", "thin", "", "a longer answer")
    found = await model.score(ask("hello there"), words)
    [states] = encode(opened.model, [opened.layout.rows("hello there")])
    for word, logprob in zip(words, found.logprobs, strict=True):
        ids = [*opened.codec.encode(word), 2]
        with torch.inference_mode():
            logits = opened.model(
                encoder_outputs=(states[None],), decoder_input_ids=torch.tensor([[2, 1, *ids[:-1]]])
            ).logits[0, 1:]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum()
        assert logprob == pytest.approx(float(expected), abs=1e-4)
    assert (await model.score(ask("hello"), ())).logprobs == ()
    with pytest.raises(ModelError, match="256 can be read"):
        await model.score(ask("hello"), ("x" * 300,))


async def test_an_input_that_comes_again_is_not_encoded_again(model: R2C2Model) -> None:
    first, again = [(await model.generate([ask("hello", s)]))[0] for s in (BEAM, VARIETY[0])]
    assert (first.tokens.cached, again.tokens.cached) == (0, again.tokens.prompt)


async def test_requests_of_many_tasks_meet(model: R2C2Model, monkeypatch) -> None:
    sizes = []
    decoding = desk.Decoding

    def counted(network, asks):
        sizes.append(len(asks))
        return decoding(network, asks)

    monkeypatch.setattr(desk, "Decoding", counted)
    await asyncio.gather(*(model.generate([ask(f"user {n}")]) for n in range(12)))
    assert sum(sizes) == 12
    assert max(sizes) >= 6


async def test_deadlines_and_cancelling_leave_the_others_alone(model: R2C2Model) -> None:
    long = Sampling(max_tokens=200, min_tokens=200)
    other = asyncio.create_task(model.generate([ask("the other", long)]))
    with pytest.raises(ModelTimeout, match=r"srm within 0\.01 s"):
        await model.generate([ask("late", long, deadline_s=0.01)])
    with pytest.raises(ModelTimeout):
        [piece async for piece in model.stream(ask("late", long, deadline_s=0.01))]
    stream = model.stream(ask("stopped", long))
    assert isinstance(await anext(stream), str)
    await stream.aclose()
    task = asyncio.create_task(model.generate([ask("cancelled", long)]))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await other)[0].tokens.generated == 200
    began = time.perf_counter()
    await model.generate([ask("short", Sampling(max_tokens=1))])
    assert time.perf_counter() - began < 2  # nobody decodes for the four any more
    assert model._desk is not None
    assert all(batch.done for batch in model._desk._running)


async def test_a_failing_network_is_told_to_all_who_wait(model: R2C2Model, monkeypatch) -> None:
    def full(*_: object) -> None:
        torch.empty(1 << 62, dtype=torch.uint8)

    def broken(*_: object) -> None:
        torch.zeros(2) + torch.zeros(3)

    for fault, said, memory in ((full, "allocate memory", True), (broken, "size of", False)):
        with monkeypatch.context() as patched:
            patched.setattr(desk, "encode", fault)
            answers = await asyncio.gather(
                *(model.generate([ask(f"broken {n}")]) for n in range(3)),
                model.score(ask("broken"), ("a", "b")),
                return_exceptions=True,
            )
        for error in answers:
            assert isinstance(error, ModelError)
            assert said in str(error)
            assert ("int8" in str(error)) == memory
    assert (await model.generate([ask("whole")]))[0].text


async def test_a_request_that_fails_does_not_fail_those_beside_it(model: R2C2Model) -> None:
    nucleus = Sampling(method="nucleus", top_p=0.9, max_tokens=8, min_tokens=4)
    requests = [ask("hello", nucleus, seed=seed) for seed in (1, 1 << 70, 2)]
    first, error, second = await asyncio.gather(
        *(model.generate([request]) for request in requests), return_exceptions=True
    )
    assert isinstance(error, ModelError)
    assert "int8" not in str(error)
    for number, (found,) in ((0, first), (2, second)):
        (alone,) = await model.generate([requests[number]])
        assert found.text == alone.text


@pytest.mark.parametrize("after", [0, 5])
async def test_many_for_whom_there_is_no_room_go_one_by_one(
    model: R2C2Model, monkeypatch, after: int
) -> None:
    """Those of whom words were told cannot begin anew."""

    class Narrow(desk.Decoding):
        def step(self) -> bool:
            if len(self._inputs) > 1 and self._steps >= after:
                torch.empty(1 << 62, dtype=torch.uint8)
            return super().step()

    plain = Sampling(max_tokens=12, min_tokens=12)
    wanted = [await model.generate([ask(text, plain)]) for text in ("one", "two")]
    monkeypatch.setattr(desk, "Decoding", Narrow)

    async def streamed() -> list[str | GenerationResult]:
        return [piece async for piece in model.stream(ask("told", plain))]

    *found, told = await asyncio.gather(
        *(model.generate([ask(text, plain)]) for text in ("one", "two")),
        streamed(),
        return_exceptions=True,
    )
    assert [each[0].text for each in found] == [each[0].text for each in wanted]
    assert isinstance(told, ModelError) == (after > 0)


async def test_closing_ends_what_is_under_way(opened: Network) -> None:
    model = R2C2Model(opened, threads=1)
    waiting = asyncio.create_task(
        model.generate([ask("hello", Sampling(max_tokens=250, min_tokens=250))])
    )
    await asyncio.sleep(0.02)
    await asyncio.gather(model.aclose(), model.aclose())
    with pytest.raises(ModelError, match="closed"):
        await waiting
    with pytest.raises(ModelError, match="closed"):
        await model.generate([ask("hello")])
    await model.aclose()


async def test_requests_that_cannot_be_read(model: R2C2Model) -> None:
    chat = Prompt(messages=(Message(role="user", content="hi"),))
    with pytest.raises(ModelError, match="not chat messages"):
        await model.generate([GenerationRequest(prompt=chat, module="srm")])
    (empty,) = await model.generate([ask("", Sampling(max_tokens=3))])
    assert empty.tokens.prompt == 3
    assert await model.count_tokens(Prompt(text="x" * 10_000)) == 256


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8"])
async def test_fewer_bits_say_nearly_the_same(folder: Path, dtype: str, model: R2C2Model) -> None:
    small = load(folder, dtype=dtype, device="cpu", threads=1)
    exact = await model.score(ask("hello there"), ("the", "thin"))
    near = await small.score(ask("hello there"), ("the", "thin"))
    await small.aclose()
    assert near.logprobs == pytest.approx(exact.logprobs, rel=0.1)


# --- folders --------------------------------------------------------------------------------


async def test_a_blenderbot_of_the_hub(tmp_path: Path) -> None:
    original = write_blenderbot(tmp_path / "blender")
    model = load(tmp_path / "blender", dtype="float32", device="cpu", threads=1)
    text = " hello in the"
    (found,) = await model.generate([ask(text, Sampling(max_tokens=15))])
    codec = model._codec
    ids = [*codec.encode(text), 2]
    with torch.inference_mode():
        wanted = original.generate(
            torch.tensor([ids]), max_new_tokens=16, num_beams=1, do_sample=False, min_length=0,
            forced_eos_token_id=None, encoder_no_repeat_ngram_size=0,
        )  # fmt: skip
    await model.aclose()
    assert found.tokens.prompt == len(ids)
    assert found.tokens.generated == 15
    assert found.text == codec.decode(wanted[0, 1:16].tolist())  # without its start


async def test_the_settings_reach_the_model(folder: Path) -> None:
    flags = {"model": str(folder), "engine.dtype": "int8", "engine.threads": 1}
    settings = load_settings(flags, {}, []).settings

    async def fetch(asset: object) -> Path:
        raise AssertionError(asset)

    model = await open_model(settings, load_registry(), fetch)
    assert isinstance(model, R2C2Model)
    assert (model.name, model.dialect) == ("small", "r2c2")
    await model.aclose()


# --- the recorded reference -----------------------------------------------------------------


async def test_scored_decisions_are_the_recorded_greedy_ones(shared: Path, tmp_path: Path) -> None:
    from bb3.checkpoints.parlai import convert
    from bb3.modules.catalog import MODULES

    path = convert(shared / "golden" / "r2c2" / "tiny", tmp_path / "tiny", dtype="float32")
    model = load(path, dtype="float32", device="cpu", threads=1)
    decided = 0
    for name in ("chat", "never", "all_combined", "all_separate"):
        file = shared / "golden" / "r2c2" / f"r2c2_{name}.json"
        for call in json.loads(file.read_text(encoding="utf-8"))["calls"]:
            if call["module"] not in ("sdm", "mdm") or "input_text" not in call:
                continue
            answers = MODULES[call["module"]].r2c2_answers
            request = GenerationRequest(
                prompt=Prompt(text=call["observed_full_text"][0]),
                module=call["module"],
                sampling=family("r2c2")[call["module"]],
            )
            scores = (await model.score(request, answers)).logprobs
            assert answers[scores.index(max(scores))] == call["output_text"][0]
            decided += 1
    await model.aclose()
    assert decided >= 12
