"""Reading the head of a GGUF file: enough to refuse a damaged one before the engine sees it.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bb3.core.errors import AssetError

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
_SPECIAL_TOKEN_TYPES = (3, 4)  # control, user defined


@dataclass(frozen=True, slots=True)
class GgufInfo:
    """What a GGUF file says of itself.

    Attributes:
        metadata: its key-value pairs.
        tensors: how many tensors it holds.
    """

    metadata: Mapping[str, Any]
    tensors: int

    @property
    def trained_context(self) -> int:
        """Tokens of context the model was trained on; 0 when the file does not say."""
        architecture = self.metadata.get("general.architecture", "")
        return int(self.metadata.get(f"{architecture}.context_length", 0))

    @property
    def has_chat_template(self) -> bool:
        return bool(self.metadata.get("tokenizer.chat_template"))

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Texts of the tokens that structure a prompt, such as ``<|im_end|>``."""
        tokens = self.metadata.get("tokenizer.ggml.tokens", ())
        types = self.metadata.get("tokenizer.ggml.token_type", ())
        return tuple(
            token
            for token, kind in zip(tokens, types, strict=False)
            if kind in _SPECIAL_TOKEN_TYPES and token.strip()
        )


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
    except (EOFError, ValueError, KeyError, struct.error, RecursionError) as error:
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
    alignment = int(metadata.get("general.alignment", 32)) or 32
    begin = -(-file.tell() // alignment) * alignment
    if size < begin + end:
        raise ValueError(f"it has {size} bytes of the {begin + end} that its tensors take")
    if not n_tensors:
        raise ValueError("it holds no tensors")
    return GgufInfo(metadata=metadata, tensors=n_tensors)


def _tensor_end(reader: _Reader) -> int:
    """Offset of the first byte after a tensor, relative to the first tensor."""
    reader.string()
    elements = 1
    for _ in range(reader.unpack("I")):
        elements *= int(reader.unpack("Q"))
    kind, offset = reader.unpack("I"), int(reader.unpack("Q"))
    per_block, block_bytes = _BLOCKS.get(kind, (0, 0))
    return offset + (elements // per_block * block_bytes if per_block else 0)
