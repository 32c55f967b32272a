"""What can be pulled: assets and their sources, as data.

The built-in list is ``registry.toml`` beside this file; a user's own TOML file of the same
shape adds to it or replaces entries by name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, HttpUrl, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from bb3.core.errors import UsageError

Kind = Literal["llm", "embedder", "tokenizer", "corpus", "checkpoint"]

_STRICT = ConfigDict(extra="forbid", str_strip_whitespace=True)
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
FileName = Annotated[str, Field(pattern=r"^\w[\w.+ -]{0,119}$")]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class PackageIndexSource:
    """A file inside a wheel of the user's package index. ``filename``: which wheel, where a
    version has several; empty: the pure Python one, else the first.
    """

    type: Literal["index"] = "index"
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")]
    member: Annotated[str, Field(min_length=1)]
    filename: str = ""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class HubSource:
    """A file of a model hub that has Hugging Face's URL layout."""

    type: Literal["hub"] = "hub"
    repo: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")]
    file: Annotated[str, Field(min_length=1)]
    revision: Annotated[str, Field(pattern=r"^[\w./-]+$")] = "main"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class UrlSource:
    """A file at an address; with ``member``, inside the ZIP file there."""

    type: Literal["url"] = "url"
    url: HttpUrl
    member: str = ""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class PathSource:
    """A file of this machine, used where it lies. Relative: to the folder of the TOML file."""

    type: Literal["path"] = "path"
    path: Path


Source = Annotated[
    PackageIndexSource | HubSource | UrlSource | PathSource, Field(discriminator="type")
]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Asset:
    """A model, corpus or other big file that is fetched on first use.

    Attributes:
        name: what settings and ``bb3 models pull`` call it.
        filename: its name in the cache.
        sources: tried in order.
        sha256, size: of the file, for checking; None: not published, not checked.
        licence: SPDX expression or ``LicenseRef-...``.
        notice: attribution that goes with it.
    """

    name: Name
    kind: Kind
    filename: FileName
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    licence: Annotated[str, Field(min_length=1)]
    title: str = ""
    notice: str = ""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    size: Annotated[int, Field(gt=0)] | None = None


_ASSET = TypeAdapter(Asset)


class Registry(Mapping[str, Asset]):
    """Assets by name. Looking up an unknown name with ``find`` says which there are."""

    def __init__(self, assets: Mapping[str, Asset]) -> None:
        self._assets = dict(assets)

    def __getitem__(self, name: str) -> Asset:
        return self._assets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._assets)

    def __len__(self) -> int:
        return len(self._assets)

    def find(self, name: str) -> Asset:
        """The asset of that name.

        Raises:
            UsageError: there is none.
        """
        try:
            return self._assets[name]
        except KeyError:
            known = ", ".join(sorted(self._assets))
            raise UsageError(
                f"No asset is called {name!r}.", remedy=f"There are: {known}."
            ) from None


def load_registry(*extra: Path) -> Registry:
    """The built-in assets and those of the given TOML files; later files win.

    Raises:
        UsageError: a file cannot be read or an entry is wrong.
    """
    builtin = resources.files(__package__).joinpath("registry.toml").read_text(encoding="utf-8")
    assets = parse_registry(builtin, where="registry.toml")
    for path in extra:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"The asset list {path} cannot be read: {error}.",
                remedy="Name a TOML file in UTF-8.",
            ) from error
        found = parse_registry(text, where=str(path))
        assets |= {name: _anchored(asset, path.parent) for name, asset in found.items()}
    return Registry(assets)


def parse_registry(text: str, *, where: str) -> dict[str, Asset]:
    """Assets of a TOML text: one table each, its name the key.

    Args:
        text: the TOML.
        where: what to call it in messages.

    Raises:
        UsageError: not TOML, or an entry is wrong; names the entry and the field.
    """
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is not valid TOML: {error}.") from error
    assets = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(
                f"{where}: {name!r} is {table!r}, not a table.",
                remedy=f"Write [{name}] and its fields below.",
            )
        try:
            assets[name] = _ASSET.validate_python({**table, "name": name})
        except ValidationError as error:
            raise UsageError(f"{where}: asset {name!r}: {_first_fault(error)}.") from error
    return assets


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in fault["loc"]) or "entry"
    given = fault["input"]
    shown = "" if isinstance(given, dict) else f" (given: {given!r:.80})"
    return f"{field}: {fault['msg']}{shown}"


def _anchored(asset: Asset, folder: Path) -> Asset:
    """Paths made relative to the folder of the list that names them."""
    sources = tuple(
        replace(s, path=folder / s.path.expanduser()) if isinstance(s, PathSource) else s
        for s in asset.sources
    )
    return replace(asset, sources=sources)
