"""ParlAI checkpoints (BlenderBot 3 3B, R2C2, SeeKeR, BlenderBot 1 and 2) to a model folder.

``convert`` reads ``model``, ``model.opt`` and ``model.dict``, checks every tensor, and writes what
Transformers and ``bb3 chat --model`` load: sharded safetensors, ``config.json``, the tokenizer and
a model card. It works in a hidden folder beside the target, or within it where it is there already,
and renames at the end, so that there is never half a model; a run that was stopped goes on from its
finished shards.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from bb3.checkpoints import keys, shards, source
from bb3.checkpoints.options import make_config, read_options
from bb3.core.errors import AssetError
from bb3.core.ports import Progress
from bb3.nets.r2c2 import R2C2Config, R2C2ForConditionalGeneration
from bb3.nets.tokenizer import build_tokenizer, read_dictionary, read_merges, save_tokenizer
from bb3.nets.torchfile import can_map, read_tensors

SHARD_BYTES = 2_000_000_000
MAPPED_BYTES = 200_000_000
UNPACKED = "unpacked"
PARTIAL = ".partial"
NUMBERS = (*shards.DTYPES.values(), torch.float64)
CARD = """---
library_name: transformers
tags: [r2c2, blenderbot, conversational]
---

# {name}

Converted by bb3 from a ParlAI checkpoint (`{agent}`). The weights keep the licence they were
released under. Run it with `bb3 chat --model <this folder>`.

| | |
|---|---|
| parameters | {parameters:,} |
| layers | {encoder_layers} encoder, {decoder_layers} decoder |
| width, heads, feed-forward | {d_model}, {encoder_attention_heads}, {encoder_ffn_dim} |
| vocabulary, positions | {vocab_size}, {max_position_embeddings} |
| numbers | {dtype} |

SHA-256 of the files:

{hashes}
"""


def convert(
    path: Path,
    out: Path,
    progress: Callable[[Progress], None] | None = None,
    *,
    dtype: str = "float16",
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Convert the ParlAI checkpoint at ``path`` to a model folder ``out``.

    Args:
        path: a ``model`` file, a folder that holds one, or a tar or zip archive of it.
        out: the folder to make; must not exist or be empty.
        progress: told about the bytes written.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        shard_bytes: largest size of a file (a larger tensor gets its own).

    Returns:
        ``out``.

    Raises:
        AssetError: with one line on what is wrong; ``out`` is then as it was.
    """
    if dtype not in shards.DTYPES:
        raise AssetError(f"Unknown number format {dtype!r}.", remedy=f"One of {_names()}.")
    within = out.is_dir()
    if any(f.name != PARTIAL for f in out.iterdir()) if within else os.path.lexists(out):
        raise AssetError(f"{out} exists already.", remedy="Name another folder, or remove it.")
    work = out / PARTIAL if within else out.with_name(f".{out.name}{PARTIAL}")
    packed = source.is_archive(path)
    try:
        work.mkdir(parents=True, exist_ok=True)
        files = source.find_files(source.unpack(path, work / UNPACKED) if packed else path)
        _Conversion(
            name=out.resolve().name,
            files=files,
            origin=path if packed else files.model,
            work=work,
            dtype=dtype,
            shard_bytes=shard_bytes,
            report=progress,
        ).run()
        shutil.rmtree(work / UNPACKED, ignore_errors=True)
        _put_in_place(work, out)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise AssetError(
                f"No space left at {work} while converting {path}.",
                remedy="Free some space and start again: finished files are kept.",
            ) from error
        raise AssetError(
            f"Cannot convert {path} to {out}: {error.strerror or error}"
            f"{f' ({error.filename})' if error.filename else ''}."
        ) from error
    finally:
        if not (work / shards.STATE).exists():  # nothing that another run could go on from
            shutil.rmtree(work, ignore_errors=True)
    return out


def _put_in_place(work: Path, out: Path) -> None:
    """The last step. The state file goes at its very end: as long as it is there, a run that is
    stopped loses nothing.
    """
    if work.parent != out:
        work.replace(out)
        (out / shards.STATE).unlink()
        return
    # A folder that is there stays: it may be the current one, a link or a mounted disk.
    for file in work.iterdir():
        if file.name != shards.STATE:
            file.replace(out / file.name)
    (work / shards.STATE).unlink()
    work.rmdir()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Conversion:
    """One run: what ``convert`` was asked for, and the folder it works in.

    Attributes:
        origin: the file that the shards are of, ``files.model`` or the archive it was in.
    """

    name: str
    files: source.Files
    origin: Path
    work: Path
    dtype: str
    shard_bytes: int
    report: Callable[[Progress], None] | None

    def run(self) -> None:
        options = read_options(self.files.opt)
        tensors = read_tensors(self.files.model)
        names = map_names(tensors)
        check_copies(tensors)
        shapes = {name: tuple(tensor.shape) for name, (_, tensor) in names.items()}
        config = make_config(options, shapes)
        config.dtype = shards.DTYPES[self.dtype]
        check_shapes({name: parlai for name, (parlai, _) in names.items()}, shapes, config)
        self._write_tokenizer(options, config)
        del tensors, names  # unmaps the file
        plan = shards.plan(shapes, self.dtype, self.shard_bytes)
        hashes = self._write_shards(plan)
        shards.write_index(plan, self.work)
        self._write_config(options, config)
        self._write_card(options, config, plan, hashes)

    def _write_shards(self, plan: list[shards.Shard]) -> dict[str, str]:
        key = {
            **source.identity(self.origin),
            "dtype": self.dtype,
            "shard_bytes": self.shard_bytes,
        }
        finished = shards.Finished(self.work, key)
        total = sum(shard.size for shard in plan)
        progress = Progress("converting", total=total, report=self.report)
        missing = [shard for shard in plan if not finished.holds(shard)]
        source.require_space(self.work, sum(shard.size for shard in missing), "write the model")
        fetch = _Reader(self.files.model)
        for shard in plan:
            if shard not in missing:
                progress.advance(shard.size)
                continue
            digest = shards.write_shard(shard, fetch, self.work, progress.advance)
            finished.add(shard, digest)
        return finished.hashes

    def _write_tokenizer(self, options: Mapping[str, Any], config: R2C2Config) -> None:
        pieces = read_dictionary(self.files.dictionary)
        if len(pieces) != config.vocab_size:
            raise AssetError(
                f"The dictionary {self.files.dictionary} has {len(pieces)} tokens,"
                f" the model {config.vocab_size}.",
                remedy="model.dict is of another checkpoint.",
            )
        merges = read_merges(self.files.merges) if self.files.merges else None
        if merges is None and options.get("dict_tokenizer") != "gpt2":
            raise AssetError(
                f"The BPE merges of {self.files.model} are missing.",
                remedy="Put model.dict-merges.txt beside it.",
            )
        prefix_space = bool(options.get("bpe_add_prefix_space"))
        tokenizer = build_tokenizer(pieces, merges, prefix_space=prefix_space)
        save_tokenizer(tokenizer, self.work, max_length=config.source_length)

    def _write_config(self, options: Mapping[str, Any], config: R2C2Config) -> None:
        config.architectures = [R2C2ForConditionalGeneration.__name__]
        config.save_pretrained(self.work)
        prefix = list(config.decoder_prefix)
        GenerationConfig(
            decoder_start_token_id=prefix[0],
            forced_bos_token_id=prefix[1] if len(prefix) > 1 else None,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            suppress_tokens=list(config.suppressed) or None,
            max_length=int(options.get("label_truncate") or 128),
        ).save_pretrained(self.work)

    def _write_card(
        self,
        options: Mapping[str, Any],
        config: R2C2Config,
        plan: list[shards.Shard],
        hashes: Mapping[str, str],
    ) -> None:
        width = shards.DTYPES[self.dtype].itemsize
        text = CARD.format(
            **{**config.to_dict(), "dtype": self.dtype},
            name=self.name,
            agent=options.get("model") or "unknown agent",
            parameters=sum(shard.size for shard in plan) // width,
            hashes="\n".join(f"- `{name}`: {digest}" for name, digest in hashes.items()),
        )
        (self.work / "README.md").write_text(text, encoding="utf-8")


class _Reader:
    """Tensors by Transformers names. A mapped file is opened anew now and then, so that the pages
    read so far are let go; another is read once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mapped = can_map(path)
        self._tensors: dict[str, tuple[str, Tensor]] = {}
        self._read = 0

    def __call__(self, name: str) -> Tensor:
        if not self._tensors or (self._mapped and self._read > MAPPED_BYTES):
            self._tensors = map_names(read_tensors(self._path))
            self._read = 0
        tensor = self._tensors[name][1]
        self._read += tensor.nbytes
        return tensor


def map_names(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, Tensor]]:
    """Transformers name to ParlAI name and tensor, in a fixed order.

    Raises:
        AssetError: a tensor that has no place in the network, or does not hold fractions.
    """
    named: dict[str, tuple[str, Tensor]] = {}
    unknown: list[str] = []
    for name, tensor in tensors.items():
        if keys.is_not_needed(name):
            continue
        known = keys.translate(name)
        if known is None and not keys.is_copy(name):
            unknown.append(name)
        elif tensor.dtype not in NUMBERS or tensor.layout != torch.strided or tensor.is_meta:
            kind = "no numbers" if tensor.is_meta else f"{tensor.dtype} ({tensor.layout})"
            raise AssetError(f"The tensor {name} holds {kind}, not plain floating-point numbers.")
        elif known is not None:
            named[known] = (name, tensor)
    if unknown:
        raise AssetError(
            f"The checkpoint has {len(unknown)} tensors that R2C2 has not: {_listed(unknown)}."
        )
    return dict(sorted(named.items()))


def check_copies(tensors: Mapping[str, Tensor]) -> None:
    """Raises AssetError when the encoder's or decoder's embeddings are not the shared ones."""
    shared = next((each for name, each in tensors.items() if keys.is_shared(name)), None)
    for name, tensor in tensors.items():
        if shared is None or not keys.is_copy(name):
            continue
        if tensor.data_ptr() != shared.data_ptr() and not torch.equal(tensor, shared):
            raise AssetError(
                f"The tensor {name} differs from embeddings.weight.",
                remedy="R2C2 and BlenderBot models share one embedding.",
            )


def check_shapes(
    parlai_names: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], config: R2C2Config
) -> None:
    """Compare the tensors with those of the network. Raises AssetError naming the first that
    are missing, extra or of another shape.
    """
    with torch.device("meta"):
        network = R2C2ForConditionalGeneration(config)
    wanted = {name: tuple(each.shape) for name, each in network.named_parameters()}
    if missing := sorted(wanted.keys() - shapes.keys()):
        raise AssetError(f"The checkpoint lacks {len(missing)} tensors: {_listed(missing)}.")
    if extra := sorted(shapes.keys() - wanted.keys()):
        extra = [parlai_names[name] for name in extra]
        raise AssetError(f"The checkpoint has {len(extra)} tensors too many: {_listed(extra)}.")
    for name, shape in wanted.items():
        if shapes[name] != shape:
            raise AssetError(
                f"The tensor {parlai_names[name]} has shape {shapes[name]}, not {shape}."
            )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _names() -> str:
    return ", ".join(shards.DTYPES)
