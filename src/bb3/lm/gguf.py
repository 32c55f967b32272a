"""Reading the head of a GGUF file: enough to refuse a damaged one before the engine sees it.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from bb3.core.errors import AssetError

T = TypeVar("T")

_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9

# Elements and bytes of one block, by tensor type. A type that is not here is only checked to
# begin inside the file.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2),
}  # fmt: skip

_MOST_ENTRIES = 1 << 20
_LONGEST_STRING = 1 << 26
_MOST_DIMENSIONS = 4  # ggml's own limit
_SPECIAL_TOKEN_TYPES = (3, 4)  # control, user defined


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufInfo:
    """What a GGUF file says of itself.

    Attributes:
        tensors: how many tensors it holds.
        trained_context: tokens of context the model was trained on; 0 when it does not say.
        has_chat_template: it brings the words of a chat.
        special_tokens: texts of the tokens that structure a prompt, such as ``<|im_end|>``.
    """

    tensors: int
    trained_context: int
    has_chat_template: bool
    special_tokens: tuple[str, ...]


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def take(self, size: int) -> bytes:
        data = self.file.read(size)
        if len(data) < size:
            raise EOFError("the file ends within its header")
        return data

    def unpack(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def count(self) -> int:
        value = int(self.unpack("Q"))
        if value > _MOST_ENTRIES:
            raise ValueError(f"its header announces {value} entries")
        return value

    def string(self) -> str:
        size = int(self.unpack("Q"))
        if size > _LONGEST_STRING:
            raise ValueError(f"its header announces a string of {size} bytes")
        return self.take(size).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.unpack(_SCALARS[kind])
        inner, count = self.unpack("I"), self.count()
        if inner in _SCALARS:
            code = f"<{count}{_SCALARS[inner]}"
            return struct.unpack(code, self.take(struct.calcsize(code)))
        return tuple(self.value(inner) for _ in range(count))


def read_gguf(path: Path) -> GgufInfo:
    """Read the header of a model file and check that every tensor lies inside the file.

    Raises:
        AssetError: the file is missing, unreadable, not GGUF, damaged or cut short.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except FileNotFoundError:
        raise AssetError(
            f"There is no model file {path}.",
            remedy="Check the path, or see `bb3 models list` for models that can be pulled.",
        ) from None
    except OSError as error:
        raise AssetError(f"The model file {path} cannot be read: {error.strerror}.") from error
    except (EOFError, TypeError, ValueError, KeyError, struct.error, RecursionError) as error:
        reason = f"unknown value type {error}" if isinstance(error, KeyError) else error
        raise AssetError(
            f"The model file {path} is damaged or not GGUF: {reason}.",
            remedy="Fetch it again (`bb3 models pull`), or convert the model to GGUF.",
        ) from error


def _read(file: BinaryIO, size: int) -> GgufInfo:
    reader = _Reader(file)
    magic = file.read(4)
    if magic != b"GGUF":
        raise ValueError(f"it begins with {magic!r}")
    version = reader.unpack("I")
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version} is not known")
    n_tensors, n_pairs = reader.count(), reader.count()
    metadata = {reader.string(): reader.value(reader.unpack("I")) for _ in range(n_pairs)}
    end = 0
    for _ in range(n_tensors):
        end = max(end, _tensor_end(reader))
    if not n_tensors:
        raise ValueError("it holds no tensors")
    alignment = _field(metadata, "general.alignment", 32)
    if alignment < 1:
        raise ValueError(f"its general.alignment is {alignment}")
    begin = -(-file.tell() // alignment) * alignment
    if size < begin + end:
        raise ValueError(f"it has {size} bytes of the {begin + end} that its tensors take")
    return _info(metadata, n_tensors)


def _info(metadata: Mapping[str, Any], n_tensors: int) -> GgufInfo:
    architecture = _field(metadata, "general.architecture", "")
    context = _field(metadata, f"{architecture}.context_length", 0)
    if context < 0:
        raise ValueError(f"its {architecture}.context_length is {context}")
    tokens: tuple[Any, ...] = _field(metadata, "tokenizer.ggml.tokens", ())
    if not all(isinstance(token, str) for token in tokens):
        raise TypeError("its tokenizer.ggml.tokens are no texts")
    types: tuple[Any, ...] = _field(metadata, "tokenizer.ggml.token_type", ())
    return GgufInfo(
        tensors=n_tensors,
        trained_context=context,
        has_chat_template=bool(_field(metadata, "tokenizer.chat_template", "")),
        special_tokens=tuple(
            token
            for token, kind in zip(tokens, types, strict=False)
            if kind in _SPECIAL_TOKEN_TYPES and token.strip()
        ),
    )


def _field(metadata: Mapping[str, Any], name: str, default: T) -> T:
    """A value of the default's type. Raises TypeError when the file has one of another."""
    value = metadata.get(name, default)
    if not isinstance(value, type(default)):
        raise TypeError(f"its {name} is of the type {type(value).__name__}")
    return value


def _tensor_end(reader: _Reader) -> int:
    """Offset of the first byte after a tensor, relative to the first tensor."""
    reader.string()
    dimensions = int(reader.unpack("I"))
    if dimensions > _MOST_DIMENSIONS:
        raise ValueError(f"one of its tensors has {dimensions} dimensions")
    elements = math.prod(int(reader.unpack("Q")) for _ in range(dimensions))
    kind, offset = reader.unpack("I"), int(reader.unpack("Q"))
    per_block, block_bytes = _BLOCKS.get(kind, (0, 0))
    return offset + (elements // per_block * block_bytes if per_block else 0)
