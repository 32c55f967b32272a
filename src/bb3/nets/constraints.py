"""What a decoded answer may not contain: vectorised over inputs and beams, no loop over either.

Shapes: B inputs, K beams, T tokens so far (the start token first), L tokens of context,
V vocabulary. All work in place on float32 ``logits`` (B, K, V).
"""

from __future__ import annotations

import torch
from torch import Tensor

NEVER = -1e20
"""Log-probability of what may not come next (finite, as in ParlAI, so that sums stay finite)."""


def ban_ngrams(logits: Tensor, history: Tensor, source: Tensor, size: int, where: Tensor) -> None:
    """Forbid every token that would complete an n-gram of ``source``.

    Args:
        history: (B, K, T); its last ``size - 1`` tokens are the n-gram's beginning.
        source: (B, K or 1, L), filled up with -1.
        size: n, at least 1.
        where: (B,) inputs to which this applies.
    """
    if source.shape[-1] < size or history.shape[-1] < size - 1:
        return
    windows = source.unfold(-1, size, 1)  # (B, K or 1, W, n)
    last = windows[..., -1]
    hit = (last >= 0) & where[:, None, None]
    if size > 1:
        tail = history[..., None, history.shape[-1] - size + 1 :]  # (B, K, 1, n - 1)
        hit = hit & (windows[..., :-1] == tail).all(-1)
    hit = hit.expand(*logits.shape[:2], -1)
    floor = torch.where(hit, NEVER, torch.inf)
    logits.scatter_reduce_(-1, last.clamp(min=0).expand_as(hit), floor, "amin")


def penalise(logits: Tensor, tokens: Tensor, presence: Tensor, frequency: Tensor) -> None:
    """``logit -= count * frequency + (count > 0) * presence`` over ``tokens``.

    Args:
        tokens: (B, K or 1, T), filled up with -1. presence, frequency: (B,).
    """
    counts = torch.zeros(*tokens.shape[:2], logits.shape[-1], device=logits.device)
    counts.scatter_add_(-1, tokens.clamp(min=0), (tokens >= 0).float())
    logits -= counts * frequency[:, None, None] + (counts > 0) * presence[:, None, None]
