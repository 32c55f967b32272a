"""GPT-2's whole vocabulary is not here; its beginning is, and what the reference counts with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from bb3.core.errors import AssetError
from bb3.lm.counter import token_counter

VOCABULARY = {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġab": 4, "?": 5}
MERGES = [("a", "b"), ("Ġ", "ab")]


def as_json(folder: Path) -> Path:
    tokenizer = Tokenizer(BPE(VOCABULARY, MERGES, unk_token="?"))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|x|>"])
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_a_tokenizer_of_one_file(tmp_path):
    path = as_json(tmp_path)
    for given in (path, tmp_path):
        count = token_counter(given)
        assert [count(text) for text in ("", "ab", "ab ab", "abba", "ab ab ab ab")] == [
            0,
            1,
            2,
            3,
            4,
        ]
        assert count("<|x|>") == 5
        assert count("a\ud800") == 2


@pytest.mark.parametrize(
    ("vocabulary", "merges"),
    [
        ("vocab.json", "merges.txt"),
        ("gpt2-vocab.json", "gpt2-merges.txt"),
        ("encoder.json", "vocab.bpe"),
    ],
)
def test_a_tokenizer_of_two_files(tmp_path, vocabulary, merges):
    (tmp_path / vocabulary).write_text(json.dumps(VOCABULARY))
    (tmp_path / merges).write_text("#version: 0.2\n" + "\n".join(map(" ".join, MERGES)) + "\n")
    assert token_counter(tmp_path)("ab ab") == 2


def test_counts_as_the_reference_does(shared):
    """With the first 4,000 merges of GPT-2."""
    golden = shared / "golden" / "r2c2"
    count = token_counter(golden / "gpt2_small")
    cases = json.loads((golden / "tokenizer.json").read_text())["small"]["cases"]
    assert len(cases) > 20
    for case in cases:
        assert count(case["text"]) == len(case["ids"]), case["text"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (None, "", "cannot be read: No such file"),
        ("tokenizer.json", "", "is damaged"),
        ("tokenizer.json", "{}", "is damaged"),
        ("tokenizer.json", "[1]", "is damaged"),
        ("vocab.json", "{}", "cannot be read: No such file"),  # without its merges
    ],
)
def test_what_is_no_tokenizer(tmp_path, name, content, said):
    if name:
        (tmp_path / name).write_text(content)
    with pytest.raises(AssetError, match=said) as caught:
        token_counter(tmp_path)
    assert "merges.txt" in caught.value.remedy


@pytest.mark.parametrize(("vocabulary", "merges"), [("[]", "a b"), ("{", "a b"), ("{}", "a b")])
def test_damaged_pairs(tmp_path, vocabulary, merges):
    (tmp_path / "vocab.json").write_text(vocabulary)
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(AssetError, match="is damaged"):
        token_counter(tmp_path)
