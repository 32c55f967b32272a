"""The child process that tries a model file; see test_llamacpp.py for files that crash it."""

from pathlib import Path

import pytest

from bb3.core.errors import ModelError
from bb3.lm.probe import longest_s, probe


def test_the_working_folder_is_no_place_for_code(tmp_path: Path, monkeypatch):
    """`cd some-model && bb3 chat --model m.gguf` runs nothing of what lies beside the model."""
    for name in ("httpx", "bb3", "xllamacpp", "struct"):
        (tmp_path / f"{name}.py").write_text(f"open('ran-{name}', 'w')")
    (tmp_path / "m.gguf").write_bytes(b"no model")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"cannot load m\.gguf"):
        probe(Path("m.gguf"))
    assert list(tmp_path.glob("ran-*")) == []


def test_a_big_file_gets_more_time(tmp_path: Path):
    big = tmp_path / "big.gguf"
    with big.open("wb") as file:
        file.truncate(40_000_000_000)  # takes no room on the disk
    assert longest_s(big) > 40_000_000_000 / 30e6  # as slow as a disk on an old USB port
    small = tmp_path / "small.gguf"
    small.write_bytes(b"GGUF")
    assert 60 < longest_s(small) < 600
