from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bb3.nets.layout import SourceLayout
from bb3.nets.r2c2 import R2C2Config
from bb3.nets.tokenizer import SPECIAL_TOKENS, TextCodec, build_tokenizer, byte_alphabet


@pytest.fixture(scope="module")
def codec() -> TextCodec:
    """One token a byte: id of a character is its code plus 4 ... in the alphabet's order."""
    return TextCodec(build_tokenizer([*SPECIAL_TOKENS, *byte_alphabet()], []))


def layout(codec: TextCodec, **changes: Any) -> SourceLayout:
    sizes: dict[str, Any] = {"source_length": 20, "document_room": 6, "document_limit": 2}
    return SourceLayout(codec, R2C2Config(**(sizes | changes)))


def ids(text: str) -> list[int]:
    return [byte + 4 for byte in text.encode()]


def test_a_context_stands_between_start_and_ends(codec: TextCodec) -> None:
    assert layout(codec).rows("ab\nc") == [[1, *ids("ab\nc"), 2, 2]]
    assert layout(codec).rows("") == [[1, 2, 2]]


def test_a_long_context_loses_its_beginning(codec: TextCodec) -> None:
    [row] = layout(codec).rows("0123456789abcdefghijkl")
    assert row == [1, *ids("56789abcdefghijkl"), 2, 2]
    assert len(row) == 20


def test_documents_make_rows_and_blank_ones_none(codec: TextCodec) -> None:
    rows = layout(codec).rows("hi", ("t / d", " / ", "", "u / e", "v / f"))
    assert rows == [
        [1, *ids("t / d // hi"), 2, 2],
        [1, *ids("u / e // hi"), 2, 2],
    ]
    assert layout(codec).rows("hi", (" / ", "")) == [[1, *ids("hi"), 2, 2]]


def test_a_long_document_is_cut_and_a_long_context_leaves_it_room(codec: TextCodec) -> None:
    [row] = layout(codec).rows("hi", ("0123456789abcdefghi",))
    assert row == [1, *ids("0123456789abcde"), *ids("hi"), 2, 2]
    [row] = layout(codec).rows("abcdefghijklmnopqrs", ("0123456789",))
    assert len(row) == 20
    assert row == [1, *ids("012345"), *ids("ijklmnopqrs"), 2, 2]


def test_what_is_blocked_is_uncut(codec: TextCodec) -> None:
    text = "0123456789abcdefghijkl"
    assert layout(codec).blocked(text) == [*ids(text), 2]
    plain = layout(codec, source_prefix=[], source_suffix=[2])
    assert plain.blocked("ab") == [*ids("ab"), 2]
    assert plain.rows("ab") == [[*ids("ab"), 2]]


def test_the_recorded_rows(golden_folder: Path, golden_codec: TextCodec, golden: Any) -> None:
    config = R2C2Config.from_pretrained(golden_folder)
    recorded = SourceLayout(golden_codec, config)
    rows = 0
    for name in ("chat", "all_combined", "all_separate", "never"):
        for call in golden(f"r2c2_{name}")["calls"]:
            if "input_ids" not in call:
                continue
            text = call["observed_full_text"][0]
            context = recorded.context(text)
            assert context == call["input_ids"][0]
            for number, document in enumerate(call.get("fid_inputs", {}).get("docs", [[]])[0]):
                row = recorded.document(f"{document['title']} / {document['text']}", context)
                assert row == call["fid_inputs"]["ids"][number]
                rows += 1
    assert rows > 200
