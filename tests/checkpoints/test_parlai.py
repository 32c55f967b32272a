from __future__ import annotations

import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from bb3.checkpoints import parlai, shards, source
from bb3.checkpoints.parlai import convert
from bb3.core.errors import AssetError
from bb3.core.ports import Progress
from bb3.nets.r2c2 import R2C2Config, R2C2ForConditionalGeneration
from bb3.nets.tokenizer import TextCodec
from tests.checkpoints.conftest import Write, dictionary, parlai_options, parlai_state
from tests.checkpoints.conversions import assert_refused, leftovers, pack

# --- what is made ------------------------------------------------------------------------------


def test_every_number_arrives_under_its_name(write_checkpoint: Write, tmp_path: Path) -> None:
    out = convert(write_checkpoint(), tmp_path / "out", dtype="float32")
    model = AutoModelForSeq2SeqLM.from_pretrained(out)
    assert isinstance(model, R2C2ForConditionalGeneration)
    state, wanted = model.state_dict(), parlai_state()
    encoder, decoder = "model.encoder", "model.decoder"
    theirs_in, theirs_out = "seq2seq_encoder", "seq2seq_decoder"
    names = {
        "model.shared.weight": "embeddings.weight",
        "lm_head.weight": "embeddings.weight",
        f"{decoder}.embed_tokens.weight": "embeddings.weight",
        f"{encoder}.embed_positions.weight": f"{theirs_in}.position_embeddings.weight",
        f"{decoder}.layer_norm.bias": f"{theirs_out}.norm_embeddings.bias",
    }
    for ours, theirs in {
        "1.self_attn.v_proj.weight": "1.attention.v_lin.weight",
        "0.self_attn_layer_norm.bias": "0.norm1.bias",
        "0.final_layer_norm.bias": "0.norm2.bias",
    }.items():
        names[f"{encoder}.layers.{ours}"] = f"{theirs_in}.layers.{theirs}"
    for ours, theirs in {
        "1.self_attn.q_proj.bias": "1.self_attention.q_lin.bias",
        "1.encoder_attn.out_proj.weight": "1.encoder_attention.out_lin.weight",
        "0.encoder_attn_layer_norm.weight": "0.norm2.weight",
        "0.final_layer_norm.weight": "0.norm3.weight",
        "0.fc1.weight": "0.ffn.lin1.weight",
        "0.fc2.bias": "0.ffn.lin2.bias",
    }.items():
        names[f"{decoder}.layers.{ours}"] = f"{theirs_out}.layers.{theirs}"
    for ours, theirs in names.items():
        assert torch.equal(state[ours], wanted[theirs]), ours
    unique = {tensor.data_ptr() for name, tensor in wanted.items() if name != "START"}
    assert sum(1 for _ in model.parameters()) == len(unique)


def test_tokenizer_configuration_and_card(write_checkpoint: Write, tmp_path: Path) -> None:
    out = convert(write_checkpoint(), tmp_path / "out")
    codec = TextCodec.load(out)
    assert codec.decode(codec.encode("in the end\n")) == "in the end\n"
    assert PreTrainedTokenizerFast.from_pretrained(out)("in the")["input_ids"] == [262, 263]
    config = R2C2Config.from_pretrained(out)
    assert (config.d_model, config.encoder_attention_heads, config.vocab_size) == (8, 2, 264)
    assert (config.source_length, config.document_limit) == (32, 5)
    assert list(config.decoder_prefix) == [2, 1]
    assert list(config.source_suffix) == [2, 2]
    assert config.scale_embedding
    card = (out / "README.md").read_text()
    assert "ComboFidGoldDocumentAgent" in card
    assert shards.file_hash(out / "model.safetensors") in card
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation["forced_bos_token_id"] == 1
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(("dtype", "torch_dtype"), shards.DTYPES.items())
def test_shards_load_in_every_format(
    dtype: str, torch_dtype: torch.dtype, write_checkpoint: Write, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []

    def report(progress: Progress) -> None:
        seen.append((progress.done, progress.total))

    out = convert(write_checkpoint(), tmp_path / "out", report, dtype=dtype, shard_bytes=3000)
    files = sorted(out.glob("*.safetensors"))
    assert len(files) > 3
    index = json.loads((out / shards.INDEX).read_text())
    assert set(index["weight_map"].values()) == {file.name for file in files}
    assert seen[-1][0] == seen[-1][1] == index["metadata"]["total_size"]
    model = AutoModelForSeq2SeqLM.from_pretrained(out)
    assert model.dtype == torch_dtype
    wanted = parlai_state()["seq2seq_decoder.layers.1.ffn.lin1.weight"].to(torch_dtype)
    assert torch.equal(model.model.decoder.layers[1].fc1.weight, wanted)


def test_a_bart_checkpoint_without_fid(write_checkpoint: Write, tmp_path: Path) -> None:
    options = parlai_options(model="bart", history_add_global_end_token=None)
    content = {"model": {f"module.{name}": each for name, each in parlai_state("").items()}}
    out = convert(write_checkpoint(content=content, options=options), tmp_path / "out")
    assert list(R2C2Config.from_pretrained(out).source_suffix) == [2]


def test_a_blenderbot_1_checkpoint(write_checkpoint: Write, tmp_path: Path) -> None:
    options = parlai_options(
        model="transformer/generator",
        dict_tokenizer="bytelevelbpe",
        bpe_add_prefix_space=True,
        delimiter="  ",
    )
    folder = write_checkpoint(content={"model": parlai_state("")}, options=options)
    assert_refused(folder, tmp_path / "out", "BPE merges .* missing")
    (folder / "model.dict-merges.txt").write_text("Ġ t\nh e\ni n\nĠt he\n", encoding="utf-8")
    out = convert(folder, tmp_path / "out")
    config = R2C2Config.from_pretrained(out)
    assert list(config.decoder_prefix) == list(config.suppressed) == [1]
    assert list(config.source_prefix) == []
    assert config.delimiter == "  "
    assert TextCodec.load(out).encode("the") == [263]


def test_files_of_older_torch_and_numbers_of_numpy(write_checkpoint: Write, tmp_path: Path) -> None:
    content = {"model": parlai_state(), "best_loss": np.float64(1.5), "lr": np.float32(1e-6)}
    legacy = convert(write_checkpoint("legacy", content=content, legacy=True), tmp_path / "a")
    present = convert(write_checkpoint("present", content=content), tmp_path / "b")
    same = [shards.file_hash(folder / "model.safetensors") for folder in (legacy, present)]
    assert same[0] == same[1]


@pytest.mark.parametrize("legacy", [False, True])
def test_only_a_mapped_file_is_opened_anew(
    legacy: bool, write_checkpoint: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    read = parlai.read_tensors

    def note(path: Path) -> dict[str, torch.Tensor]:
        opened.append(path)
        return read(path)

    monkeypatch.setattr(parlai, "read_tensors", note)
    monkeypatch.setattr(parlai, "MAPPED_BYTES", 1000)
    convert(write_checkpoint(legacy=legacy), tmp_path / "out")
    assert len(opened) == 2 if legacy else len(opened) > 10


def test_the_recorded_checkpoint_has_the_bpe_of_its_folder(shared: Path, tmp_path: Path) -> None:
    out = convert(shared / "golden" / "r2c2" / "tiny" / "model", tmp_path / "out")
    assert R2C2Config.from_pretrained(out).vocab_size == 4264


# --- where it is found -------------------------------------------------------------------------


def test_a_zoo_directory_and_its_bpe(write_checkpoint: Write, tmp_path: Path) -> None:
    write_checkpoint("data/models/bb3/bb3_3B")
    gpt2 = tmp_path / "data" / "gpt2"
    gpt2.mkdir()
    (gpt2 / "vocab.bpe").write_text("#version: 0.2\nQ u\n", encoding="utf-8")
    assert_refused(tmp_path / "data" / "models", tmp_path / "out", "lacks 'Qu'")
    (gpt2 / "vocab.bpe").write_text("#version: 0.2\nh e\n", encoding="utf-8")
    convert(tmp_path / "data" / "models", tmp_path / "out")


@pytest.mark.parametrize("name", ["model.tgz", "bb3.tar.gz", "bb3.zip"])
@pytest.mark.parametrize("inner", ["", "bb3_3B/", "../../escape/", "/absolute/"])
def test_archives(name: str, inner: str, write_checkpoint: Write, tmp_path: Path) -> None:
    archive = pack(write_checkpoint("inner/folder"), tmp_path / name, inner)
    before = set(tmp_path.rglob("*"))
    out = convert(archive, tmp_path / "out")
    made = set(tmp_path.rglob("*")) - before
    assert all(path == out or path.parent == out for path in made)
    assert not Path("/absolute").exists()


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tape:
        link = tarfile.TarInfo("model")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tape.addfile(link)
    assert_refused(tmp_path / "a.tar", tmp_path / "out", "no file named model")


def test_bad_archives(write_checkpoint: Write, tmp_path: Path) -> None:
    folder = write_checkpoint()
    whole = pack(folder, tmp_path / "a.tgz").read_bytes()
    (tmp_path / "b.tgz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04 nothing")
    for name in ("b.tgz", "b.zip"):
        assert_refused(tmp_path / name, tmp_path / "out", "Cannot unpack")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as packed:
        packed.writestr("a/model", "1")
        packed.writestr("b/model", "2")
    assert_refused(tmp_path / "two.zip", tmp_path / "out", "holds model twice")


def test_missing_and_ambiguous_files(write_checkpoint: Write, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_refused(tmp_path / "nowhere", out, "There is no checkpoint at")
    (tmp_path / "empty").mkdir()
    assert_refused(tmp_path / "empty", out, "no file named model")
    folder = write_checkpoint("two/a")
    write_checkpoint("two/b")
    assert_refused(tmp_path / "two", out, "There are 2 checkpoints")
    (folder / "model.dict").unlink()
    assert_refused(folder / "model", out, r"model\.dict not beside it")


# --- what is refused ---------------------------------------------------------------------------


class Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_is_not_run(legacy: bool, write_checkpoint: Write, tmp_path: Path) -> None:
    target = tmp_path / "attacked"
    content = {"model": parlai_state(), "extra": Attack(target)}
    folder = write_checkpoint(content=content, legacy=legacy)
    assert_refused(folder, tmp_path / "out", r"holds code \(\w+\.mkdir\) and is not opened")
    for protocol in (2, 4):
        (folder / "model").write_bytes(pickle.dumps(Attack(target), protocol))
        assert_refused(folder, tmp_path / "out", "holds code|not a torch checkpoint")
    assert not target.exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.4, 0.95, 0.999])
def test_truncated_files(
    legacy: bool, share: float, write_checkpoint: Write, tmp_path: Path
) -> None:
    folder = write_checkpoint(legacy=legacy)
    whole = (folder / "model").read_bytes()
    (folder / "model").write_bytes(whole[: int(len(whole) * share)])
    assert_refused(folder, tmp_path / "out", "damaged or cut short")


def test_files_that_are_something_else(write_checkpoint: Write, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = write_checkpoint()
    for content in (b"", b"<html>Not found</html>"):
        (folder / "model").write_bytes(content)
        assert_refused(folder, out, "not a torch checkpoint")
    for content in (b"\x80\x02.", b"\x80\x02]0.", b"\x80\x02K\x01Q."):
        (folder / "model").write_bytes(content)
        assert_refused(folder, out, "damaged or cut short")
    for number, content in enumerate(([1, 2], {"model": {}}, {"model": 3})):
        other = write_checkpoint(f"other{number}", content=content)
        assert_refused(other, out, "holds no (model|tensors)")
    (folder / "model.opt").write_text("{")
    folder = write_checkpoint("opt")
    (folder / "model.opt").write_text("{")
    assert_refused(folder, out, "is not JSON")
    (folder / "model.opt").write_text("[" * 100_000)
    assert_refused(folder, out, "is not JSON")
    (folder / "model.opt").write_text("[]")
    assert_refused(folder, out, "not a JSON object")


def changed(**changes: Any) -> dict[str, Any]:
    """The state dict with tensors replaced, or removed where None."""
    state = parlai_state() | {name.replace("__", "."): each for name, each in changes.items()}
    return {"model": {name: each for name, each in state.items() if each is not None}}


def test_wrong_tensors_are_named(write_checkpoint: Write, tmp_path: Path) -> None:
    lin1 = "seq2seq_decoder__layers__1__ffn__lin1__weight"
    copies = {f"seq2seq_{side}coder__embeddings__weight": None for side in ("en", "de")}
    cases: list[tuple[dict[str, Any], str]] = [
        ({lin1: None}, r"lacks 1 tensors: model\.decoder\.layers\.1\.fc1\.weight"),
        ({"embeddings__weight": None}, r"lacks the tensor embeddings\.weight"),
        ({"seq2seq_encoder__layers__0__ffn__lin1__weight": None}, "lacks a tensor"),
        ({lin1: torch.zeros(3, 8)}, r"lin1\.weight has shape \(3, 8\), not \(12, 8\)"),
        ({"class_head__weight": torch.zeros(2)}, r"that R2C2 has not: class_head\.weight"),
        ({lin1: torch.zeros(12, 8).long()}, "holds torch.int64"),
        ({lin1: torch.zeros(12, 8).to(torch.float8_e5m2)}, "holds torch.float8_e5m2"),
        ({lin1: torch.ones(12, 8).to_sparse()}, "torch.sparse_coo"),
        ({lin1: torch.ones(12, 8, device="meta")}, "holds no numbers"),
        ({"seq2seq_decoder__embeddings__weight": torch.ones(264, 8).to_sparse()}, "sparse_coo"),
        (
            copies | {"embeddings__weight": torch.zeros(264)},
            "no rows and columns",
        ),
        (copies | {"embeddings__weight": torch.zeros(264, 0)}, r"has shape \(264, 0\)"),
        ({"seq2seq_decoder__embeddings__weight": torch.zeros(264, 8)}, "differs from embeddings"),
        ({lin1: torch.full((12, 8), torch.nan)}, "is not finite"),
        ({lin1: torch.full((12, 8), 1e6)}, "overflows in float16"),
    ]
    for number, (changes, message) in enumerate(cases):
        folder = write_checkpoint(f"case{number}", content=changed(**changes))
        assert_refused(folder, tmp_path / "out", message)


def test_options_at_odds_with_tensors_or_with_the_architecture(
    write_checkpoint: Write, tmp_path: Path
) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"ffn_size": 99}, "says ffn_size 99, the tensors 12"),
        ({"n_encoder_layers": 22}, "says n_encoder_layers 22, the tensors 2"),
        ({"n_heads": 3}, "n_heads 3 does not divide"),
        ({"n_positions": 512}, "says n_positions 512"),
        ({"variant": "xlm"}, "variant 'xlm' is not supported"),
        ({"activation": "swish"}, "activation 'swish'"),
        ({"dict_tokenizer": "bpe"}, "dict_tokenizer 'bpe'"),
        ({"generation_model": "t5"}, "generation_model 't5'"),
        ({"n_segments": 2}, "n_segments 2"),
        ({"n_heads": "many"}, "n_heads 'many' is not a whole number"),
        ({"n_encoder_layers": "x"}, "n_encoder_layers 'x' is not a whole number"),
        ({"n_extra_positions": [1]}, r"n_extra_positions \[1\] is not a whole number"),
        ({"text_truncate": "a"}, "text_truncate 'a' is not a whole number"),
        ({"label_truncate": "a"}, "label_truncate 'a' is not a whole number"),
        ({"n_docs": 2.5}, "n_docs 2.5 is not a whole number"),
        ({"dropout": "x"}, "dropout 'x' is not a number"),
        ({"delimiter": 3}, "delimiter 3 is not text"),
    ]
    for number, (changes, message) in enumerate(cases):
        folder = write_checkpoint(f"case{number}", options=parlai_options(**changes))
        assert_refused(folder, tmp_path / "out", message)


def test_wrong_dictionary(write_checkpoint: Write, tmp_path: Path) -> None:
    folder = write_checkpoint(
        words=dictionary().replace("__FP16_PAD_0__\t1\n", "") + "more\t1\n" * 2
    )
    assert_refused(folder, tmp_path / "out", "holds the token 'more' twice")
    (folder / "model.dict").write_text(dictionary() + "more\t1\n", encoding="utf-8")
    assert_refused(folder, tmp_path / "out", "has 265 tokens, the model 264")


def test_targets_that_are_taken(write_checkpoint: Write, tmp_path: Path) -> None:
    folder = write_checkpoint()
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("keep")
    with pytest.raises(AssetError, match="exists already"):
        convert(folder, out)
    assert [path.name for path in out.iterdir()] == ["mine"]
    (out / "mine").unlink()
    convert(folder, out)  # an empty folder may be filled
    with pytest.raises(AssetError, match="Unknown number format 'int3'"):
        convert(folder, tmp_path / "other", dtype="int3")


@pytest.mark.parametrize("target", ["the current folder", "a link"])
def test_a_folder_that_is_there_stays_what_it_is(
    target: str, write_checkpoint: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint()
    place = tmp_path / "place"
    place.mkdir()
    out = Path()
    if target == "a link":
        out = tmp_path / "link"
        out.symlink_to(place)
    monkeypatch.chdir(place)
    assert convert(checkpoint, out, shard_bytes=3000) == out
    for folder in (out, place):
        assert AutoModelForSeq2SeqLM.from_pretrained(folder).dtype == torch.float16
        assert leftovers(folder) == []
    assert not (place / shards.STATE).exists()
    assert "# place\n" in (place / "README.md").read_text()


def test_a_link_to_nothing_is_no_target(write_checkpoint: Write, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    assert_refused(write_checkpoint(), tmp_path / "out", "exists already")


def test_no_space(write_checkpoint: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint()
    usage = type("Usage", (), {"free": 100})()
    monkeypatch.setattr(source.shutil, "disk_usage", lambda _: usage)
    assert_refused(folder, tmp_path / "out", "No space to write the model")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_while_writing(
    write_checkpoint: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(shard: shards.Shard, *rest: Any) -> str:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(shard.header())
        return ""

    monkeypatch.setattr(parlai.shards, "write_shard", fill)
    assert_refused(write_checkpoint(), tmp_path / "out", "No space left .* finished files are kept")


def test_a_target_that_cannot_be_written(write_checkpoint: Write, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AssetError, match="Cannot convert"):
        convert(write_checkpoint(), tmp_path / "file" / "out")
