"""Documents out of files and folders."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bb3.core.errors import UsageError
from bb3.search.sources import MAX_LINE_BYTES, Sources, markdown


def test_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Plain text.")
    (tmp_path / "b.md").write_text(
        "# The **title** #\n\nA [link](http://x) and `code_name` and *stress*.\n```py\nx = 1\n```\n"
    )
    (tmp_path / "c.md").write_text('---\ntitle: "From front"\ntags: x\n---\n# Heading\nBody.')
    (tmp_path / "d.HTML").write_text(
        "<html><head><title>A &amp; B</title></head><body><p>Some text of the page.</p></body>"
    )
    (tmp_path / "e.jsonl").write_text(
        '{"title": "One", "text": "First.", "url": "http://x/1"}\n\n{"content": "Second."}\n'
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f.rst").write_text("Nested.")
    sources = Sources([tmp_path])
    found = {d.title: d for d in sources}
    assert set(found) == {"a", "The title", "From front", "A & B", "One", "e", "f"}
    assert found["a"].url == (tmp_path / "a.txt").as_uri()
    title = found["The title"]
    assert "A link and code_name and stress." in title.text
    assert "x = 1" in title.text
    assert "tags" not in found["From front"].text
    assert found["A & B"].text == "Some text of the page."
    assert (found["One"].text, found["One"].url) == ("First.", "http://x/1")
    assert found["e"].url.endswith("e.jsonl#L3")
    assert sources.skipped == []
    assert sources.replaced == 0


@pytest.mark.parametrize(
    ("text", "title", "plain"),
    [
        ("# Learn C#\nx", "Learn C#", "Learn C#\nx"),
        ("## A  ## \r\nx", "A", "A\nx"),
        ("#\nx", "name", "x"),
        ("####### seven\nx", "name", "####### seven\nx"),
        ("---\ntitle: 'T'\n---\n# A\nx", "T", "A\nx"),
        ("---\r\ntitle:\r\n---\r\n# A\r\nx", "A", "A\nx"),
        ("---\ntitle: T\n# A", "A", "---\ntitle: T\nA"),
        ("a [b](c) and ![d](e)\n\n`f` **g** h_i", "name", "a b and d\n\nf g h_i"),
        ("", "name", ""),
    ],
)
def test_markdown(text: str, title: str, plain: str) -> None:
    assert markdown(text, "name") == (title, plain)


@pytest.mark.parametrize(
    "text",
    [
        "# a" + " " * 1_000_000 + "b",
        "# a" + " #" * 500_000 + "b",
        "a" + " " * 500_000 + "#" * 500_000 + "b",
        "---" + "\n" * 1_000_000 + "x",
        "---\ntitle: a" + " " * 1_000_000 + "'b\n---\n",
        " " * 1_000_000 + "x",
        "\n" * 1_000_000 + "x",
        "[" * 1_000_000,
        "![" * 500_000,
        "[a](" * 250_000,
        "*" * 1_000_000,
        " *a" * 300_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_hostile_markdown_takes_no_time(text: str) -> None:
    begun = time.monotonic()
    markdown(text, "name")
    assert time.monotonic() - begun < 10


def test_what_is_left_out_and_why(tmp_path: Path) -> None:
    (tmp_path / ".hidden.txt").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config.txt").write_text("x")
    (tmp_path / "binary.txt").write_bytes(b"\x7fELF\0\0\0")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "image.png").write_bytes(b"png")
    (tmp_path / "Makefile").write_text("all:")
    (tmp_path / "large.txt").write_text("x" * 200)
    (tmp_path / "bad.html").write_text("<html></html>")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    sources = Sources([tmp_path], max_file_bytes=100)
    assert list(sources) == []
    why = {Path(s.where).name: s.why for s in sources.skipped}
    assert why["binary.txt"] == "binary"
    assert why["empty.txt"] == "empty"
    assert "over the limit" in why["large.txt"]
    assert "no text" in why["bad.html"]
    assert ".png" in why["image.png"]
    assert "no ending" in why["Makefile"]
    assert why["pipe.txt"] == why["dangling.txt"] == "not an ordinary file"
    assert sources.skipped_count == 8


def test_a_file_named_itself_is_read_whatever_its_ending(tmp_path: Path) -> None:
    (tmp_path / "NOTES").write_text("Some notes.")
    (tmp_path / ".hidden").write_text("Shown.")
    assert [d.text for d in Sources([tmp_path / "NOTES", str(tmp_path / ".hidden")])] == [
        "Some notes.",
        "Shown.",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("Blåbær 東京".encode(encoding))
    [found] = Sources([tmp_path])
    assert found.text == "Blåbær 東京"


def test_invalid_utf8_is_replaced_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"Bl\xe5b\xe6r is good")
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "Bl\xe5b"}')
    sources = Sources([tmp_path])
    assert [d.text for d in sources] == ["Bl�b�r is good", "Bl�b"]
    assert sources.replaced == 3


def test_bad_json_lines_do_not_stop_the_good_ones(tmp_path: Path) -> None:
    lines = [
        '{"text": "good"}',
        "not json",
        "[1]",
        '{"title": "no text"}',
        '{"text": 5}',
        '{"text": "  "}',
        "[" * 100_000,
        '{"text": "' + "x" * MAX_LINE_BYTES + '"}',
        '{"text": "also good", "title": 7, "url": null}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    sources = Sources([tmp_path])
    assert [(d.text, d.title) for d in sources] == [("good", "a"), ("also good", "a")]
    assert [int(s.where.rsplit(":", 1)[1]) for s in sources.skipped] == [2, 3, 4, 5, 6, 7, 8]


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        Sources([tmp_path / "nowhere"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.txt").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    sources = Sources([tmp_path])
    assert list(sources) == []
    assert len(sources.skipped) == 2


def test_thousands_of_skipped_things_are_counted_not_kept(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("x\n" * 3000)
    sources = Sources([tmp_path])
    assert list(sources) == []
    assert sources.skipped_count == 3000
    assert len(sources.skipped) == 1000
