"""ParlAI-format checkpoints written here; without torch no test is collected."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HAVE_TORCH = find_spec("torch") is not None and find_spec("transformers") is not None
collect_ignore_glob = [] if HAVE_TORCH else ["test_*.py"]

if HAVE_TORCH:
    import torch

    from bb3.nets.tokenizer import SPECIAL_TOKENS, byte_alphabet

    torch.set_num_threads(1)

WIDTH, FEED, HEADS, POSITIONS = 8, 12, 2, 32

Write = Callable[..., Path]


def dictionary(pieces: int = 4) -> str:
    """A ParlAI dictionary of the 256 bytes and some merged pieces, as text."""
    merged = ["Ġt", "he", "in", "Ġthe"][:pieces]
    padding = [f"__FP16_PAD_{number}__" for number in range(-(260 + pieces) % 8)]
    names = [*SPECIAL_TOKENS, *byte_alphabet(), *merged, *padding]
    return "".join(f"{escaped(name)}\t1\n" for name in names)


def escaped(piece: str) -> str:
    return "".join(
        f"\\{hex(byte).lstrip('0')}" if byte > 127 else chr(byte) for byte in piece.encode()
    )


def parlai_state(prefix: str = "seq2seq_", *, vocab: int = 264, layers: int = 2) -> dict[str, Any]:
    """A state dict as ComboFid (``seq2seq_``) or bart and transformer/generator (no prefix)
    write it.
    """
    torch.manual_seed(5)
    state: dict[str, Any] = {"START": torch.tensor([1])}
    state["embeddings.weight"] = torch.randn(vocab, WIDTH)
    norms = {"encoder": ("norm1", "norm2"), "decoder": ("norm1", "norm2", "norm3")}
    attentions = {"encoder": ("attention",), "decoder": ("self_attention", "encoder_attention")}
    for side in ("encoder", "decoder"):
        stem = f"{prefix}{side}"
        state[f"{stem}.embeddings.weight"] = state["embeddings.weight"]
        state[f"{stem}.position_embeddings.weight"] = torch.randn(POSITIONS, WIDTH)
        names = {f"{stem}.norm_embeddings": (WIDTH,)}
        for layer in range(layers):
            block = f"{stem}.layers.{layer}"
            names |= {f"{block}.{norm}": (WIDTH,) for norm in norms[side]}
            for attention in attentions[side]:
                for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
                    names[f"{block}.{attention}.{part}"] = (WIDTH, WIDTH)
            names[f"{block}.ffn.lin1"] = (FEED, WIDTH)
            names[f"{block}.ffn.lin2"] = (WIDTH, FEED)
        for name, shape in names.items():
            state[f"{name}.weight"] = torch.randn(*shape)
            state[f"{name}.bias"] = torch.randn(shape[0])
    return state


def parlai_options(**changes: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        "model": "projects.seeker.agents.seeker:ComboFidGoldDocumentAgent",
        "generation_model": "bart",
        "embedding_size": WIDTH,
        "ffn_size": FEED,
        "n_heads": HEADS,
        "n_layers": 2,
        "n_encoder_layers": 2,
        "n_decoder_layers": 2,
        "n_positions": POSITIONS,
        "n_segments": 0,
        "n_docs": 5,
        "variant": "prelayernorm",
        "activation": "gelu",
        "embeddings_scale": True,
        "output_scaling": 1,
        "share_word_embeddings": True,
        "learn_positional_embeddings": True,
        "dict_tokenizer": "gpt2",
        "history_add_global_end_token": "end",
        "text_truncate": 32,
        "label_truncate": 16,
    }
    return options | changes


@pytest.fixture
def write_checkpoint(tmp_path: Path) -> Write:
    """Writes a checkpoint's three files into a folder and returns the folder."""

    def write(
        name: str = "released",
        *,
        content: Any = None,
        options: dict[str, Any] | None = None,
        words: str | None = None,
        legacy: bool = False,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        if content is None:
            content = {"model": parlai_state(), "number_training_updates": 7}
        torch.save(content, folder / "model", _use_new_zipfile_serialization=not legacy)
        (folder / "model.opt").write_text(json.dumps(options or parlai_options()))
        text = dictionary() if words is None else words
        (folder / "model.dict").write_text(text, encoding="utf-8")
        return folder

    return write
