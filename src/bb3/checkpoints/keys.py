"""ParlAI's tensor names to Transformers' Blenderbot names: a table, nothing else."""

from __future__ import annotations

import re

ATTENTION = {"q_lin": "q_proj", "k_lin": "k_proj", "v_lin": "v_proj", "out_lin": "out_proj"}
ENCODER_BLOCK = {
    "attention": "self_attn",
    "norm1": "self_attn_layer_norm",
    "ffn.lin1": "fc1",
    "ffn.lin2": "fc2",
    "norm2": "final_layer_norm",
}
DECODER_BLOCK = {
    "self_attention": "self_attn",
    "norm1": "self_attn_layer_norm",
    "encoder_attention": "encoder_attn",
    "norm2": "encoder_attn_layer_norm",
    "ffn.lin1": "fc1",
    "ffn.lin2": "fc2",
    "norm3": "final_layer_norm",
}
STEM = {
    "position_embeddings.weight": "embed_positions.weight",
    "norm_embeddings.weight": "layer_norm.weight",
    "norm_embeddings.bias": "layer_norm.bias",
}

EMBEDDINGS = "embeddings.weight"
SHARED = "model.shared.weight"

# Tensors that carry nothing the network computes with: copies of the shared embedding, the
# start token, parts of retrievers that only served training.
COPIES = frozenset({"encoder.embeddings.weight", "decoder.embeddings.weight"})
NOT_NEEDED = re.compile(r"START|retriever\..*|long_term_memory\..*|.*\.?_extra_state")

LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d+)\.(.+)\.(weight|bias)")


def translate(name: str) -> str | None:
    """The Transformers name of a ParlAI tensor; None when there is none."""
    name = name.removeprefix("module.").replace("seq2seq_", "", 1)
    if name == EMBEDDINGS:
        return SHARED
    side, _, rest = name.partition(".")
    if side in ("encoder", "decoder") and rest in STEM:
        return f"model.{side}.{STEM[rest]}"
    if match := LAYER.fullmatch(name):
        side, number, part, kind = match.groups()
        block = ENCODER_BLOCK if side == "encoder" else DECODER_BLOCK
        if part in block:
            return f"model.{side}.layers.{number}.{block[part]}.{kind}"
        outer, _, inner = part.rpartition(".")
        if outer in block and inner in ATTENTION:
            return f"model.{side}.layers.{number}.{block[outer]}.{ATTENTION[inner]}.{kind}"
    return None


def is_shared(name: str) -> bool:
    """Whether a ParlAI tensor is the embedding that encoder, decoder and output share."""
    return name.removeprefix("module.") == EMBEDDINGS


def is_copy(name: str) -> bool:
    """Whether a ParlAI tensor is the shared embedding once more."""
    return name.removeprefix("module.").replace("seq2seq_", "", 1) in COPIES


def is_not_needed(name: str) -> bool:
    """Whether a ParlAI tensor may be left out."""
    return NOT_NEEDED.fullmatch(name.removeprefix("module.")) is not None
