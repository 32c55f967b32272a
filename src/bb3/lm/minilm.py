"""Sentence vectors by MiniLM (all-MiniLM-L6-v2 as ONNX), run by onnxruntime.

Reimers & Gurevych 2019 (arXiv:1908.10084): the mean of the last layer over a text's tokens, at
unit length.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    RuntimeException,
)
from tokenizers import Tokenizer

from bb3.core.errors import AssetError, ModelError
from bb3.core.types import Vector

_MOST_TOKENS = 256
_BATCH = 32
_MOST_CHARACTERS = _MOST_TOKENS * 32  # what is behind cannot reach the first 256 tokens
_REMEDY = "Fetch it again with `bb3 models pull`."


class MiniLMEmbedder:
    """Texts to unit vectors of 384 floats, in a thread of its own.

    Args:
        model_path: the ONNX file, inputs ``input_ids`` and ``attention_mask`` (and
            ``token_type_ids``), first output the last layer, (batch, tokens, 384).
        tokenizer_path: the ``tokenizer.json`` that belongs to it.
        threads: threads of one batch.
        name: for messages.

    Raises:
        AssetError: a file is missing or damaged, or they do not fit together.
    """

    def __init__(
        self, model_path: Path, tokenizer_path: Path, *, threads: int = 1, name: str = "minilm"
    ) -> None:
        self.name = name
        self._tokenizer = _load_tokenizer(tokenizer_path)
        self._session = _load_session(model_path, threads)
        self._inputs = {put.name for put in self._session.get_inputs()}
        if not {"input_ids", "attention_mask"} <= self._inputs:
            raise AssetError(f"{model_path} is not a sentence encoder.", remedy=_REMEDY)
        try:
            self.dim = int(self._encode(["dimension"]).shape[1])
        except ModelError as error:
            raise AssetError(
                f"{model_path} does not fit {tokenizer_path}.", remedy=_REMEDY
            ) from error

    async def embed(self, texts: Sequence[str]) -> list[Vector[float]]:
        """Vectors in the order of the texts; an empty text has one too."""
        if not texts:
            return []
        vectors = await asyncio.to_thread(self._embed, list(texts))
        return [array("f", vector.tobytes()) for vector in vectors]

    def _embed(self, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        # Batches of texts of like length, so that little is padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            vectors[rows] = self._encode([texts[i] for i in rows])
        return vectors

    def _encode(self, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(n, dim) unit vectors of one batch."""
        encodings = self._tokenizer.encode_batch([_readable(text) for text in texts])
        mask = np.array([e.attention_mask for e in encodings], dtype=np.int64)
        feed = {
            "input_ids": np.array([e.ids for e in encodings], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        feed = {name: value for name, value in feed.items() if name in self._inputs}
        try:
            layer = self._session.run(None, feed)[0]  # (n, tokens, dim)
        except (Fail, InvalidArgument, RuntimeException) as error:
            raise ModelError(f"{self.name} cannot encode: {error}") from error
        weights = mask[..., None].astype(np.float32)
        mean = (layer * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
        unit = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
        return np.asarray(unit, dtype=np.float32)


def _readable(text: str) -> str:
    """The text without what cannot matter, or is no character (half a surrogate pair)."""
    return text[:_MOST_CHARACTERS].encode("utf-8", "replace").decode()


def _load_tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AssetError(f"There is no tokenizer file {path}.", remedy=_REMEDY) from None
    except OSError as error:
        raise AssetError(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:
        raise AssetError(
            f"The tokenizer file {path} is damaged: {error}.", remedy=_REMEDY
        ) from error
    tokenizer.enable_truncation(_MOST_TOKENS)
    tokenizer.enable_padding()
    return tokenizer


def _load_session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except NoSuchFile:
        raise AssetError(f"There is no model file {path}.", remedy=_REMEDY) from None
    except (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf) as error:
        raise AssetError(f"The model file {path} is damaged: {error}", remedy=_REMEDY) from error
