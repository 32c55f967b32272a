from __future__ import annotations

import random
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from bb3.core.errors import AssetError
from bb3.nets.tokenizer import (
    SPECIAL_TOKENS,
    TextCodec,
    build_tokenizer,
    byte_alphabet,
    derive_merges,
    read_dictionary,
    read_merges,
    save_tokenizer,
)

MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("Ġ", "hell"), ("Ġhell", "o"), ("Ċ", "Ċ")]
PIECES = [
    *SPECIAL_TOKENS,
    *byte_alphabet(),
    *(left + right for left, right in MERGES),
    "<|endoftext|>",
    "__whole__",
    "__FP16_PAD_0__",
]
ODD = [
    "",
    " ",
    "\n\n\n",
    "a\u00a0b\u200bc\u2028d",
    "日本語 😀👍🏽 e\u0301",
    "\x00\x07\x1b[0m\x7f",
    "__end__ __null__ <|endoftext|> __FP16_PAD_0__",
    "don’t “quote” — dash…",
    "\r\n\ttab",
    "\U0010ffff\ufeff\ufffe",
    "ا\u0644عربية עברית",
]


@pytest.fixture(scope="module")
def codec() -> TextCodec:
    return TextCodec(build_tokenizer(PIECES, MERGES))


def escaped(piece: str) -> str:
    """A piece as ParlAI's dictionary file writes it."""
    return "".join(
        f"\\{hex(byte).lstrip('0')}" if byte > 127 else chr(byte) for byte in piece.encode()
    )


def write_dictionary(path: Path, pieces: list[str]) -> Path:
    path.write_text("".join(f"{escaped(piece)}\t1\n" for piece in pieces), encoding="utf-8")
    return path


def test_a_dictionary_is_read_in_order(tmp_path: Path) -> None:
    assert read_dictionary(write_dictionary(tmp_path / "model.dict", PIECES)) == PIECES


def test_merges_follow_from_the_order_of_the_pieces() -> None:
    assert derive_merges(left + right for left, right in MERGES) == MERGES


def test_merging(codec: TextCodec) -> None:
    ids = {piece: number for number, piece in enumerate(PIECES)}
    assert codec.encode("hello hello") == [ids["hell"], ids["o"], ids["Ġhello"]]
    assert codec.size == len(PIECES)


@pytest.mark.parametrize("text", ODD)
def test_odd_text_comes_back(codec: TextCodec, text: str) -> None:
    ids = codec.encode(text)
    assert codec.decode(ids) == text
    assert min(ids, default=4) >= 4  # never a special token, whatever the text says
    assert max(ids, default=0) < PIECES.index("<|endoftext|>")
    assert codec.decode(codec.encode_lines(text)) == text


def test_random_unicode_comes_back(codec: TextCodec) -> None:
    dice = random.Random(0)
    for _ in range(300):
        points = (dice.choice((0x7F, 0x7FF, 0xD7FF, 0x10FFFF)) for _ in range(20))
        text = "".join(chr(dice.randrange(top)) for top in points)
        text = text.encode("utf-8", "ignore").decode()
        assert codec.decode(codec.encode(text)) == text


def test_lone_surrogates_do_not_end_in_an_exception(codec: TextCodec) -> None:
    assert codec.decode(codec.encode("a\ud800b")) == "a?b"


def test_special_tokens_and_broken_utf8_in_ids(codec: TextCodec) -> None:
    [high, *_] = codec.encode("é")
    assert codec.decode([1, *codec.encode("hi"), 2, 0, PIECES.index("__FP16_PAD_0__")]) == "hi"
    assert codec.decode([high]) == "\ufffd"


def test_added_tokens_are_taken_whole(codec: TextCodec) -> None:
    assert codec.encode("a__whole__") == [*codec.encode("a"), PIECES.index("__whole__")]
    assert codec.decode(codec.encode("a__whole__b")) == "a__whole__b"


def test_lines_are_tokenised_one_by_one(codec: TextCodec) -> None:
    newline, two = PIECES.index("Ċ"), PIECES.index("ĊĊ")
    assert codec.encode("\n\n\n") == [two, newline]
    assert codec.encode_lines("\n\n\n") == [newline] * 3
    assert codec.encode_lines("a\nb", "  ") == [*codec.encode("a  "), *codec.encode("b")]


def test_saved_for_transformers_and_for_us(codec: TextCodec, tmp_path: Path) -> None:
    save_tokenizer(build_tokenizer(PIECES, MERGES), tmp_path, max_length=9)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    again = TextCodec.load(tmp_path)
    for text in ODD:
        assert loaded(text)["input_ids"] == again.encode(text) == codec.encode(text)
        assert loaded.decode(codec.encode(text), skip_special_tokens=True) == text
    assert (loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id) == (0, 1, 2)
    assert loaded.model_max_length == 9


def test_a_space_before_every_text_where_the_model_wants_it() -> None:
    spaced = TextCodec(build_tokenizer(PIECES, MERGES, prefix_space=True))
    assert spaced.encode("hello") == [PIECES.index("Ġhello")]


def test_wrong_dictionaries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="Cannot read the dictionary"):
        read_dictionary(tmp_path / "absent")
    with pytest.raises(AssetError, match="not a ParlAI dictionary"):
        read_dictionary(write_dictionary(tmp_path / "a", PIECES[1:]))
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(AssetError, match="not a ParlAI dictionary"):
        read_dictionary(tmp_path / "binary")
    with pytest.raises(AssetError, match="'hell' twice"):
        read_dictionary(write_dictionary(tmp_path / "b", [*PIECES, "hell"]))
    with pytest.raises(AssetError, match="lacks 1 of the 256 bytes"):
        build_tokenizer([piece for piece in PIECES if piece != "Q"], MERGES)
    with pytest.raises(AssetError, match="do not belong to this dictionary: it lacks 'Qu'"):
        build_tokenizer(PIECES, [*MERGES, ("Q", "u")])


def test_wrong_merges_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "vocab.bpe"
    file.write_text("#version: 0.2\nh e\nl l\n", encoding="utf-8")
    assert read_merges(file) == [("h", "e"), ("l", "l")]
    file.write_text("h e\nlll\n", encoding="utf-8")
    with pytest.raises(AssetError, match="Line 2"):
        read_merges(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(AssetError, match="UTF-8"):
        read_merges(file)
    with pytest.raises(AssetError, match="Cannot read"):
        read_merges(tmp_path / "absent")


def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="Cannot read the tokenizer"):
        TextCodec.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE"', encoding="utf-8")
    with pytest.raises(AssetError, match="damaged"):
        TextCodec.load(tmp_path)


# --- against the recorded reference -----------------------------------------------------------


def test_recorded_strings(golden_codec: TextCodec, golden: Any) -> None:
    recorded = golden("tokenizer")["small"]
    assert golden_codec.size == recorded["size"]
    for case in recorded["cases"]:
        assert golden_codec.encode(case["text"]) == case["ids"]
        assert golden_codec.decode(case["ids"]) == case["back"]


def test_recorded_merges_are_those_derived(shared: Path) -> None:
    folder = shared / "golden" / "r2c2"
    pieces = read_dictionary(folder / "tiny" / "model.dict")
    known = {*byte_alphabet(), *SPECIAL_TOKENS}
    derived = derive_merges(piece for piece in pieces if piece not in known)
    assert derived == read_merges(folder / "gpt2_small" / "vocab.bpe")


def test_ten_thousand_real_lines_come_back(golden_codec: TextCodec, shared: Path) -> None:
    lines: list[str] = []
    for path in sorted((shared / "data").rglob("*")):
        if path.suffix in (".txt", ".csv", ".json", ".jsonl", ".tsv"):
            with path.open(encoding="utf-8", errors="replace") as file:
                lines += [line[:500] for line in islice(file, 0, 4000, 20)]
    assert len(lines) >= 10_000
    for line in random.Random(0).sample(lines, 10_000):
        assert golden_codec.decode(golden_codec.encode(line)) == line
