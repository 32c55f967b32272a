"""What the tests of conversions share (the extra ``torch``)."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bb3.checkpoints.parlai import convert
from bb3.core.errors import AssetError


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def assert_refused(path: Path, out: Path, message: str, **options: Any) -> None:
    """The conversion ends in one line, and there is no model folder."""
    with pytest.raises(AssetError, match=message) as caught:
        convert(path, out, **options)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    assert leftovers(out.parent) == []


def pack(folder: Path, archive: Path, inner: str = "") -> Path:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for file in folder.iterdir():
                packed.write(file, f"{inner}{file.name}")
        return archive
    with tarfile.open(archive, "w:gz") as tape:
        for file in folder.iterdir():
            tape.add(file, f"{inner}{file.name}")
    return archive
