from __future__ import annotations

import copy

import pytest
import torch

from bb3.nets.cpu import PackedLinear, faster_packed
from bb3.nets.decoding import Ask, Settings, decode
from bb3.nets.r2c2 import R2C2ForConditionalGeneration, encode

SOURCES = [[[1, 5, 9, 30, 2, 2]], [[1, 7, 8, 2, 2], [1, 30, 31, 32, 33, 8, 2, 2]]]


def test_a_packed_model_answers_the_same(model: R2C2ForConditionalGeneration) -> None:
    if not faster_packed(torch.device("cpu"), torch.float32):
        pytest.skip("this machine's PyTorch has no oneDNN")
    packed = copy.deepcopy(model)
    for name, module in list(packed.named_modules()):
        if isinstance(module, torch.nn.Linear):
            owner, _, leaf = name.rpartition(".")
            setattr(packed.get_submodule(owner), leaf, PackedLinear(module))
    for one, other in zip(encode(model, SOURCES), encode(packed, SOURCES), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    settings = Settings(beam_size=4, max_steps=12, min_tokens=5, block_ngram=2)
    answers = [
        decode(each, [Ask(encoded=e, settings=settings) for e in encode(each, SOURCES)])
        for each in (model, packed)
    ]
    for one, other in zip(*answers, strict=True):
        assert [answer.tokens for answer in one] == [answer.tokens for answer in other]


def test_what_cannot_be_packed_is_said() -> None:
    assert not faster_packed(torch.device("cpu"), torch.float64)
    assert not faster_packed(torch.device("meta"), torch.float32)
