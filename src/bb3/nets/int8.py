"""Linear layers with 8-bit weights: half of bfloat16's memory, for machines that lack it.

Each row of a weight (an output channel) is divided by its largest absolute value and rounded to
-127 ... 127; activations keep their precision (LLM.int8()'s weights without its outliers,
Dettmers et al. 2022, arXiv:2208.07339).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FEW_ROWS = 64  # up to which the kernel over 8-bit weights is faster than unpacking them


class Int8Linear(nn.Module):
    """``nn.Linear`` for inference only, its weight in 8 bits.

    Attributes:
        weight: (out, in) int8. scale: (out,). bias: (out,) or None.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        rounded, scale = quantise(weight)
        self.register_buffer("weight", rounded)
        self.register_buffer("scale", scale)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, states: Tensor) -> Tensor:
        flat = states.reshape(-1, self.in_features)
        kernel = states.device.type == "cpu" and states.dtype == torch.bfloat16
        if kernel and len(flat) <= FEW_ROWS:
            mixed = torch._weight_int8pack_mm(flat, self.weight, self.scale)
            mixed = mixed.view(*states.shape[:-1], self.out_features)
        else:
            mixed = functional.linear(states, self.weight.to(states.dtype)) * self.scale
        return mixed if self.bias is None else mixed + self.bias


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(out, in) to int8 of the same shape and the scale of each row, in the weight's precision."""
    scale = weight.float().abs().amax(1).clamp(min=1e-12) / 127
    rounded = (weight.float() / scale[:, None]).round().to(torch.int8)
    return rounded, scale.to(weight.dtype)
