"""A user of their own for each test: folders, settings and environment that nobody else has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bb3.cli.main import app
from tests.assets.conftest import site as site  # the package index on loopback

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
CODE = "from bb3.cli.main import run; run()"


@dataclass
class Outcome:
    """What a command did. Whatever it was, it never shows a traceback."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert "Traceback" not in self.out + self.err, self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class User:
    """Runs ``bb3`` in this process (``__call__``) or in one of its own (``process``)."""

    home: Path

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    def __call__(self, *args: str) -> Outcome:
        result = CliRunner().invoke(app, args, prog_name="bb3")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    def start(self, *args: str | bytes, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", CODE, *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=os.environ | environ,
        )  # fmt: skip

    def process(self, *args: str | bytes, **environ: str) -> Outcome:
        return ended(self.start(*args, **environ))

    def settings(self, text: str) -> None:
        (self.home / "bb3.toml").write_text(text, encoding="utf-8")


def ended(process: subprocess.Popen[str], timeout_s: float = 120.0) -> Outcome:
    """Wait for a process to end."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    return Outcome(process.returncode, out, err)


@pytest.fixture
def bb3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """A user who has nothing yet and no network: assets come only from where a test says."""
    for name in os.environ:
        ours = name.startswith(("BB3_", "PIP_", "UV_", "HF_")) or name.lower() in PROXIES
        if ours and not name.startswith("BB3_TEST_"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {
        "HOME": home,
        "XDG_CONFIG_HOME": home / "config",
        "BB3_DATA_DIR": home / "data",
        "BB3_CACHE_DIR": home / "cache",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "COLUMNS": "80",
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(home)
    return User(home)


@pytest.fixture
def real_assets(bb3: User, asset_path: Callable[[str], Path]) -> User:
    """The same user, who has the built-in assets as files of their own."""
    kinds = {
        "smollm2-135m": "llm",
        "minilm-l6-v2-onnx": "embedder",
        "minilm-l6-v2-tokenizer": "tokenizer",
        "wikipedia-vital-en": "corpus",
    }
    tables = []
    for name, kind in kinds.items():
        path = asset_path(name)
        tables.append(
            f"[{name}]\nkind = {kind!r}\nfilename = {path.name!r}\nlicence = 'Apache-2.0'\n"
            f"sources = [{{ type = 'path', path = {str(path)!r} }}]\n"
        )
    (bb3.home / "assets.toml").write_text("\n".join(tables), encoding="utf-8")
    bb3.settings("assets = ['assets.toml']\n")
    return bb3
