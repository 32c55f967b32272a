from __future__ import annotations

from pathlib import Path

import pytest

from bb3.assets.registry import PackageIndexSource, PathSource, load_registry, parse_registry
from bb3.core.errors import UsageError

GOOD = """
[mine]
kind = "llm"
filename = "m.gguf"
licence = "MIT"
sources = [{ type = "path", path = "models/m.gguf" }]
"""


def test_built_in_assets_are_complete():
    registry = load_registry()
    assert {
        "smollm2-135m",
        "minilm-l6-v2-onnx",
        "minilm-l6-v2-tokenizer",
        "wikipedia-vital-en",
        "bb3-3b",
    } <= set(registry)
    for asset in registry.values():
        assert asset.title
        assert asset.notice
        if any(isinstance(s, PackageIndexSource) for s in asset.sources):
            assert asset.sha256, asset.name
            assert asset.size, asset.name


def test_corpus_carries_its_attribution():
    corpus = load_registry().find("wikipedia-vital-en")
    assert corpus.licence == "CC-BY-SA-4.0"
    assert "Wikipedia contributors" in corpus.notice


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"'smolm'.*smollm2-135m"):
        load_registry().find("smolm")


def test_users_file_adds_and_replaces(tmp_path: Path):
    path = tmp_path / "assets.toml"
    path.write_text(GOOD + GOOD.replace("[mine]", "[smollm2-135m]"))
    registry = load_registry(path)
    assert registry["mine"].sources == (PathSource(path=tmp_path / "models/m.gguf"),)
    assert registry["smollm2-135m"].filename == "m.gguf"
    assert "bb3-3b" in registry


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "llm"', 'kind = "model"', "kind"),
        ('licence = "MIT"', "", "licence"),
        ('"m.gguf"', '"../m.gguf"', "filename"),
        ('"m.gguf"', '".ssh"', "filename"),
        ('"m.gguf"', '"a/b"', "filename"),
        ("[mine]", '["../mine"]', "name"),
        ('type = "path"', 'type = "ftp"', "sources"),
        ('path = "models/m.gguf"', 'file = "x"', "path"),
        ("sources = [{ ", "sources = []\nx = [{ ", "sources"),
        ('kind = "llm"', 'kind = "llm"\nsha256 = "abc"', "sha256"),
        ('kind = "llm"', 'kind = "llm"\nsize = 0', "size"),
        ('kind = "llm"', 'kind = "llm"\ncolour = "red"', "colour"),
        ("[mine]", "mine = 3\n[other]", "not a table"),
        ("[mine]", "[mine", "not valid TOML"),
    ],
)
def test_mistakes_are_named(old: str, new: str, said: str):
    with pytest.raises(UsageError, match=said) as caught:
        parse_registry(GOOD.replace(old, new, 1), where="assets.toml")
    assert "assets.toml" in str(caught.value)


def test_unreadable_list(tmp_path: Path):
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        load_registry(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(UsageError, match="UTF-8"):
        load_registry(tmp_path / "latin.toml")
