"""Documents out of files and folders: text, Markdown, HTML and JSON lines."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from bb3.core.errors import SearchError, UsageError
from bb3.core.types import Document
from bb3.search.pages import bom_encoding, decode_page, extract

TEXT = frozenset({".txt", ".text", ".rst"})
MARKDOWN = frozenset({".md", ".markdown"})
HTML = frozenset({".html", ".htm", ".xhtml"})
JSON_LINES = frozenset({".jsonl", ".ndjson"})
KINDS = TEXT | MARKDOWN | HTML | JSON_LINES

MAX_FILE_BYTES = 20 * 2**20
"""Of a text, Markdown or HTML file. JSON lines are read line by line, each up to MAX_LINE_BYTES."""
MAX_LINE_BYTES = 4 * 2**20
MAX_SKIPPED = 1000
"""So many are told one by one; beyond it they are only counted."""

HEADING = re.compile(r"#{1,6}(?:\s|$)")
LINK = re.compile(r"!?\[([^\[\]]*)\]\([^\[)]*\)")
EMPHASIS = re.compile(r"(?<!\w)[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}(?!\w)")
"""All three for one line: none can run on over a hostile file."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was left out; ``where`` is a path, with the line for JSON lines."""

    where: str
    why: str


class Sources:
    """Documents of the named files, and of the folders below the named folders.

    Iterate it once; then ``skipped`` says what was left out and why, ``skipped_count`` how much,
    ``unreadable`` how much of it is there but could not be read, and ``replaced`` how many
    undecodable characters became "�".

    Hidden files, binary files, links to folders and files of other kinds are left out of folders; a
    file named itself is read as text whatever it is called, if it is text. Raises UsageError for
    a path that does not exist or cannot be looked at.
    """

    def __init__(
        self, paths: Sequence[Path | str], *, max_file_bytes: int = MAX_FILE_BYTES
    ) -> None:
        self.skipped: list[Skipped] = []
        self.skipped_count = 0
        self.unreadable = 0
        self.replaced = 0
        self._paths = [Path(path) for path in paths]
        self._max_file_bytes = max_file_bytes
        for path in self._paths:
            try:
                path.stat()
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or error
                raise UsageError(
                    f"{str(path)[:200]!r} cannot be indexed: {why}.", remedy="Check the path."
                ) from error

    def __iter__(self) -> Iterator[Document]:
        for path in self._paths:
            if path.is_dir():
                for file in self._walk(path):
                    yield from self._read(file, named=False)
            else:
                yield from self._read(path, named=True)

    def _skip(self, where: Path | str, why: str) -> None:
        self.skipped_count += 1
        if len(self.skipped) < MAX_SKIPPED:
            self.skipped.append(Skipped(str(where), why))

    def _fail(self, where: Path | str, error: OSError) -> None:
        self.unreadable += 1
        self._skip(where, f"unreadable: {error.strerror or error}")

    def _walk(self, folder: Path) -> Iterator[Path]:
        """Files below a folder in the order of their names; links to folders are not followed."""
        walk = os.walk(folder, onerror=lambda e: self._fail(str(e.filename), e))
        for place, folders, files in walk:
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if not name.startswith("."):
                    yield Path(place, name)

    def _read(self, path: Path, *, named: bool) -> Iterator[Document]:
        kind = path.suffix.lower()
        if kind not in KINDS and not named:
            self._skip(path, f"not of a kind that is read ({kind or 'no ending'})")
            return
        try:
            if not path.is_file():
                raise ValueError("not an ordinary file")
            if kind in JSON_LINES:
                yield from self._json_lines(path)
            else:
                yield self._document(path, kind)
        except OSError as error:
            self._fail(path, error)
        except (ValueError, SearchError) as error:
            self._skip(path, str(error))

    def _document(self, path: Path, kind: str) -> Document:
        """A file that is one document. Raises ValueError or SearchError saying why it is none."""
        size = path.stat().st_size
        if size > self._max_file_bytes:
            raise ValueError(f"{size:,} bytes, over the limit of {self._max_file_bytes:,}")
        body = path.read_bytes()
        if b"\0" in body[:8192] and bom_encoding(body) is None:
            raise ValueError("binary")
        title = path.stem
        if kind in HTML:
            found, text = extract(decode_page(body, None), str(path))
            title = found or title
        elif kind in MARKDOWN:
            title, text = markdown(self._decode(body), title)
        else:
            text = self._decode(body)
        if not text.strip():
            raise ValueError("empty")
        return Document(title=title, text=text, url=path.resolve().as_uri())

    def _decode(self, body: bytes) -> str:
        """Text as UTF-8 (or what its byte order mark says); what is not becomes "�", counted."""
        encoding = bom_encoding(body) or "utf-8"
        try:
            return body.decode(encoding)
        except UnicodeDecodeError:
            text = body.decode(encoding, "replace")
            self.replaced += text.count("\N{REPLACEMENT CHARACTER}")
            return text

    def _json_lines(self, path: Path) -> Iterator[Document]:
        """One object a line: ``text`` (or content, extract), optional ``title`` and ``url``."""
        base = path.resolve().as_uri()
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    self._skip(f"{path}:{number}", f"a line over {MAX_LINE_BYTES:,} bytes")
                    while line and not line.endswith(b"\n"):
                        line = file.readline(MAX_LINE_BYTES)
                    continue
                if not line.strip():
                    continue
                try:
                    yield json_document(self._decode(line), path.stem, f"{base}#L{number}")
                except ValueError as error:
                    self._skip(f"{path}:{number}", str(error))


def json_document(line: str, title: str, url: str) -> Document:
    """A document from one JSON line; the defaults stand in for a missing title and url.

    Raises ValueError saying what is wrong.
    """
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 (bad data, not a wrong call)
    text = next((data[key] for key in ("text", "content", "extract") if key in data), None)
    if not isinstance(text, str) or not text.strip():
        raise ValueError('no "text" (or "content")')
    own_title, own_url = data.get("title"), data.get("url")
    return Document(
        title=own_title if isinstance(own_title, str) and own_title.strip() else title,
        text=text,
        url=own_url if isinstance(own_url, str) and own_url.strip() else url,
    )


def markdown(text: str, title: str) -> tuple[str, str]:
    """Title (front matter, first heading, else the given) and plain text of Markdown."""
    front, body = front_matter(text.split("\n"))
    named = [
        line.removeprefix("title:").strip(" \t\r\"'") for line in front if line.startswith("title:")
    ]
    headed = (heading(line) for line in body if HEADING.match(line))
    titles = (plain_line(found) for found in chain(named, headed))
    return next(filter(None, titles), title), "\n".join(map(plain_line, body)).strip()


def front_matter(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines between ``---`` at the very beginning, and the others."""
    if lines[0].rstrip() == "---":
        for number, line in enumerate(lines[1:], 1):
            if line.rstrip() == "---":
                return lines[1:number], lines[number + 1 :]
    return [], lines


def plain_line(line: str) -> str:
    """A line of Markdown without its marks; the fences of code are nothing else."""
    if line.startswith("```"):
        return ""
    if HEADING.match(line):
        line = heading(line)
    return EMPHASIS.sub("", LINK.sub(r"\1", line)).rstrip()


def heading(line: str) -> str:
    """The text of a heading, without the ``#`` before it and those that may close it."""
    text = line.lstrip("#").strip()
    opened = text.rstrip("#")
    return opened.rstrip() if not opened or opened[-1].isspace() else text
