"""ParlAI checkpoints (BlenderBot 3 3B, R2C2, SeeKeR, BlenderBot 1 and 2) to a model folder.

``convert`` reads ``model``, ``model.opt`` and ``model.dict``, checks every tensor, and writes what
Transformers and ``bb3 chat --model`` load: sharded safetensors, ``config.json``, the tokenizer and
a model card. It works in a hidden folder beside the target and renames it at the end, so that
there is never half a model; a run that was stopped goes on from its finished shards.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from bb3.checkpoints import keys, shards, source
from bb3.checkpoints.options import make_config, read_options
from bb3.checkpoints.tensors import read_tensors
from bb3.core.errors import AssetError
from bb3.core.ports import Progress
from bb3.nets.r2c2 import R2C2Config, R2C2ForConditionalGeneration
from bb3.nets.tokenizer import build_tokenizer, read_dictionary, read_merges, save_tokenizer

SHARD_BYTES = 2_000_000_000
MAPPED_BYTES = 200_000_000
UNPACKED = "unpacked"
TIED = frozenset(
    {
        "lm_head.weight",
        "final_logits_bias",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
    }
)
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
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise AssetError(f"{out} exists already.", remedy="Name another folder, or remove it.")
    work = out.parent / f".{out.name}.partial"
    try:
        work.mkdir(parents=True, exist_ok=True)
        place = source.unpack(path, work / UNPACKED) if source.is_archive(path) else path
        files = source.find_files(place)
        _Conversion(files, work, dtype, shard_bytes, progress).run()
        shutil.rmtree(work / UNPACKED, ignore_errors=True)
        if out.is_dir():
            out.rmdir()
        work.replace(out)
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


class _Conversion:
    """One run: what ``convert`` was asked for, and the folder it works in."""

    def __init__(
        self,
        files: source.Files,
        work: Path,
        dtype: str,
        shard_bytes: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._files = files
        self._work = work
        self._dtype = dtype
        self._shard_bytes = shard_bytes
        self._report = progress

    def run(self) -> None:
        options = read_options(self._files.opt)
        tensors = read_tensors(self._files.model)
        check_copies(tensors)
        names = map_names(tensors)
        shapes = {name: tuple(tensor.shape) for name, (_, tensor) in names.items()}
        config = make_config(options, shapes)
        config.dtype = shards.DTYPES[self._dtype]
        check_shapes({name: parlai for name, (parlai, _) in names.items()}, shapes, config)
        self._write_tokenizer(options, config)
        del tensors, names  # unmaps the file
        plan = shards.plan(shapes, self._dtype, self._shard_bytes)
        hashes = self._write_shards(plan)
        shards.write_index(plan, self._work)
        self._write_config(options, config)
        self._write_card(options, config, plan, hashes)
        (self._work / shards.STATE).unlink()

    def _write_shards(self, plan: list[shards.Shard]) -> dict[str, str]:
        status = self._files.model.stat()
        key = {
            "size": status.st_size,
            "modified": status.st_mtime_ns,
            "dtype": self._dtype,
            "shard_bytes": self._shard_bytes,
        }
        finished = shards.Finished(self._work, key)
        total = sum(shard.size for shard in plan)
        progress = Progress("converting", total=total, report=self._report)
        missing = [shard for shard in plan if not finished.holds(shard)]
        source.require_space(self._work, sum(shard.size for shard in missing), "write the model")
        fetch = _Reader(self._files.model)
        for shard in plan:
            if shard not in missing:
                progress.advance(shard.size)
                continue
            digest = shards.write_shard(shard, fetch, self._work, progress.advance)
            finished.add(shard, digest)
        return finished.hashes

    def _write_tokenizer(self, options: Mapping[str, Any], config: R2C2Config) -> None:
        pieces = read_dictionary(self._files.dictionary)
        if len(pieces) != config.vocab_size:
            raise AssetError(
                f"The dictionary {self._files.dictionary} has {len(pieces)} tokens,"
                f" the model {config.vocab_size}.",
                remedy="model.dict is of another checkpoint.",
            )
        merges = read_merges(self._files.merges) if self._files.merges else None
        if merges is None and options.get("dict_tokenizer") != "gpt2":
            raise AssetError(
                f"The BPE merges of {self._files.model} are missing.",
                remedy="Put model.dict-merges.txt beside it.",
            )
        prefix_space = bool(options.get("bpe_add_prefix_space"))
        tokenizer = build_tokenizer(pieces, merges, prefix_space=prefix_space)
        save_tokenizer(tokenizer, self._work, max_length=config.source_length)

    def _write_config(self, options: Mapping[str, Any], config: R2C2Config) -> None:
        config.architectures = [R2C2ForConditionalGeneration.__name__]
        config.save_pretrained(self._work)
        prefix = list(config.decoder_prefix)
        GenerationConfig(
            decoder_start_token_id=prefix[0],
            forced_bos_token_id=prefix[1] if len(prefix) > 1 else None,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            suppress_tokens=list(config.suppressed) or None,
            max_length=int(options.get("label_truncate") or 128),
        ).save_pretrained(self._work)

    def _write_card(
        self,
        options: Mapping[str, Any],
        config: R2C2Config,
        plan: list[shards.Shard],
        hashes: Mapping[str, str],
    ) -> None:
        width = shards.DTYPES[self._dtype].itemsize
        text = CARD.format(
            **{**config.to_dict(), "dtype": self._dtype},
            name=self._work.name.removeprefix(".").removesuffix(".partial"),
            agent=options.get("model") or "unknown agent",
            parameters=sum(shard.size for shard in plan) // width,
            hashes="\n".join(f"- `{name}`: {digest}" for name, digest in hashes.items()),
        )
        (self._work / "README.md").write_text(text, encoding="utf-8")


class _Reader:
    """Tensors by Transformers names, out of a mapped file that is opened anew now and then, so
    that the pages read so far are let go.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tensors: dict[str, tuple[str, Tensor]] = {}
        self._read = 0

    def __call__(self, name: str) -> Tensor:
        if not self._tensors or self._read > MAPPED_BYTES:
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
        if keys.is_copy(name) or keys.is_not_needed(name):
            continue
        known = keys.translate(name)
        if known is None:
            unknown.append(name)
        elif not tensor.is_floating_point():
            raise AssetError(f"The tensor {name} holds {tensor.dtype}, not floating-point numbers.")
        else:
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
        network = R2C2ForConditionalGeneration(config).state_dict()
    wanted = {name: tuple(each.shape) for name, each in network.items() if name not in TIED}
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
