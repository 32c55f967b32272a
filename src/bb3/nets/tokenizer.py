"""ParlAI's dictionary as a fast tokenizer: the same ids, the same text back.

A ParlAI dictionary is a text file, one token a line in the order of the ids: four special
tokens, then the pieces of a byte-level BPE (Radford et al. 2019), then whatever was added to
make the number of rows a multiple of eight. The merges of the BPE stand in another file
(``vocab.bpe``), which a released checkpoint does not contain; since pieces are listed in the
order in which they were merged, the merges follow from the list (``derive_merges``).

Special tokens never match text: a user who types ``__end__`` gets its ordinary pieces, as in
the reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from bb3.core.errors import AssetError

NULL, START, END, UNK = 0, 1, 2, 3
SPECIAL_TOKENS = ("__null__", "__start__", "__end__", "__unk__")
PADDING_ROW = re.compile(r"__FP16_PAD_\d+__")
ESCAPED_BYTE = re.compile(rb"\\x([0-9a-f]{2})")

Merge = tuple[str, str]


def byte_alphabet() -> list[str]:
    """The 256 characters that stand for the bytes 0 to 255 in a byte-level BPE: printable
    bytes for themselves, the others for U+0100 and up, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


def read_dictionary(path: Path) -> list[str]:
    """The pieces of a ParlAI dictionary file in the order of their ids.

    Returns:
        special tokens and added tokens as they are, BPE pieces in the byte-level alphabet.

    Raises:
        AssetError: the file cannot be read, does not begin with the four special tokens, or
            holds a token twice.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise AssetError(f"Cannot read the dictionary {path}: {error.strerror}.") from error
    pieces = [_unescape(line.split(b"\t")[0]) for line in lines if line]
    if tuple(piece.lower() for piece in pieces[:4]) != SPECIAL_TOKENS:
        raise AssetError(
            f"{path} is not a ParlAI dictionary: it begins with {pieces[:4]!r}.",
            remedy=f"Expected {' '.join(SPECIAL_TOKENS)}.",
        )
    pieces[:4] = SPECIAL_TOKENS
    if len(set(pieces)) < len(pieces):
        twice = next(piece for index, piece in enumerate(pieces) if piece in pieces[:index])
        raise AssetError(f"The dictionary {path} holds the token {twice!r} twice.")
    return pieces


def read_merges(path: Path) -> list[Merge]:
    """The merges of a BPE file (``vocab.bpe``, ``merges.txt``), first merge first.

    Raises:
        AssetError: the file cannot be read or a line is not two pieces.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise AssetError(f"Cannot read the BPE merges {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise AssetError(f"The BPE merges {path} are not UTF-8 text.") from error
    merges: list[Merge] = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#version"):
            continue
        match line.split(" "):
            case [left, right] if left and right:
                merges.append((left, right))
            case _:
                raise AssetError(f"Line {number} of {path} is not a merge of two pieces: {line!r}.")
    return merges


def derive_merges(pieces: Iterable[str]) -> list[Merge]:
    """The merges that make ``pieces``, which are listed in the order of merging.

    Each piece is split by the merges before it; the two parts left over are its merge.
    Pieces that do not come to two parts (single bytes, added tokens) have none.
    """
    ranks: dict[Merge, int] = {}
    for piece in pieces:
        parts = _split(piece, ranks)
        if len(parts) == 2:
            ranks[parts[0], parts[1]] = len(ranks)
    return list(ranks)


def build_tokenizer(
    pieces: Sequence[str], merges: Sequence[Merge] | None = None, *, prefix_space: bool = False
) -> Tokenizer:
    """A tokenizer whose ids are the places in ``pieces``.

    Args:
        pieces: as ``read_dictionary`` returns them.
        merges: as ``read_merges`` returns them; None: derived from ``pieces``.
        prefix_space: whether a text is read as if it began with a space (BlenderBot 1 and 2).

    Raises:
        AssetError: the pieces and merges do not belong together.
    """
    ids = {piece: index for index, piece in enumerate(pieces)}
    alphabet = byte_alphabet()
    if missing := [byte for byte, piece in enumerate(alphabet) if piece not in ids]:
        raise AssetError(
            f"The dictionary lacks {len(missing)} of the 256 bytes, the first {missing[0]:#04x}.",
            remedy="It is not the dictionary of a byte-level BPE model (dict_tokenizer gpt2).",
        )
    body = pieces[len(SPECIAL_TOKENS) :]
    if merges is None:
        merges = derive_merges(piece for piece in body if piece not in alphabet)
    for left, right in merges:
        if left not in ids or right not in ids or left + right not in ids:
            raise AssetError(
                f"The BPE merges do not belong to this dictionary: it lacks {left + right!r}.",
                remedy="Use the vocab.bpe the model was trained with.",
            )
    made = {left + right for left, right in merges}
    padding = [piece for piece in body if PADDING_ROW.fullmatch(piece)]
    never_made = {"<|endoftext|>", *padding, *alphabet}
    whole = [piece for piece in body if piece not in made and piece not in never_made]

    model = models.BPE(vocab=ids, merges=list(merges), unk_token=SPECIAL_TOKENS[UNK])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(piece, special=True, normalized=False) for piece in (*SPECIAL_TOKENS, *padding)]
    )
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in whole])
    tokenizer.encode_special_tokens = True
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, *, max_length: int) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``, which
    ``transformers.PreTrainedTokenizerFast.from_pretrained`` and ``load_tokenizer`` read.
    """
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ("pad_token", "bos_token", "eos_token", "unk_token")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
        "padding_side": "right",
        "truncation_side": "left",
        **dict(zip(names, SPECIAL_TOKENS, strict=True)),
    }
    text = json.dumps(config, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


class TextCodec:
    """Text to ids and back, by a tokenizer of ``build_tokenizer``.

    Attributes:
        size: number of ids, without tokens that were only added to the tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.encode_special_tokens = True  # not kept in tokenizer.json
        self._tokenizer = tokenizer
        self.size = tokenizer.get_vocab_size(with_added_tokens=False)

    @classmethod
    def load(cls, folder: Path) -> TextCodec:
        """Read ``tokenizer.json``. Raises AssetError when it is missing or damaged."""
        path = folder / "tokenizer.json"
        try:
            return cls(Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise AssetError(f"Cannot read the tokenizer {path}: {error.strerror}.") from error
        except Exception as error:  # the library raises no narrower class
            raise AssetError(f"The tokenizer {path} is damaged: {error}.") from error

    def encode(self, text: str) -> list[int]:
        """Ids of one piece of text; a lone surrogate is read as ``?``."""
        clean = text.encode("utf-8", "replace").decode("utf-8")
        return list(self._tokenizer.encode(clean, add_special_tokens=False).ids)

    def encode_lines(self, text: str, delimiter: str = "\n") -> list[int]:
        """Ids of a history: every line on its own, joined by the delimiter's ids.

        In one piece, three newlines on end would be two tokens instead of three.
        """
        between = self.encode(delimiter)
        first, *rest = text.split("\n")
        ids = self.encode(first)
        for line in rest:
            ids += between + self.encode(line)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids``, special tokens left out; broken UTF-8 becomes U+FFFD."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


def _unescape(name: bytes) -> str:
    r"""A dictionary name in the byte-level alphabet: ``\xc4\xa0the`` is ``Ġthe``."""
    raw = ESCAPED_BYTE.sub(lambda match: bytes([int(match[1], 16)]), name)
    return raw.decode("utf-8", errors="replace")


def _split(piece: str, ranks: dict[Merge, int]) -> list[str]:
    """``piece`` split by byte-pair merging with the merges known so far."""
    parts = list(piece)
    while len(parts) > 1:
        found = ((ranks.get(pair), pair) for pair in pairwise(parts))
        known = [(rank, pair) for rank, pair in found if rank is not None]
        if not known:
            break
        best = min(known)[1]
        merged: list[str] = []
        for part in parts:
            if merged and (merged[-1], part) == best:
                merged[-1] += part
            else:
                merged.append(part)
        parts = merged
    return parts
