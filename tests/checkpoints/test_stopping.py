"""Runs that were stopped, and what the next one takes over from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from bb3.checkpoints import parlai, shards
from bb3.checkpoints.parlai import convert
from bb3.core.ports import Progress
from tests.checkpoints.conftest import Write, parlai_state
from tests.checkpoints.conversions import leftovers, pack


class Stop(Exception):
    pass


def stop_halfway(progress: Progress) -> None:
    if progress.done > progress.total / 2:
        raise Stop


def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the shards that are written from now on."""
    written: list[str] = []
    write = shards.write_shard

    def note(shard: shards.Shard, *rest: Any) -> str:
        written.append(shard.name)
        return write(shard, *rest)

    monkeypatch.setattr(parlai.shards, "write_shard", note)
    return written


def test_a_stopped_run_goes_on_from_its_finished_shards(
    write_checkpoint: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = write_checkpoint(), tmp_path / "out"
    whole = convert(folder, tmp_path / "whole", shard_bytes=700)
    with pytest.raises(Stop):
        convert(folder, out, stop_halfway, shard_bytes=700)
    assert not out.exists()
    partial = tmp_path / ".out.partial"
    finished = sorted(path.name for path in partial.glob("*.safetensors"))
    assert 1 < len(finished) < len(list(whole.glob("*.safetensors")))
    damaged = partial / finished[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x7f")

    written = noted(monkeypatch)
    convert(folder, out, shard_bytes=700)
    assert finished[0] in written  # it was damaged since
    assert not set(finished[1:]) & set(written)
    for file in whole.iterdir():
        if file.name != "README.md":
            assert file.read_bytes() == (out / file.name).read_bytes(), file.name
    assert leftovers(tmp_path) == []


def test_shards_of_another_conversion_are_not_taken_over(
    write_checkpoint: Write, tmp_path: Path
) -> None:
    folder, out = write_checkpoint(), tmp_path / "out"
    with pytest.raises(Stop):
        convert(folder, out, stop_halfway, shard_bytes=3000, dtype="bfloat16")
    convert(folder, out, dtype="float32")
    assert sorted(path.name for path in out.glob("*.safetensors*")) == ["model.safetensors"]
    assert AutoModelForSeq2SeqLM.from_pretrained(out).dtype == torch.float32


def test_another_archive_is_not_taken_for_the_first(
    write_checkpoint: Write, tmp_path: Path
) -> None:
    """Same names, same sizes, other numbers."""
    state = parlai_state()
    for name in ("seq2seq_decoder.layers.0.ffn.lin1.weight", "embeddings.weight"):
        state[name] += 1
    folders = [
        write_checkpoint("one", content={"model": parlai_state()}),
        write_checkpoint("other", content={"model": state}),
    ]
    first, second = (pack(each, tmp_path / f"{each.name}.tgz") for each in folders)
    wanted = convert(second, tmp_path / "wanted", shard_bytes=3000)
    with pytest.raises(Stop):
        convert(first, tmp_path / "out", stop_halfway, shard_bytes=3000)
    assert list((tmp_path / ".out.partial").glob("*.safetensors"))
    out = convert(second, tmp_path / "out", shard_bytes=3000)
    for file in wanted.glob("*.safetensors"):
        assert file.read_bytes() == (out / file.name).read_bytes(), file.name
    second.replace(first)  # of the same name, but another
    with pytest.raises(Stop):
        convert(first, tmp_path / "out2", stop_halfway, shard_bytes=3000)
    pack(folders[0], first)
    again = convert(first, tmp_path / "out2")
    assert torch.equal(
        AutoModelForSeq2SeqLM.from_pretrained(again).model.shared.weight.float(),
        parlai_state()["embeddings.weight"].half().float(),
    )


def test_stopped_at_its_very_end_nothing_is_lost(
    write_checkpoint: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(write_checkpoint(), tmp_path / "a.tgz")
    (tmp_path / "out").mkdir()
    for out, place in ((tmp_path / "new", ".new.partial"), (tmp_path / "out", "out/.partial")):
        with monkeypatch.context() as patched:

            def interrupt(folder: Path, **_: Any) -> None:
                if (folder / "model").exists():
                    (folder / "model").unlink()
                    raise KeyboardInterrupt
                folder.rmdir() if folder.exists() else None

            patched.setattr(parlai.shutil, "rmtree", interrupt)
            with pytest.raises(KeyboardInterrupt):
                convert(archive, out)
        assert (tmp_path / place / "model.safetensors").is_file()
        with monkeypatch.context() as patched:
            written = noted(patched)
            convert(archive, out)
        assert written == []
        assert AutoModelForSeq2SeqLM.from_pretrained(out).dtype == torch.float16
        assert leftovers(out) == leftovers(tmp_path) == []
