"""From a folder to a network that is ready to run."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoTokenizer

from bb3.core.errors import AssetError, ModelError, UsageError
from bb3.nets.cpu import PackedLinear, faster_packed
from bb3.nets.int8 import Int8Linear
from bb3.nets.layout import SourceLayout
from bb3.nets.r2c2 import R2C2Config, R2C2ForConditionalGeneration
from bb3.nets.tokenizer import TextCodec
from bb3.nets.torchfile import read_tensors

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.bfloat16,  # weights in 8 bits, all else in this
}
TRIM_BYTES = 200_000_000
SPARE_BYTES = 500_000_000  # for what is computed, beside the weights
COMFORTABLE = 0.6  # share of the free memory that the full precision may take unasked
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_BIAS = "final_logits_bias"
_COPIES = frozenset(
    {
        "lm_head.weight",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
    }
)


@dataclass(frozen=True, slots=True)
class Network:
    """A model with its tokenizer and the layout of its inputs."""

    name: str
    model: R2C2ForConditionalGeneration
    codec: TextCodec
    layout: SourceLayout


def open_network(path: Path, *, dtype: str = "auto", device: str = "auto") -> Network:
    """Load a converted checkpoint or a Blenderbot folder of the Transformers hub.

    Args:
        dtype: ``float32``, ``bfloat16``, ``float16``, ``int8`` (weights only), or ``auto``: float16
            on a GPU; on a CPU float32 where it fits easily, else bfloat16.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` ..., or ``auto``: the best there is.

    Raises:
        UsageError: no such number format or device.
        AssetError: the folder is no such model, or is damaged.
        ModelError: there is too little memory.
    """
    place = _device(device)
    config = _read_config(path)
    if not _weight_files(path):
        raise AssetError(
            f"The folder {path} holds no weights (no .safetensors file).",
            remedy="Convert a ParlAI checkpoint with `bb3 convert parlai`.",
        )
    count = sum(weights.numel() for weights in _outline(path, config).parameters())
    chosen = _choose(dtype, place, count)
    _require_memory(path.name, count * _width(chosen), place)
    codec = _codec(path)
    if codec.size > config.vocab_size:
        raise AssetError(
            f"The tokenizer of {path} has {codec.size} tokens, the model {config.vocab_size}.",
            remedy="tokenizer.json is of another model.",
        )
    model = _load(path, config, chosen, place)
    return Network(path.name, model, codec, SourceLayout(codec, config))


# --- what the folder holds --------------------------------------------------------------------


def _read_config(path: Path) -> R2C2Config:
    """The configuration. Hub Blenderbot models have no start token before the text, one end
    token behind it, and two spaces between turns.
    """
    file = path / "config.json"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise AssetError(f"Cannot read {file}: {error.strerror}.") from error
    except ValueError as error:
        raise AssetError(f"{file} is not JSON: {error}.") from error
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind not in ("r2c2", "blenderbot"):
        raise AssetError(
            f"{path} holds a model of the type {kind!r}, not r2c2 or blenderbot.",
            remedy="Serve other models with vLLM or llama.cpp and name them openai:URL#name.",
        )
    if kind == "blenderbot":
        values |= {
            "model_type": "r2c2",
            "source_prefix": [],
            "source_suffix": [values.get("eos_token_id", 2)],
            "decoder_prefix": [values.get("decoder_start_token_id", 1)],
            "source_length": values.get("max_position_embeddings", 128),
            "delimiter": "  ",
        }
    try:
        config: R2C2Config = R2C2Config.from_dict(values)
    except Exception as error:  # the library raises classes of its own for wrong values
        raise AssetError(f"{file} is damaged: {_first_line(error)}.") from error
    return config


def _outline(path: Path, config: R2C2Config) -> R2C2ForConditionalGeneration:
    """The network without weights."""
    try:
        with torch.device("meta"):
            return R2C2ForConditionalGeneration(config)
    except (TypeError, ValueError, KeyError, RuntimeError, ArithmeticError) as error:
        raise AssetError(
            f"{path / 'config.json'} describes no network: {_first_line(error)}."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _codec(path: Path) -> TextCodec:
    if (path / "tokenizer.json").is_file():
        return TextCodec.load(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        return TextCodec(tokenizer.backend_tokenizer)
    except (OSError, ValueError, AttributeError) as error:
        raise AssetError(f"The folder {path} holds no tokenizer: {_first_line(error)}.") from error


# --- where and how ------------------------------------------------------------------------------


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        place = torch.device(name)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"The device {name!r} cannot be used: {_first_line(error)}.") from error
    return place


def _choose(dtype: str, device: torch.device, count: int) -> str:
    if dtype in DTYPES:
        return dtype
    if dtype != "auto":
        raise UsageError(f"Unknown number format {dtype!r}.", remedy=f"One of {', '.join(DTYPES)}.")
    if device.type != "cpu":
        return "float16"
    easy = count * _width("float32") < COMFORTABLE * _free_bytes(device)
    return "float32" if easy else "bfloat16"


def _width(dtype: str) -> int:
    return 1 if dtype == "int8" else DTYPES[dtype].itemsize


def _require_memory(name: str, size: int, device: torch.device) -> None:
    free = _free_bytes(device)
    if size + SPARE_BYTES > free:
        raise ModelError(
            f"{name} needs about {(size + SPARE_BYTES) / 1e9:.1f} GB of memory, "
            f"{free / 1e9:.1f} GB are free on {device}.",
            remedy="Close other programs, or set engine.dtype to bfloat16 or int8.",
        )


def _free_bytes(device: torch.device) -> int:
    """Memory that can be had."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = _numbers(Path("/proc/meminfo")).get("MemAvailable:")
    if free is None:  # no Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([free * 1024, *_cgroup_bytes()])


def _cgroup_bytes() -> Iterator[int]:
    """What is left of each memory limit that this process is under, by a container or a service
    manager. Files in the page cache do not count as used: they give way.
    """
    for line in _text(_OWN_CGROUPS).splitlines():
        _, kinds, name = line.split(":", 2)
        root, limit, used = _CGROUPS, "memory.max", "anon"
        if "memory" in kinds.split(","):  # version 1
            root, limit, used = _CGROUPS / "memory", "memory.limit_in_bytes", "total_rss"
        elif kinds:
            continue
        group = root / name.strip("/")
        # A container sees its group as the root, though the name may tell the host's path.
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            if (most := _text(folder / limit).strip()).isdigit():
                yield max(0, int(most) - _numbers(folder / "memory.stat").get(used, 0))


def _numbers(path: Path) -> dict[str, int]:
    """The lines ``name number`` of a file of the kernel; empty where there is none."""
    words = [line.split() for line in _text(path).splitlines()]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


# --- weights ----------------------------------------------------------------------------------


def _load(
    path: Path, config: R2C2Config, dtype: str, device: torch.device
) -> R2C2ForConditionalGeneration:
    """One tensor after another to its place and into its form: changing the form of all at the end
    would take twice the memory.
    """
    model = _outline(path, config)
    shapes = {name: weights.shape for name, weights in model.named_parameters()}
    missing = set(shapes)
    shapes[_BIAS] = model.final_logits_bias.shape  # not everywhere: then it is zero
    bias = torch.zeros(shapes[_BIAS])
    read = 0
    for name, tensor in _tensors(path):
        if name not in shapes:
            if name not in _COPIES:
                raise AssetError(f"{path} has a tensor too many: {name}.")
            continue
        if tensor.shape != shapes[name]:
            raise AssetError(
                f"The tensor {name} of {path} has shape {tuple(tensor.shape)}, "
                f"not {tuple(shapes[name])}."
            )
        missing.discard(name)
        read += tensor.nbytes
        if read > TRIM_BYTES:
            read = 0
            _give_back()
        tensor = tensor.to(device=device, dtype=DTYPES[dtype], copy=True)
        if name == _BIAS:
            bias = tensor
        else:
            _put(model, name, tensor, dtype)
    if missing:
        raise AssetError(f"{path} lacks {len(missing)} tensors: {', '.join(sorted(missing)[:5])}.")
    shared = model.model.shared.weight
    model.model.encoder.embed_tokens.weight = shared
    model.model.decoder.embed_tokens.weight = shared
    model.lm_head.weight = shared
    model.lm_head = _formed(model.lm_head, dtype)
    model.register_buffer(_BIAS, bias.to(device=device, dtype=DTYPES[dtype]))
    model.eval()
    _give_back()
    return model


def _give_back() -> None:
    """Return freed memory to the system: glibc keeps the pieces that tensors on their way leave
    behind, for a 3B model some 5 GB of them.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _put(model: nn.Module, name: str, tensor: torch.Tensor, dtype: str) -> None:
    """Set a parameter. A linear layer that is complete gives way to one of another form."""
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    setattr(module, leaf, nn.Parameter(tensor, requires_grad=False))
    if isinstance(module, nn.Linear) and not any(each.is_meta for each in module.parameters()):
        parent, _, last = owner.rpartition(".")
        setattr(model.get_submodule(parent), last, _formed(module, dtype))


def _formed(linear: nn.Linear, dtype: str) -> nn.Module:
    """The layer with 8-bit weights, or laid out for this CPU, or as it is."""
    if dtype == "int8":
        bias = None if linear.bias is None else linear.bias.detach()
        return Int8Linear(linear.weight.detach(), bias)
    if faster_packed(linear.weight.device, linear.weight.dtype):
        return PackedLinear(linear)
    return linear


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors of a folder: safetensors, else PyTorch's format without any code in it."""
    for file in _weight_files(path):
        if file.suffix == ".bin":
            yield from read_tensors(file).items()
            continue
        try:
            with safe_open(file, framework="pt") as tensors:
                names = list(tensors.keys())
            for name in names:  # opened anew, so that the pages read so far are let go
                with safe_open(file, framework="pt") as tensors:
                    yield name, tensors.get_tensor(name)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise AssetError(f"The file {file} is damaged: {_first_line(error)}.") from error


def _weight_files(path: Path) -> list[Path]:
    return sorted(path.glob("*.safetensors")) or sorted(path.glob("pytorch_model*.bin"))
