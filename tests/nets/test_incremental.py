from __future__ import annotations

import pytest
import torch

from bb3.nets.incremental import IncrementalDecoder, score
from bb3.nets.r2c2 import R2C2ForConditionalGeneration, encode

SOURCES = [[[1, 5, 9, 30, 2, 2]], [[1, 7, 8, 2, 2], [1, 30, 31, 32, 33, 8, 2, 2]]]
ANSWER = [2, 1, 17, 4, 29, 4, 11]


def whole_pass(
    model: R2C2ForConditionalGeneration, rows: list[list[int]], answer: list[int]
) -> torch.Tensor:
    """Logits of all places by the library's own forward."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    with torch.inference_mode():
        return model(
            input_ids=ids,
            decoder_input_ids=torch.tensor([answer]),
            row_counts=torch.tensor([len(rows)]),
        ).logits[0]


@torch.inference_mode()
def test_token_by_token_equals_one_pass(model: R2C2ForConditionalGeneration) -> None:
    decoder = IncrementalDecoder(model, encode(model, SOURCES))
    for place, token in enumerate(ANSWER):
        ids = torch.full((2, 1), token)
        logits = decoder.extend(ids, torch.tensor([place]), None)
        for number, rows in enumerate(SOURCES):
            expected = whole_pass(model, rows, ANSWER)[place]
            torch.testing.assert_close(logits[number, 0], expected, atol=1e-5, rtol=1e-5)
    assert decoder.slots == len(ANSWER)


@torch.inference_mode()
def test_inputs_may_leave(model: R2C2ForConditionalGeneration) -> None:
    decoder = IncrementalDecoder(model, encode(model, SOURCES))
    for place in range(3):
        decoder.extend(torch.full((2, 1), ANSWER[place]), torch.tensor([place]), None)
    decoder.keep(torch.tensor([1]))
    logits = decoder.extend(torch.tensor([[ANSWER[3]]]), torch.tensor([3]), None)
    expected = whole_pass(model, SOURCES[1], ANSWER)[3]
    torch.testing.assert_close(logits[0, 0], expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_cache_grows_beyond_its_first_size(model: R2C2ForConditionalGeneration) -> None:
    decoder = IncrementalDecoder(model, encode(model, SOURCES[:1]))
    answer = [2, 1, *(5 + place % 30 for place in range(62))]
    mask = torch.full((64, 64), -torch.inf).triu(1)[None, None]
    decoder.extend(torch.tensor([answer[:40]]), torch.arange(40), mask[..., :40, :40])
    logits = decoder.extend(torch.tensor([answer[40:]]), torch.arange(40, 64), mask[..., 40:, :])
    expected = whole_pass(model, SOURCES[0], answer)[40:]
    torch.testing.assert_close(logits[0], expected, atol=1e-5, rtol=1e-5)


def test_score_of_several_answers_equals_one_pass_each(
    model: R2C2ForConditionalGeneration,
) -> None:
    answers = [[[17, 4, 29, 2], [17, 5, 2]], [[8, 2]]]
    found = score(model, encode(model, SOURCES), model.config.decoder_prefix, answers)
    for number, group in enumerate(answers):
        for k, answer in enumerate(group):
            logits = whole_pass(model, SOURCES[number], [2, 1, *answer[:-1]])[1:]
            expected = logits.log_softmax(-1)[range(len(answer)), answer]
            torch.testing.assert_close(found[number][k], expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_logits_bias_counts(model: R2C2ForConditionalGeneration) -> None:
    torch.manual_seed(1)
    biased = R2C2ForConditionalGeneration(model.config).eval()
    biased.final_logits_bias += torch.arange(41) / 10
    logits = IncrementalDecoder(biased, encode(biased, SOURCES[:1])).extend(
        torch.tensor([[2]]), torch.tensor([0]), None
    )
    expected = whole_pass(biased, SOURCES[0], [2])
    torch.testing.assert_close(logits[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(model: R2C2ForConditionalGeneration, dtype: torch.dtype) -> None:
    torch.manual_seed(7)
    half = R2C2ForConditionalGeneration(model.config).to(dtype).eval()
    half.load_state_dict(model.state_dict())
    answers = [[[17, 4, 29, 2]], [[8, 2]]]
    prefix = model.config.decoder_prefix
    exact = score(model, encode(model, SOURCES), prefix, answers)
    near = score(half, encode(half, SOURCES), prefix, answers)
    for one, other in zip(exact, near, strict=True):
        assert (one[0] - other[0]).abs().max() < 0.5
