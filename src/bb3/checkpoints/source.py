"""Where a ParlAI checkpoint's files are: a file, a folder, a zoo directory or an archive."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bb3.core.errors import AssetError

DEPTH = 4
MODEL = "model"
ORIGIN = "archive.json"
NEEDED = (".opt", ".dict")
ARCHIVES = (".tgz", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip")
UNREADABLE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files of one checkpoint. ``merges``: the BPE's, None where there are none."""

    model: Path
    opt: Path
    dictionary: Path
    merges: Path | None = None


def find_files(path: Path) -> Files:
    """The checkpoint at ``path``: its ``model`` file, or a folder that holds it somewhere.

    Raises:
        AssetError: there is none, there are several, or a file beside it is missing.
    """
    if not path.exists():
        raise AssetError(f"There is no checkpoint at {path}.")
    model = path if path.is_file() else _search(path)
    beside = {end: model.with_name(model.name + end) for end in NEEDED}
    if missing := [file.name for file in beside.values() if not file.is_file()]:
        raise AssetError(
            f"The checkpoint {model} is incomplete: {' and '.join(missing)} not beside it.",
            remedy="Copy all files of the release into one folder.",
        )
    return Files(model=model, opt=beside[".opt"], dictionary=beside[".dict"], merges=_merges(model))


def is_archive(path: Path) -> bool:
    """Whether ``path`` is to be unpacked first."""
    return path.is_file() and path.name.lower().endswith(ARCHIVES)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a checkpoint's files from a tar or zip archive, flat, into ``folder``.

    Only plain files whose names belong to a checkpoint are taken, by the last part of their
    name, so that no entry can be written elsewhere. A file that was unpacked before from this
    very archive, in its full size, is kept.

    Returns:
        ``folder``. Raises AssetError when the archive is damaged, holds no model or two, or
        does not fit on the disk.
    """
    origin, source = folder / ORIGIN, json.dumps(identity(archive)).encode()
    if not origin.is_file() or origin.read_bytes() != source:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        origin.write_bytes(source)
    seen: set[str] = set()
    try:
        for name, size, content in _entries(archive):
            if name in seen:
                raise AssetError(f"The archive {archive} holds {name} twice: two checkpoints?")
            seen.add(name)
            target = folder / name
            if target.is_file() and target.stat().st_size == size:
                continue
            require_space(folder, size, f"unpack {name}")
            with target.open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
            if target.stat().st_size != size:
                raise AssetError(f"The archive {archive} is truncated within {name}.")
    except UNREADABLE as error:
        raise AssetError(
            f"Cannot unpack {archive}: {error or type(error).__name__}.",
            remedy="Fetch it again.",
        ) from error
    if MODEL not in seen:
        raise AssetError(f"The archive {archive} holds no file named model.")
    return folder


def identity(path: Path) -> dict[str, Any]:
    """What tells a file from another, and from what it was before."""
    status = path.stat()
    return {
        "path": str(path.resolve()),
        "size": status.st_size,
        "modified": status.st_mtime_ns,
    }


def require_space(folder: Path, size: int, purpose: str) -> None:
    """Raises AssetError when the disk of ``folder`` has fewer than ``size`` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise AssetError(
            f"No space to {purpose}: {size / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"
            f" at {folder}.",
            remedy="Free some space or choose another folder.",
        )


def _entries(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of the plain files that belong to a checkpoint."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                name = PurePosixPath(entry.filename).name
                if not entry.is_dir() and _belongs(name):
                    with packed.open(entry) as file:
                        yield name, entry.file_size, file
        return
    with tarfile.open(archive) as tape:
        for member in tape:
            name = PurePosixPath(member.name).name
            content = tape.extractfile(member) if member.isfile() and _belongs(name) else None
            if content is not None:
                yield name, member.size, content


def _belongs(name: str) -> bool:
    return name in ("vocab.bpe", "encoder.json") or name == MODEL or name.startswith("model.")


def _search(folder: Path) -> Path:
    pattern = [folder.glob("/".join(["*"] * depth + [MODEL])) for depth in range(DEPTH)]
    found = sorted(file for level in pattern for file in level if file.is_file())
    if not found:
        raise AssetError(
            f"There is no ParlAI checkpoint in {folder}: no file named model.",
            remedy="Name the folder that holds model, model.opt and model.dict.",
        )
    if len(found) > 1:
        raise AssetError(
            f"There are {len(found)} checkpoints in {folder}: {found[0]}, {found[1]} ...",
            remedy="Name one of them.",
        )
    return found[0]


def _merges(model: Path) -> Path | None:
    """The BPE's merges beside the model, or in the data folder of a ParlAI installation
    (``<data>/models/<task>/<name>/model`` with ``<data>/gpt2/vocab.bpe``).
    """
    places = [model.with_name(f"{model.name}.dict-merges.txt"), model.with_name("vocab.bpe")]
    places += [folder / "gpt2" / "vocab.bpe" for folder in model.resolve().parents[:4]]
    return next((place for place in places if place.is_file()), None)
