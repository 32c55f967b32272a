"""Counting tokens here, for servers that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from bb3.core.errors import AssetError

_NAMES = (
    ("vocab.json", "merges.txt"),
    ("gpt2-vocab.json", "gpt2-merges.txt"),
    ("encoder.json", "vocab.bpe"),
)
"""What the two files of GPT-2's byte-level BPE are called, by who gives them away."""
_REMEDY = "Name a tokenizer.json, or a folder with one, or with GPT-2's vocab.json and merges.txt."


def token_counter(path: Path) -> Callable[[str], int]:
    """Counts the tokens of a text as a tokenizer on disk has them, none added around it.

    Args:
        path: a ``tokenizer.json``; or a folder with one, or with the two files of GPT-2's BPE.

    Raises:
        AssetError: there is none, or it is damaged.
    """
    try:
        tokenizer = _open(path)
    except OSError as error:
        raise AssetError(
            f"The tokenizer {path} cannot be read: {error.strerror}.", remedy=_REMEDY
        ) from error
    except Exception as error:  # the library raises no narrower one
        raise AssetError(f"The tokenizer {path} is damaged: {error}.", remedy=_REMEDY) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a text never is one, whatever it says

    def count(text: str) -> int:
        readable = text.encode("utf-8", "replace").decode()
        return len(tokenizer.encode(readable, add_special_tokens=False).ids)

    return count


def _open(path: Path) -> Tokenizer:
    if not path.is_dir():
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    for names in _NAMES:
        vocabulary, merges = (path / name for name in names)
        if vocabulary.is_file() and merges.is_file():
            tokenizer = Tokenizer(BPE.from_file(str(vocabulary), str(merges)))
            tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
            return tokenizer
    return Tokenizer.from_str((path / "tokenizer.json").read_text(encoding="utf-8"))
