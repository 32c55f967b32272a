from __future__ import annotations

import pytest
import torch
from torch import nn

from bb3.nets.int8 import FEW_ROWS, Int8Linear, quantise


def test_weights_are_rounded_row_by_row() -> None:
    weight = torch.tensor([[1.0, -0.5, 0.26], [0.0, 0.0, 0.0], [1e-3, 2e-3, -4e-3]])
    rounded, scale = quantise(weight)
    assert rounded.dtype == torch.int8
    assert rounded.tolist() == [[127, -64, 33], [0, 0, 0], [32, 64, -127]]
    assert torch.allclose(rounded * scale[:, None], weight, atol=0.004)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1])
@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_is_nearly_the_linear_one(dtype: torch.dtype, rows: int, bias: bool) -> None:
    torch.manual_seed(3)
    linear = nn.Linear(64, 96, bias=bias, dtype=dtype).requires_grad_(False)
    layer = Int8Linear(linear.weight.detach(), linear.bias.detach() if bias else None)
    states = torch.randn(2, rows, 64, dtype=dtype)[:1]
    exact = linear(states)
    assert layer(states).shape == exact.shape
    assert torch.allclose(layer(states), exact, atol=0.05)
