"""Small random networks in the folders that ``--model`` takes (the extra ``torch``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import BlenderbotConfig, BlenderbotForConditionalGeneration

from bb3.nets.r2c2 import R2C2Config, R2C2ForConditionalGeneration
from bb3.nets.tokenizer import SPECIAL_TOKENS, build_tokenizer, byte_alphabet, save_tokenizer

SIZES: dict[str, Any] = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "d_model": 16,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "init_std": 0.4,  # so that a random model has opinions
}
PIECES = [*SPECIAL_TOKENS, *byte_alphabet(), "Ġt", "he", "in", "Ġthe"]


def write_r2c2(folder: Path, **changes: Any) -> Path:
    """A model that speaks bytes, 256 positions."""
    torch.manual_seed(11)
    sizes = SIZES | {
        "vocab_size": len(PIECES),
        "max_position_embeddings": 256,
        "source_length": 256,
        "document_room": 32,
        # Only printable ASCII comes out, so that texts can be told apart.
        "suppressed": [n for n, piece in enumerate(PIECES) if n not in (2, *range(4, 98))],
    }
    model = R2C2ForConditionalGeneration(R2C2Config(**(sizes | changes)))
    model.save_pretrained(folder)
    save_tokenizer(build_tokenizer(PIECES), folder, max_length=256)
    return folder


def write_blenderbot(folder: Path) -> BlenderbotForConditionalGeneration:
    """As ``facebook/blenderbot-400M-distill`` lies on the hub, without ``tokenizer.json``."""
    torch.manual_seed(12)
    config = BlenderbotConfig(
        **SIZES, vocab_size=len(PIECES), max_position_embeddings=128, scale_embedding=True
    )
    model = BlenderbotForConditionalGeneration(config).eval()
    model.final_logits_bias.normal_(std=3)  # so that it shows when it is left out
    model.save_pretrained(folder)
    names = ["<pad>", "<s>", "</s>", "<unk>", *PIECES[4:]]
    vocabulary = {piece: number for number, piece in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = "#version: 0.2\nĠ t\nh e\ni n\nĠt he\n"
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    tokenizer = {
        "tokenizer_class": "BlenderbotTokenizer",
        "add_prefix_space": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return model
