"""The program as a person runs it: real processes, the real model, a data folder of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

BB3 = Path(sys.executable).with_name("bb3")


@dataclass(frozen=True)
class Home:
    """A data folder, and the program started on it."""

    data_dir: Path
    environ: dict[str, str] = field(default_factory=dict)

    def env(self) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if not k.startswith("BB3_")}
        return {**keep, "BB3_DATA_DIR": str(self.data_dir), "COLUMNS": "160", **self.environ}

    def run(
        self, *args: str, text: str | bytes | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; output decoded."""
        given = text.encode() if isinstance(text, str) else text
        done = subprocess.run(
            [str(BB3), *args], input=given, capture_output=True, env=self.env(), timeout=timeout,
            stdin=subprocess.DEVNULL if given is None else None, cwd=self.data_dir,
        )  # fmt: skip
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def turns(self, *messages: str, user: str = "anna", args: tuple[str, ...] = ()) -> list[Any]:
        """Say messages; the JSON objects of their turns."""
        said = [part for message in messages for part in ("--message", message)]
        done = self.run("chat", "--user", user, "--json", "--seed", "7", *said, *args)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def built(
    tmp_path_factory: pytest.TempPathFactory,
    smollm_path: Path,
    minilm_paths: tuple[Path, Path],
    wiki_path: Path,
) -> Path:
    """A data folder in which the demo index is built, once for all tests."""
    folder = tmp_path_factory.mktemp("built")
    done = Home(folder).run("search", "capital of Norway")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def home(built: Path, tmp_path: Path) -> Home:
    """A fresh user with the demo index."""
    shutil.copytree(built, tmp_path / "data")
    return Home(tmp_path / "data")


@pytest.fixture
def elsewhere(built: Path, tmp_path: Path) -> Callable[..., Home]:
    """Homes with further environment."""

    def make(name: str = "other", **environ: str) -> Home:
        shutil.copytree(built, tmp_path / name)
        return Home(tmp_path / name, environ)

    return make
