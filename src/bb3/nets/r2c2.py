"""R2C2, the 3B model's network: Blenderbot's blocks with Fusion-in-Decoder.

Encoder and decoder are the Transformers library's own (pre-layer-norm, GELU, learned positions,
embeddings scaled by sqrt(d) and shared). What is added here: an input may be several *rows*
(Izacard & Grave 2020, arXiv:2007.01282), one a document with the context behind it; rows are
encoded side by side, and what the decoder reads is their outputs joined. An input without
documents is simply one row. There are no blank documents, and no padding beyond the longest row.

Shapes: B inputs, R rows in all (R >= B), S tokens a row, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModelForSeq2SeqLM
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.models.blenderbot.configuration_blenderbot import BlenderbotConfig
from transformers.models.blenderbot.modeling_blenderbot import (
    BlenderbotForConditionalGeneration,
)


@strict
class R2C2Config(BlenderbotConfig):
    """Blenderbot's configuration and how this model's inputs are laid out.

    Attributes:
        source_prefix, source_suffix: ids around the context in the encoder's input.
        decoder_prefix: ids the decoder is seeded with.
        suppressed: ids that are never generated.
        source_length: longest encoder row in tokens; a longer context loses its beginning.
        document_room: tokens of a row kept free for the document however long the context.
        document_limit: most documents of an input.
        delimiter: what stands between the lines of a history.
    """

    model_type = "r2c2"

    vocab_size: int = 50264
    max_position_embeddings: int = 1024
    encoder_layers: int = 22
    encoder_ffn_dim: int = 8192
    encoder_attention_heads: int = 32
    decoder_layers: int = 22
    decoder_ffn_dim: int = 8192
    decoder_attention_heads: int = 32
    d_model: int = 2048
    scale_embedding: bool = True
    decoder_start_token_id: int = 2
    encoder_no_repeat_ngram_size: int = 0
    forced_eos_token_id: int | list[int] | None = None
    source_prefix: list[int] | tuple[int, ...] = (1,)
    source_suffix: list[int] | tuple[int, ...] = (2, 2)
    decoder_prefix: list[int] | tuple[int, ...] = (2, 1)
    suppressed: list[int] | tuple[int, ...] = ()
    source_length: int = 1024
    document_room: int = 64
    document_limit: int = 5
    delimiter: str = "\n"


class R2C2ForConditionalGeneration(BlenderbotForConditionalGeneration):
    """Blenderbot with Fusion-in-Decoder; all else (loading, saving, Trainer, PEFT,
    quantisation, ``device_map``, ``generate``) is the library's.
    """

    config_class = R2C2Config
    config: R2C2Config

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Tensor, ...] | None = None,
        labels: Tensor | None = None,
        row_counts: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """Logits, and with ``labels`` the mean loss over their tokens.

        Args:
            input_ids: (R, S) rows of all inputs, padded at the right.
            attention_mask: (R, S); None: everything but padding ids.
            decoder_input_ids: (B, T).
            encoder_outputs: fused already: (B, sum of row lengths, D), with its mask as
                ``attention_mask``.
            labels: (B, L) without the decoder's prefix; padding ids and -100 are not scored.
                The logits are then (B, L, V), those of the label's own tokens.
            row_counts: (B) rows of each input, in the order of ``input_ids``; None: one each.
        """
        padding = int(self.config.pad_token_id or 0)
        if encoder_outputs is None and input_ids is not None:
            if attention_mask is None:
                attention_mask = input_ids.ne(padding).long()
            if row_counts is not None:
                rows = self.model.encoder(input_ids, attention_mask=attention_mask)
                hidden, attention_mask = fuse(rows[0], attention_mask, row_counts)
                encoder_outputs = BaseModelOutput(last_hidden_state=hidden)
        prefix = list(self.config.decoder_prefix)
        if labels is not None:
            decoder_input_ids = self.seed(labels)
        output: Seq2SeqLMOutput = super().forward(
            input_ids=input_ids if encoder_outputs is None else None,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            encoder_outputs=encoder_outputs,
            use_cache=use_cache if labels is None else False,
            **kwargs,
        )
        if labels is None:
            return output
        logits = torch.as_tensor(output.logits)[:, len(prefix) - 1 :]
        wanted = labels.masked_fill(labels.eq(padding), -100).to(logits.device)
        output.logits = logits
        output.loss = functional.cross_entropy(logits.float().flatten(0, 1), wanted.flatten())
        return output

    def seed(self, labels: Tensor) -> Tensor:
        """(B, L) labels to (B, len(prefix) + L - 1) decoder inputs: prefix, then the labels
        but for their last token.
        """
        prefix = labels.new_tensor(list(self.config.decoder_prefix)).expand(len(labels), -1)
        known = labels[:, :-1].masked_fill(labels[:, :-1] == -100, self.config.pad_token_id or 0)
        return torch.cat([prefix, known], dim=1)


def end_token(config: BlenderbotConfig) -> int:
    """The id that ends an answer; of several the first."""
    end = config.eos_token_id
    return int(end[0] if isinstance(end, list) else end or 0)


def encode(
    model: BlenderbotForConditionalGeneration, inputs: Sequence[Sequence[Sequence[int]]]
) -> list[Tensor]:
    """Encode inputs of any number of rows each, without computing padding.

    Args:
        model: R2C2 or a plain Blenderbot model.
        inputs: for each input its rows, for each row its ids.

    Returns:
        for each input (sum of its row lengths, D).
    """
    hidden = encode_packed(model, [row for rows in inputs for row in rows])
    return list(hidden.split([sum(map(len, rows)) for rows in inputs]))


def fuse(hidden: Tensor, mask: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Join the rows of each input, leaving padding out.

    Args:
        hidden: (R, S, D); mask: (R, S), 1 where there is a token; counts: (B), summing to R.

    Returns:
        (B, longest, D) and its mask (B, longest), long.
    """
    real = mask.bool()
    lengths = real.sum(1).split(counts.tolist())
    parts = hidden[real].split([int(rows.sum()) for rows in lengths])
    fused = pad_sequence(list(parts), batch_first=True)
    sizes = torch.tensor([len(part) for part in parts], device=hidden.device)
    places = torch.arange(fused.shape[1], device=hidden.device)
    return fused, (places < sizes[:, None]).long()


@torch.inference_mode()
def encode_packed(
    model: BlenderbotForConditionalGeneration, rows: Sequence[Sequence[int]]
) -> Tensor:
    """The encoder over rows of unequal length laid end to end: linear layers see no padding,
    only attention is padded, to the longest row.

    Returns:
        (sum of row lengths, D), in the order of ``rows``. Raises ValueError for a row that is
        empty or longer than the model has positions.
    """
    encoder = model.model.encoder
    device = encoder.embed_tokens.weight.device
    lengths = [len(row) for row in rows]
    limit = model.config.max_position_embeddings
    if not 0 < min(lengths) <= max(lengths) <= limit:
        raise ValueError(f"rows of {min(lengths)} to {max(lengths)} tokens: 1 to {limit} can be")
    ids = torch.tensor([token for row in rows for token in row], device=device)
    places = torch.cat([torch.arange(length) for length in lengths]).to(device)
    hidden = encoder.embed_tokens(ids) + encoder.embed_positions(ids[None].shape, 0, places)
    layout = _Layout(lengths, places)
    for layer in encoder.layers:
        attention = layer.self_attn
        normed = layer.self_attn_layer_norm(hidden)
        query, key, value = (
            layout.pad(project(normed), attention.num_heads)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=layout.mask)
        hidden = hidden + attention.out_proj(layout.unpad(mixed))
        hidden = hidden + feed_forward(layer, layer.final_layer_norm(hidden))
    return torch.as_tensor(encoder.layer_norm(hidden))


def feed_forward(layer: Any, normed: Tensor) -> Tensor:
    """The two linear layers of an encoder or decoder layer."""
    return torch.as_tensor(layer.fc2(layer.activation_fn(layer.fc1(normed))))


class _Layout:
    """Where the tokens of packed rows stand in a padded batch.

    Attributes:
        mask: (R, 1, 1, longest), True where there is a token; None when nothing is padded.
    """

    def __init__(self, lengths: Sequence[int], places: Tensor) -> None:
        self.shape = (len(lengths), max(lengths))
        sizes = torch.tensor(lengths, device=places.device)
        self.mask: Tensor | None = None
        if min(lengths) < max(lengths):
            starts = torch.arange(len(lengths), device=places.device) * max(lengths)
            self.index = places + starts.repeat_interleave(sizes)
            columns = torch.arange(max(lengths), device=places.device)
            self.mask = (columns < sizes[:, None])[:, None, None]

    def pad(self, packed: Tensor, heads: int) -> Tensor:
        """(N, D) to (R, heads, longest, D / heads)."""
        if self.mask is not None:
            padded = packed.new_zeros(self.shape[0] * self.shape[1], packed.shape[1])
            packed = padded.index_copy_(0, self.index, packed)
        return packed.view(*self.shape, heads, -1).transpose(1, 2)

    def unpad(self, padded: Tensor) -> Tensor:
        """(R, heads, longest, D / heads) to (N, D)."""
        flat = padded.transpose(1, 2).reshape(self.shape[0] * self.shape[1], -1)
        return flat if self.mask is None else flat[self.index]


AutoConfig.register("r2c2", R2C2Config)
AutoModelForSeq2SeqLM.register(R2C2Config, R2C2ForConditionalGeneration)
