"""Drawing the next token: top-k, nucleus and factual nucleus, each input by its own dice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Dice(Protocol):
    """The part of ``decoding.Settings`` that a sampler reads."""

    @property
    def top_p(self) -> float: ...
    @property
    def top_k(self) -> int: ...
    @property
    def lambda_decay(self) -> float: ...
    @property
    def omega_bound(self) -> float: ...
    @property
    def full_stops(self) -> tuple[int, ...]: ...
    @property
    def seed(self) -> int | None: ...


class Sampler:
    """Draws a token for each of B inputs; B may shrink with ``keep``."""

    def __init__(self, settings: Sequence[Dice], device: torch.device) -> None:
        self._settings = list(settings)
        self._device = device
        self._since = [0] * len(settings)  # tokens since the last full stop
        self._generators = [_generator(each.seed) for each in settings]

    def draw(self, logits: Tensor) -> Tensor:
        """(B,) tokens from ``logits`` (B, V)."""
        probs, order = logits.softmax(-1).sort(dim=-1, descending=True)
        total = probs.cumsum(-1)
        tops = torch.tensor([self._top_p(row) for row in range(len(logits))], device=self._device)
        kept = total - probs < tops[:, None]
        kept[:, 0] = True  # whatever top-p is, the likeliest token can come
        if any(each.top_k for each in self._settings):
            sizes = [each.top_k or logits.shape[1] for each in self._settings]
            ranks = torch.arange(logits.shape[1], device=self._device)
            kept &= ranks < torch.tensor(sizes, device=self._device)[:, None]
        mass = total.masked_fill(~kept, 0).amax(-1)  # kept is a beginning of the order
        dice = torch.cat([torch.rand(1, generator=each) for each in self._generators])
        place = torch.searchsorted(total, (dice.to(self._device) * mass)[:, None], right=True)
        place = place.clamp(max=kept.sum(-1, keepdim=True) - 1)
        tokens = order.gather(1, place)[:, 0]
        for row, token in enumerate(tokens.tolist()):
            stop = token in self._settings[row].full_stops
            self._since[row] = 0 if stop else self._since[row] + 1
        return tokens

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these inputs only."""
        self._settings = [self._settings[row] for row in rows]
        self._since = [self._since[row] for row in rows]
        self._generators = [self._generators[row] for row in rows]

    def _top_p(self, row: int) -> float:
        dice = self._settings[row]
        if dice.lambda_decay == 1.0:
            return dice.top_p
        decayed = dice.top_p * dice.lambda_decay ** max(0, self._since[row] - 1)
        return max(dice.omega_bound, decayed)


def _generator(seed: int | None) -> torch.Generator:
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator
