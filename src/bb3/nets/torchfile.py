"""Reading the tensors of a torch file without running what a pickle may contain."""

from __future__ import annotations

import codecs
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bb3.core.errors import AssetError

CODE = re.compile(r"(?:GLOBAL|Unsupported class|unrecognized function) (\S+)")
ZIP = b"PK"
PICKLE = b"\x80\x02"  # protocol 2, what torch.save writes

# Training leaves numpy numbers (a best loss, a learning rate) beside the tensors. These make
# nothing but numbers; newer and older numpy name the first differently.
MAKE_SCALAR: Any = np.float64(0).__reduce__()[0]
NUMBERS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (MAKE_SCALAR, "numpy.core.multiarray.scalar"),
    (MAKE_SCALAR, "numpy._core.multiarray.scalar"),
    codecs.encode,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "b1")),
]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a ParlAI ``model`` file, or of a plain state dict.

    Files that can be mapped are, so that only what is looked at is read; older ones are read as
    a whole.

    Raises:
        AssetError: not a torch file, damaged, holding code, or holding no tensors.
    """
    head = _head(path)
    if head not in (ZIP, PICKLE):
        raise AssetError(f"{path} is not a torch checkpoint: it begins with {head!r}.")
    try:
        with torch.serialization.safe_globals(NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=head == ZIP)
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except Exception as error:  # the reader trusts its input and trips over anything
        raise AssetError(
            f"The checkpoint {path} is damaged or cut short ({type(error).__name__}).",
            remedy="Fetch it again and compare its size.",
        ) from error
    return _state(path, content)


def can_map(path: Path) -> bool:
    """Whether a file is in torch's present format. Raises AssetError when it cannot be read."""
    return _head(path) == ZIP


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(2)
    except OSError as error:
        raise AssetError(f"Cannot read {path}: {error.strerror}.") from error


def _state(path: Path, content: Any) -> dict[str, Tensor]:
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise AssetError(f"{path} holds no model but {type(content).__name__}.")
    tensors = {str(name): each for name, each in state.items() if isinstance(each, Tensor)}
    if not tensors:
        raise AssetError(f"{path} holds no tensors.")
    return tensors


def _refusal(path: Path, reason: str) -> AssetError:
    if found := CODE.search(reason):
        return AssetError(
            f"The checkpoint {path} holds code ({found[1]}) and is not opened.",
            remedy="Use the released file; bb3 never runs what a checkpoint brings along.",
        )
    return AssetError(
        f"The checkpoint {path} is damaged or cut short.",
        remedy="Fetch it again and compare its size.",
    )
