"""ParlAI's ``model.opt``: the dimensions and input layout of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from bb3.checkpoints.keys import SHARED
from bb3.core.errors import AssetError
from bb3.nets.r2c2 import R2C2Config
from bb3.nets.tokenizer import END, START

Shapes = Mapping[str, tuple[int, ...]]

ACTIVATIONS = ("gelu", "relu")
TOKENIZERS = ("gpt2", "bytelevelbpe", "slow_bytelevel_bpe")
WHOLE = (
    "n_heads n_layers n_encoder_layers n_decoder_layers n_positions n_extra_positions n_docs "
    "embedding_size ffn_size text_truncate truncate label_truncate min_doc_token_length"
).split()
FRACTIONS = ("dropout", "attention_dropout", "relu_dropout")
KINDS: dict[str, tuple[str, type | UnionType]] = {
    **dict.fromkeys(WHOLE, ("a whole number", int)),
    **dict.fromkeys(FRACTIONS, ("a number", int | float)),
    "delimiter": ("text", str),
}


def read_options(path: Path) -> dict[str, Any]:
    """The options in a ``model.opt``. Raises AssetError when it is not a JSON object, or a value
    that is read here is of another type.
    """
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AssetError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise AssetError(f"{path} is not JSON: {error}.", remedy="Fetch it again.") from error
    if not isinstance(options, dict):
        raise AssetError(f"{path} is not a JSON object but {type(options).__name__}.")
    for name, (words, kind) in KINDS.items():
        if options.get(name) is not None and not isinstance(options[name], kind):
            raise AssetError(f"{path}: {name} {options[name]!r} is not {words}.")
    return options


def make_config(options: Mapping[str, Any], shapes: Shapes) -> R2C2Config:
    """The configuration of a checkpoint.

    Sizes are those of the tensors, checked against the options; the number of heads and
    how inputs are laid out can only come from the options.

    Args:
        shapes: of the tensors, by Transformers names.

    Raises:
        AssetError: an architecture that this network is not, or options and tensors at odds.
    """
    _require_architecture(options)
    if SHARED not in shapes:
        raise AssetError("The checkpoint lacks the tensor embeddings.weight.")
    rows, width = _matrix(shapes, SHARED)
    encoder, decoder = (_layers(shapes, side) for side in ("encoder", "decoder"))
    positions, _ = _matrix(shapes, "model.encoder.embed_positions.weight")
    feed, _ = _matrix(shapes, "model.encoder.layers.0.fc1.weight")
    decoder_feed, _ = _matrix(shapes, "model.decoder.layers.0.fc1.weight")
    _agree(options, "embedding_size", width)
    _agree(options, "ffn_size", feed)
    _agree(options, "n_positions", positions - (options.get("n_extra_positions") or 0))
    _agree(options, "n_encoder_layers", encoder)
    _agree(options, "n_decoder_layers", decoder)
    heads = options.get("n_heads") or 0
    if heads < 1 or width % heads:
        raise AssetError(f"model.opt: n_heads {heads} does not divide the width {width}.")
    return R2C2Config(
        vocab_size=rows,
        d_model=width,
        max_position_embeddings=positions,
        encoder_layers=encoder,
        decoder_layers=decoder,
        encoder_ffn_dim=feed,
        decoder_ffn_dim=decoder_feed,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        activation_function=options.get("activation") or "relu",
        scale_embedding=bool(options.get("embeddings_scale")),
        dropout=float(options.get("dropout") or 0.0),
        attention_dropout=float(options.get("attention_dropout") or 0.0),
        activation_dropout=float(options.get("relu_dropout") or 0.0),
        source_length=_truncation(options, positions),
        document_room=options.get("min_doc_token_length") or 64,
        document_limit=options.get("n_docs") or 5,
        delimiter=options.get("delimiter") or "\n",
        **_seeds(options),
    )


def _seeds(options: Mapping[str, Any]) -> dict[str, Any]:
    """What stands around an input. BART-like models (R2C2) put START and END around the
    context and seed the decoder with END START; ``transformer/generator`` (BlenderBot 1 and 2)
    adds nothing, seeds START and never writes it.
    """
    history_end = [END] if options.get("history_add_global_end_token") == "end" else []
    if _generator(options) == "bart":
        return {
            "source_prefix": [START],
            "source_suffix": [*history_end, END],
            "decoder_prefix": [END, START],
            "decoder_start_token_id": END,
        }
    return {
        "source_prefix": [],
        "source_suffix": history_end,
        "decoder_prefix": [START],
        "decoder_start_token_id": START,
        "suppressed": [START],
    }


def _generator(options: Mapping[str, Any]) -> str:
    """Which of ParlAI's generators reads this checkpoint: ``bart`` or ``transformer/generator``."""
    agent = str(options.get("model") or "")
    plain = "transformer/generator" in agent or "TransformerGenerator" in agent
    name = "transformer/generator" if plain else "bart"
    if any(word in agent.lower() for word in ("fid", "rag", "seeker", "blenderbot2")):
        name = str(options.get("generation_model") or "bart")
    if name not in ("bart", "transformer/generator"):
        raise AssetError(f"model.opt: generation_model {name!r} is not R2C2 or BlenderBot.")
    return name


def _require_architecture(options: Mapping[str, Any]) -> None:
    wanted: dict[str, tuple[Any, ...]] = {
        "variant": ("prelayernorm",),
        "activation": (*ACTIVATIONS, None),
        "dict_tokenizer": TOKENIZERS,
        "n_segments": (0, None),
        "output_scaling": (1, 1.0, None),
        "share_word_embeddings": (True, None),
    }
    for name, values in wanted.items():
        if options.get(name) not in values:
            raise AssetError(
                f"model.opt: {name} {options.get(name)!r} is not supported.",
                remedy=f"R2C2 and BlenderBot models have {values[0]!r}.",
            )


def _agree(options: Mapping[str, Any], name: str, size: int) -> None:
    stated = options.get(name)
    if name in ("n_encoder_layers", "n_decoder_layers") and (stated is None or stated < 1):
        stated = options.get("n_layers")
    if stated is not None and stated != size:
        raise AssetError(
            f"model.opt says {name} {stated}, the tensors {size}.",
            remedy="model and model.opt are of different checkpoints.",
        )


def _truncation(options: Mapping[str, Any], positions: int) -> int:
    stated = [options.get(name) for name in ("text_truncate", "truncate")]
    lengths: list[int] = [length for length in stated if length is not None and length > 0]
    return min([*lengths[:1], positions])


def _layers(shapes: Shapes, side: str) -> int:
    start = f"model.{side}.layers."
    numbers = {int(name[len(start) :].split(".")[0]) for name in shapes if name.startswith(start)}
    return max(numbers, default=-1) + 1


def _matrix(shapes: Shapes, name: str) -> tuple[int, int]:
    if name not in shapes:
        raise AssetError(f"The checkpoint lacks a tensor: {name}.")
    match shapes[name]:
        case (rows, columns) if rows and columns:
            return rows, columns
    raise AssetError(f"The tensor {name} has shape {shapes[name]}: no rows and columns.")
