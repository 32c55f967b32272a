"""``bb3 convert``, and a chat with what it made."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.checkpoints.conftest import Write
from tests.checkpoints.conftest import write_checkpoint as write_checkpoint
from tests.cli.conftest import User

needs_torch = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("transformers") is None, reason="needs the extra torch"
)
CHAT = ("--search", "none", "--set", "offline=true", "--set", "engine.threads=1")


@needs_torch
def test_a_checkpoint_becomes_a_chat(bb3: User, write_checkpoint: Write) -> None:
    released = write_checkpoint()
    made = bb3("convert", "parlai", str(released), "-o", "small", "--dtype", "float32", "--json")
    assert made.code == 0, made.err
    assert made.json["dtype"] == "float32"
    assert made.json["bytes"] == sum(file.stat().st_size for file in Path("small").iterdir())

    said = bb3.process("chat", "--model", "small", *CHAT, "--json",
                       "--message", "hello there", "--message", "and again")  # fmt: skip
    assert said.code == 0, said.err
    turns = [json.loads(line) for line in said.out.splitlines()]
    assert [turn["user"] for turn in turns] == ["hello there", "and again"]
    assert all(turn["reply"] for turn in turns)
    asked = {call["module"] for turn in turns for call in turn["trace"]["modules"]}
    assert {"ckm", "mgm"} <= asked


@needs_torch
@pytest.mark.parametrize(
    ("preset", "modules"),
    [
        ("bb1", {"vrm"}),
        ("bb2", {"vrm", "mgm"}),
        ("seeker", {"vrm"}),
    ],
)
def test_older_models_by_their_presets(
    bb3: User, write_checkpoint: Write, preset: str, modules: set[str]
) -> None:
    """BlenderBot 1 and 2 and SeeKeR without a search: what is asked of the model."""
    assert bb3("convert", "parlai", str(write_checkpoint()), "-o", "small").code == 0
    said = bb3("chat", "--model", "small", *CHAT, "--preset", preset, "--json", "--message", "Hi.")
    assert said.code == 0, said.err
    turn = json.loads(said.out)
    assert {call["module"] for call in turn["trace"]["modules"]} == modules


@needs_torch
def test_what_cannot_be_converted(bb3: User, write_checkpoint: Write) -> None:
    missing = bb3("convert", "parlai", "nowhere", "-o", "small")
    assert (missing.code, missing.out) == (1, "")
    assert "nowhere" in missing.err
    (bb3.home / "full").mkdir()
    (bb3.home / "full" / "file").write_text("here")
    full = bb3("convert", "parlai", str(write_checkpoint()), "-o", "full")
    assert full.code == 1
    assert "exists already" in full.err
    assert bb3("convert", "parlai", "nowhere", "-o", "x", "--dtype", "int3").code == 2


@pytest.mark.parametrize("command", ["convert", "chat"])
def test_without_the_extra(
    bb3: User, monkeypatch: pytest.MonkeyPatch, command: str, tmp_path: Path
) -> None:
    for name in list(sys.modules):
        if name.startswith(("bb3.checkpoints.parlai", "bb3.lm.r2c2")):
            monkeypatch.delitem(sys.modules, name)
    missing = "torch" if find_spec("torch") is None else "bb3.checkpoints.missing"
    if missing != "torch":
        monkeypatch.setitem(sys.modules, "torch", None)
        for name in [n for n in sys.modules if n.startswith(("bb3.nets", "bb3.lm.desk"))]:
            monkeypatch.delitem(sys.modules, name)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    if command == "convert":
        said = bb3("convert", "parlai", str(folder), "-o", "made")
    else:
        said = bb3("chat", "--model", str(folder), *CHAT, "--json", "--message", "Hi.")
    assert said.code == 2
    assert "pip install 'bb3[torch]'" in said.err
