"""The pages written from the code are those in docs/."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bb3.app.settings import Settings
from bb3.cli.docs import FOLDERS, attributes, pages
from bb3.cli.main import COMMANDS
from bb3.core.ports import Sampling

DOCS = Path(__file__).parents[2] / "docs"


def test_the_pages_are_up_to_date() -> None:
    for name, text in pages().items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, f"{name}: run `make docs`"


def test_nothing_is_left_out_and_nothing_is_of_this_machine() -> None:
    written = pages()
    for command in COMMANDS:
        assert f"\n## bb3 {command}\n" in written["cli.md"]
    assert "`-h, --help`" in written["cli.md"] and "{" not in written["cli.md"]
    for name in Settings.model_fields:
        assert f"`{name}`" in written["settings.md"] or f"\n## {name}\n" in written["settings.md"]
    for folder in FOLDERS:
        default = str(Settings.model_fields[folder].get_default(call_default_factory=True))
        assert default not in written["settings.md"] + written["cli.md"]


def test_descriptions_of_a_docstring() -> None:
    found = attributes(Sampling)
    assert (
        found["min_tokens"] == found["max_tokens"] == "length of the answer, end token not counted."
    )
    assert found["stop"].startswith("texts that end")
    assert attributes(int) == {}


def test_check_tells_and_write_mends(tmp_path: Path) -> None:
    def docs(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bb3.cli.docs", "--folder", str(tmp_path), *args],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    shutil.copy(DOCS / "settings.md", tmp_path)
    (tmp_path / "cli.md").write_text("old")
    stale = docs("--check")
    assert stale.returncode == 1 and "cli.md" in stale.stderr and "settings.md" not in stale.stderr
    assert (tmp_path / "cli.md").read_text() == "old"
    assert docs().returncode == 0
    assert docs("--check").returncode == 0
