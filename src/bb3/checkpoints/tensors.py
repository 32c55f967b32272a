"""Reading the tensors of a torch file without running what a pickle may contain."""

from __future__ import annotations

import codecs
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bb3.core.errors import AssetError

ZIP = b"PK"
PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04")

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

    Files in torch's present format are mapped, so that only what is looked at is read; older
    ones are read as a whole.

    Raises:
        AssetError: not a torch file, damaged, holding code, or holding no tensors.
    """
    try:
        with path.open("rb") as file:
            head = file.read(2)
        if head not in (ZIP, *PICKLE):
            raise AssetError(f"{path} is not a torch checkpoint: it begins with {head!r}.")
        with torch.serialization.safe_globals(NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=head == ZIP)
    except OSError as error:
        raise AssetError(f"Cannot read {path}: {error.strerror or error}.") from error
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssetError(
            f"The checkpoint {path} is damaged or cut short ({type(error).__name__}).",
            remedy="Fetch it again and compare its size.",
        ) from error
    return _state(path, content)


def _state(path: Path, content: Any) -> dict[str, Tensor]:
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise AssetError(f"{path} holds no model but {type(content).__name__}.")
    tensors = {str(name): each for name, each in state.items() if isinstance(each, Tensor)}
    if not tensors:
        raise AssetError(f"{path} holds no tensors.")
    return tensors


def _refusal(path: Path, reason: str) -> AssetError:
    if "GLOBAL" in reason or "global" in reason:
        names = [word for word in reason.split() if "." in word and word.strip("`.,")]
        found = names[0].strip("`.,") if names else "unknown"
        return AssetError(
            f"The checkpoint {path} holds code ({found}) and is not opened.",
            remedy="Use the released file; bb3 never runs what a checkpoint brings along.",
        )
    return AssetError(
        f"The checkpoint {path} is damaged or cut short.",
        remedy="Fetch it again and compare its size.",
    )
