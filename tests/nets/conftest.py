"""Small models for the tests of the network; without torch none of them is collected."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HAVE_TORCH = find_spec("torch") is not None and find_spec("transformers") is not None
collect_ignore_glob = [] if HAVE_TORCH else ["test_*.py"]

if HAVE_TORCH:
    import torch

    from bb3.checkpoints.parlai import convert
    from bb3.nets.r2c2 import R2C2Config, R2C2ForConditionalGeneration
    from bb3.nets.tokenizer import TextCodec

    torch.set_num_threads(1)  # small tensors: more threads only wait for each other


def make_config(**changes: Any) -> R2C2Config:
    sizes: dict[str, Any] = {
        "vocab_size": 41,
        "max_position_embeddings": 64,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "d_model": 16,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "source_length": 64,
        "document_room": 16,
        "init_std": 0.4,  # so that a random model has opinions
    }
    return R2C2Config(**(sizes | changes))


@pytest.fixture(scope="session")
def model() -> R2C2ForConditionalGeneration:
    """A random model of 41 tokens."""
    torch.manual_seed(7)
    return R2C2ForConditionalGeneration(make_config()).eval()


@pytest.fixture(scope="session")
def golden_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference's tiny checkpoint, converted."""
    out = tmp_path_factory.mktemp("golden") / "tiny"
    return convert(shared / "golden" / "r2c2" / "tiny", out, dtype="float32")


@pytest.fixture(scope="session")
def golden_model(golden_folder: Path) -> R2C2ForConditionalGeneration:
    return R2C2ForConditionalGeneration.from_pretrained(golden_folder).eval()


@pytest.fixture(scope="session")
def golden_codec(golden_folder: Path) -> TextCodec:
    return TextCodec.load(golden_folder)


@pytest.fixture(scope="session")
def golden(shared: Path) -> Any:
    """Reads a recorded JSON file of the R2C2 reference."""

    def read(name: str) -> Any:
        path = shared / "golden" / "r2c2" / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8"))

    return read
