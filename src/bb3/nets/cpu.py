"""Faster linear layers on a CPU: oneDNN's kernels over weights laid out for them once.

Decoding multiplies few rows (one a beam) by large matrices. PyTorch sends float32 products of
that shape to MKL, which here takes three to six times as long as oneDNN with packed weights; the
numbers are the same but for rounding. The operators are those that PyTorch's own compiler
emits for a frozen model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PACKED = (torch.float32, torch.bfloat16)
ROWS = 16  # rows of a typical product, for which the weights are laid out


class PackedLinear(nn.Module):
    """``nn.Linear`` for inference only: its weight can no longer be read, trained or saved."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach()
        # Plain attributes: a packed tensor has no storage that a module could move or save.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, states: Tensor) -> Tensor:
        mixed: Tensor = torch.ops.mkldnn._linear_pointwise(
            states, self._weight, self._bias, "none", [], ""
        )
        return mixed


def faster_packed(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there are such kernels: on a CPU with oneDNN, for float32 and bfloat16."""
    return (
        device.type == "cpu"
        and dtype in PACKED
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
