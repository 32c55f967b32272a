"""Networks of folders: what is loaded, what is refused; without torch nothing here runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from bb3.core.errors import AssetError, ModelError, UsageError
from bb3.lm import network
from bb3.lm.network import open_network
from tests.lm.networks import write_r2c2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_r2c2(tmp_path_factory.mktemp("r2c2") / "small")


@pytest.mark.parametrize("zipped", [True, False])
async def test_a_hub_folder_with_the_old_weight_file(
    tmp_path: Path, folder: Path, zipped: bool
) -> None:
    other = tmp_path / "old"
    shutil.copytree(folder, other)
    state = open_network(folder, dtype="float16", device="cpu").model.state_dict()
    (other / "model.safetensors").unlink()
    weights = other / "pytorch_model.bin"
    torch.save(dict(state), weights, _use_new_zipfile_serialization=zipped)
    found = open_network(other, dtype="float16", device="cpu").model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(AssetError, match="damaged or cut short"):
        open_network(other, device="cpu")


CHANGED = {
    "gpt2": {"model_type": "gpt2"},
    "wider": {"d_model": 32},
    "deeper": {"decoder_layers": 3},
    "shallower": {"decoder_layers": 1},
    "no number": {"d_model": "wide"},
}


def damaged(folder: Path, tmp_path: Path, kind: str) -> Path:
    """A copy of the folder with something wrong."""
    copy = tmp_path / kind
    shutil.copytree(folder, copy)
    weights, config = copy / "model.safetensors", copy / "config.json"
    match kind:
        case "no weights":
            weights.unlink()
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "no json":
            config.write_text("{")
        case "a list":
            config.write_text("[]")
        case "no tokenizer":
            (copy / "tokenizer.json").unlink()
        case "broken tokenizer":
            (copy / "tokenizer.json").write_text("{}")
        case "code":
            weights.unlink()
            torch.save({"model.shared.weight": print}, copy / "pytorch_model.bin")
        case _:
            config.write_text(json.dumps(json.loads(config.read_text()) | CHANGED[kind]))
    return copy


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("no weights", "no weights"),
        ("truncated", "damaged"),
        ("no json", "not JSON"),
        ("a list", "type None"),
        ("gpt2", "'gpt2', not r2c2"),
        ("wider", "has shape"),
        ("deeper", "lacks"),
        ("shallower", "too many"),
        ("no number", "no network|damaged"),
        ("no tokenizer", "no tokenizer"),
        ("broken tokenizer", "damaged"),
        ("code", r"holds code \(print\)"),
    ],
)
def test_folders_that_cannot_be_loaded(folder: Path, tmp_path: Path, kind: str, said: str) -> None:
    with pytest.raises(AssetError, match=said) as caught:
        open_network(damaged(folder, tmp_path, kind), device="cpu")
    assert "\n" not in str(caught.value)


def test_too_little_memory_is_told_before_loading(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(network, "_free_bytes", lambda _: 100_000_000)
    with pytest.raises(ModelError, match=r"needs about 0\.5 GB of memory, 0\.1 GB are free"):
        open_network(folder, device="cpu")


@pytest.mark.parametrize(
    ("groups", "files", "free"),
    [
        ("0::/\n", {"memory.max": "9000000", "memory.stat": "anon 2000000\nfile 5"}, 7_000_000),
        ("0::/\n", {"memory.max": "max"}, None),
        (
            "0::/a.slice/b\n",
            {"a.slice/memory.max": "5000000", "a.slice/b/memory.max": "6000000"},
            5_000_000,
        ),
        (
            "5:cpu,cpuacct:/x\n4:memory:/docker/elsewhere\n0::/\n",
            {
                "memory/memory.limit_in_bytes": "8000000",
                "memory/memory.stat": "cache 9\ntotal_rss 1000000",
            },
            7_000_000,
        ),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("", {}, None),
    ],
)
def test_a_container_has_no_more_memory_than_its_limit(
    groups: str, files: dict[str, str], free: int | None, tmp_path: Path, monkeypatch
) -> None:
    cpu = torch.device("cpu")
    (tmp_path / "own").write_text(groups)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    monkeypatch.setattr(network, "_CGROUPS", tmp_path)
    monkeypatch.setattr(network, "_OWN_CGROUPS", tmp_path / "own")
    if free is None:
        assert network._free_bytes(cpu) > 50_000_000
    else:
        assert network._free_bytes(cpu) == free


def test_settings_that_cannot_be(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'float8'"):
        open_network(folder, dtype="float8")
    for device in ("cuda:99", "abacus"):
        with pytest.raises(UsageError, match=device):
            open_network(folder, device=device)
    with pytest.raises(AssetError, match=r"config\.json"):
        open_network(tmp_path / "nothing")


def test_a_full_machine_takes_fewer_bits(monkeypatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(network, "_free_bytes", lambda _: 16_000_000_000)
    assert network._choose("auto", cpu, 400_000_000) == "float32"
    assert network._choose("auto", cpu, 2_800_000_000) == "bfloat16"
    assert network._choose("int8", cpu, 1) == "int8"
    assert network._choose("auto", torch.device("cuda"), 1) == "float16"
