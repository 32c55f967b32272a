"""The decoder, a few tokens at a time, over keys and values that are never copied.

Beams share one list of *slots* per input: a token's key and value are written once, into the
next slot, and a mask says which slots each beam descends from. So changing beams reorders a
small mask instead of the cache, and the reference's largest cost after the matrix products (copying
keys and values of all layers at every step) is gone. Cross-attention keys and values are
computed once per input; its beams read them together.

Shapes: B inputs, Q tokens added per input, N slots so far, D model width, S encoder positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers.models.blenderbot.modeling_blenderbot import (
    BlenderbotForConditionalGeneration,
)

from bb3.nets.r2c2 import feed_forward

GROWTH = 64  # slots by which the cache grows at least


class IncrementalDecoder:
    """Decodes B inputs side by side.

    Args:
        model: a Blenderbot or R2C2 model.
        encoded: per input the encoder's output, (S_i, D), as ``encode`` returns it.

    Attributes:
        slots: N, the number of slots written, the same for every input.
    """

    def __init__(
        self, model: BlenderbotForConditionalGeneration, encoded: Sequence[Tensor]
    ) -> None:
        self._decoder = model.model.decoder
        self._head = model.lm_head
        self._bias = model.final_logits_bias if bool(model.final_logits_bias.any()) else None
        self._device = encoded[0].device
        self._dtype = encoded[0].dtype
        self.slots = 0
        self.inputs = len(encoded)
        layers: Any = self._decoder.layers
        self._layers = list(layers)
        self._cross = [self._cross_states(layer.encoder_attn, encoded) for layer in self._layers]
        self._cross_mask = self._padding_mask([len(states) for states in encoded])
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def extend(self, ids: Tensor, places: Tensor, mask: Tensor | None) -> Tensor:
        """Write Q more tokens per input and return their logits.

        Args:
            ids: (B, Q). places: (Q,) or (B, Q), their positions in the answer.
            mask: (B or 1, 1, Q, N + Q) added to the attention scores, 0 or -inf; None: all
                slots are seen.

        Returns:
            (B, Q, V), in the model's own precision.
        """
        decoder = self._decoder
        count = ids.shape[1]
        self._reserve(count)
        hidden = decoder.embed_tokens(ids) + decoder.embed_positions(ids.shape, 0, places)
        for number, layer in enumerate(self._layers):
            normed = layer.self_attn_layer_norm(hidden)
            hidden = hidden + self._attend_self(number, layer.self_attn, normed, mask)
            normed = layer.encoder_attn_layer_norm(hidden)
            hidden = hidden + self._attend_cross(number, layer.encoder_attn, normed)
            hidden = hidden + feed_forward(layer, layer.final_layer_norm(hidden))
        self.slots += count
        logits = torch.as_tensor(self._head(decoder.layer_norm(hidden)))
        return logits if self._bias is None else logits + self._bias

    def keep(self, inputs: Tensor) -> None:
        """Go on with these inputs only. ``inputs``: (B',) indices."""
        self.inputs = len(inputs)
        self._cross = [(key[inputs], value[inputs]) for key, value in self._cross]
        if self._cross_mask is not None:
            self._cross_mask = self._cross_mask[inputs]
        self._keys = [key[inputs] for key in self._keys]
        self._values = [value[inputs] for value in self._values]

    def _attend_self(
        self, number: int, attention: Any, hidden: Tensor, mask: Tensor | None
    ) -> Tensor:
        start, end = self.slots, self.slots + hidden.shape[1]
        query, key, value = (
            _heads(project(hidden), attention.num_heads)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        keys, values = self._keys[number], self._values[number]
        keys[:, :, start:end] = key
        values[:, :, start:end] = value
        mixed = functional.scaled_dot_product_attention(
            query, keys[:, :, :end], values[:, :, :end], attn_mask=mask
        )
        return torch.as_tensor(attention.out_proj(mixed.transpose(1, 2).flatten(2)))

    def _attend_cross(self, number: int, attention: Any, hidden: Tensor) -> Tensor:
        query = _heads(attention.q_proj(hidden), attention.num_heads)
        key, value = self._cross[number]
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=self._cross_mask
        )
        return torch.as_tensor(attention.out_proj(mixed.transpose(1, 2).flatten(2)))

    def _cross_states(self, attention: Any, encoded: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values of the encoder's outputs, each (B, heads, longest, D / heads)."""
        packed = torch.cat(list(encoded))
        lengths = [len(states) for states in encoded]
        key, value = (
            _heads(pad_sequence(list(project(packed).split(lengths)), True), attention.num_heads)
            for project in (attention.k_proj, attention.v_proj)
        )
        return key.contiguous(), value.contiguous()

    def _padding_mask(self, lengths: list[int]) -> Tensor | None:
        """(B, 1, 1, longest), -inf at padding; None when there is none."""
        if min(lengths) == max(lengths):
            return None
        sizes = torch.tensor(lengths, device=self._device)
        places = torch.arange(max(lengths), device=self._device)
        mask = torch.zeros(len(lengths), max(lengths), dtype=self._dtype, device=self._device)
        return mask.masked_fill_(places >= sizes[:, None], -torch.inf)[:, None, None]

    def _reserve(self, count: int) -> None:
        """Room for ``count`` more slots, grown by doubling."""
        have = self._keys[0].shape[2] if self._keys else 0
        if self.slots + count <= have:
            return
        room = max(2 * have, self.slots + count, GROWTH)
        for store in (self._keys, self._values):
            for number, layer in enumerate(self._layers):
                heads = layer.self_attn.num_heads
                shape = (self.inputs, heads, room, layer.self_attn.head_dim)
                grown = torch.zeros(shape, dtype=self._dtype, device=self._device)
                if have:
                    grown[:, :, :have] = store[number]
                    store[number] = grown
                else:
                    store.append(grown)


@torch.inference_mode()
def score(
    model: BlenderbotForConditionalGeneration,
    encoded: Sequence[Tensor],
    prefix: Sequence[int],
    answers: Sequence[Sequence[Sequence[int]]],
) -> list[list[Tensor]]:
    """Log-probabilities of given answers, all in one pass of the decoder.

    Args:
        encoded: per input the encoder's output.
        prefix: ids the decoder is seeded with.
        answers: per input its candidate answers, each not empty (with its end token if that
            is to count).

    Returns:
        per input and answer the natural log-probability of each of its tokens, float32.
    """
    trees = [_Tree(prefix, group) for group in answers]
    size = max(len(tree.ids) for tree in trees)
    device = encoded[0].device
    ids = torch.tensor([tree.ids + [0] * (size - len(tree.ids)) for tree in trees], device=device)
    places = torch.tensor(
        [tree.places + [0] * (size - len(tree.places)) for tree in trees], device=device
    )
    mask = torch.full((len(trees), 1, size, size), -torch.inf, dtype=encoded[0].dtype)
    for seen, tree in zip(mask, trees, strict=True):
        for query in range(size):
            slots = tree.ancestors[query] if query < len(tree.ids) else [query]
            seen[0, query, slots] = 0
    logits = IncrementalDecoder(model, encoded).extend(ids, places, mask.to(device))
    logprobs = logits.float().log_softmax(-1)
    return [
        [logprobs[number, tree.before[k], list(answer)] for k, answer in enumerate(group)]
        for number, (tree, group) in enumerate(zip(trees, answers, strict=True))
    ]


class _Tree:
    """Answers laid out as slots behind their common prefix: which token each slot holds, its
    place, which slots it sees, and per answer the slots that predict its tokens.
    """

    def __init__(self, prefix: Sequence[int], answers: Sequence[Sequence[int]]) -> None:
        self.ids = list(prefix)
        self.places = list(range(len(prefix)))
        self.ancestors = [list(range(slot + 1)) for slot in range(len(prefix))]
        self.before: list[list[int]] = []
        for answer in answers:
            last = len(prefix) - 1
            before = [last]
            for token in answer[:-1]:
                self.ids.append(token)
                self.places.append(self.places[last] + 1)
                self.ancestors.append([*self.ancestors[last], len(self.ids) - 1])
                last = len(self.ids) - 1
                before.append(last)
            self.before.append(before)


def _heads(states: Tensor, heads: int) -> Tensor:
    """(B, Q, D) to (B, heads, Q, D / heads)."""
    return states.view(*states.shape[:2], heads, -1).transpose(1, 2)
