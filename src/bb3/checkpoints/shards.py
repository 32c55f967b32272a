"""Writing safetensors shards a piece at a time, and taking up where a stopped run left off.

The safetensors library's own writer wants a whole shard in memory; the format is simple enough
(eight bytes of header length, a JSON header, the raw tensors) to stream it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bb3.core.errors import AssetError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
PIECE = 1 << 22  # numbers converted at once
INDEX = "model.safetensors.index.json"
STATE = "progress.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One file: ``tensors`` are names with their shapes, in the order they are written."""

    name: str
    tensors: Mapping[str, tuple[int, ...]]
    dtype: str

    @property
    def size(self) -> int:
        """Size of the tensors alone."""
        width = DTYPES[self.dtype].itemsize
        return sum(math.prod(shape) * width for shape in self.tensors.values())

    def header(self) -> bytes:
        """The header, its length in front, filled up so that the tensors begin at 8 n."""
        entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        start = 0
        for name, shape in self.tensors.items():
            end = start + math.prod(shape) * DTYPES[self.dtype].itemsize
            entry = {"dtype": CODES[self.dtype], "shape": shape, "data_offsets": [start, end]}
            entries[name] = entry
            start = end
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text


def plan(shapes: Mapping[str, tuple[int, ...]], dtype: str, limit: int) -> list[Shard]:
    """Deal tensors to shards of at most ``limit`` bytes (or one tensor), in their order."""
    groups: list[dict[str, tuple[int, ...]]] = [{}]
    filled = 0
    for name, shape in shapes.items():
        size = math.prod(shape) * DTYPES[dtype].itemsize
        if groups[-1] and filled + size > limit:
            groups.append({})
            filled = 0
        groups[-1][name] = shape
        filled += size
    total = len(groups)
    names = [f"model-{number:05}-of-{total:05}.safetensors" for number in range(1, total + 1)]
    if total == 1:
        names = ["model.safetensors"]
    return [
        Shard(name=name, tensors=group, dtype=dtype)
        for name, group in zip(names, groups, strict=True)
    ]


def write_shard(
    shard: Shard, fetch: Callable[[str], Tensor], folder: Path, advance: Callable[[int], None]
) -> str:
    """Write a shard under a temporary name, then give it its own.

    Returns:
        the file's SHA-256. Raises AssetError for numbers that ``dtype`` cannot hold.
    """
    part = folder / f"{shard.name}.part"
    digest = hashlib.sha256()
    with part.open("wb") as file:
        header = shard.header()
        digest.update(header)
        file.write(header)
        for name in shard.tensors:
            for piece in _pieces(name, fetch(name), shard.dtype):
                digest.update(piece)
                file.write(piece)
                advance(len(piece))
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / shard.name)
    return digest.hexdigest()


def write_index(shards: Sequence[Shard], folder: Path) -> None:
    """The map from tensors to files that Transformers reads; none is needed for one file."""
    if len(shards) < 2:
        return
    places = {name: shard.name for shard in shards for name in shard.tensors}
    index = {
        "metadata": {"total_size": sum(shard.size for shard in shards)},
        "weight_map": dict(sorted(places.items())),
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


class Finished:
    """Which shards of a folder are complete, kept in a file so that a later run knows.

    Args:
        key: what the conversion is of; shards of another key are removed.

    Attributes:
        hashes: SHA-256 of each finished shard.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self._path = folder / STATE
        self._key = dict(key)
        self.hashes: dict[str, str] = {}
        try:
            state = json.loads(self._path.read_text(encoding="utf-8"))
            if state["key"] == self._key:
                self.hashes = dict(state["shards"])
        except (OSError, ValueError, KeyError, TypeError):
            self.hashes = {}  # no run before this one, or one that died while writing this
        for file in folder.glob("model*.safetensors*"):
            if file.name not in self.hashes:
                file.unlink()

    def holds(self, shard: Shard) -> bool:
        """Whether the shard's file is there, whole and unchanged."""
        file = self._path.with_name(shard.name)
        known = self.hashes.get(shard.name)
        return known is not None and file.is_file() and file_hash(file) == known

    def add(self, shard: Shard, digest: str) -> None:
        """Note a shard that was written."""
        self.hashes[shard.name] = digest
        text = json.dumps({"key": self._key, "shards": self.hashes})
        part = self._path.with_name(f"{STATE}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(self._path)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pieces(name: str, tensor: Tensor, dtype: str) -> Iterator[memoryview]:
    """A tensor's bytes in ``dtype``, a few million numbers at a time."""
    for piece in tensor.reshape(-1).split(PIECE):
        bounds = torch.stack(piece.aminmax())  # NaN, if there is one
        converted = piece.to(DTYPES[dtype])
        if not bool(bounds.to(DTYPES[dtype]).isfinite().all()):
            kind = "overflows" if bool(bounds.isfinite().all()) else "is not finite"
            raise AssetError(
                f"The tensor {name} {kind} in {dtype}.",
                remedy="Convert to bfloat16 or float32, or fetch the checkpoint again.",
            )
        yield memoryview(converted.contiguous().view(torch.uint8).numpy())
