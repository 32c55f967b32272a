"""``bb3 index``: real files into real SQLite files."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from stat import S_IMODE

import pytest

from tests.cli.conftest import User, ended


@pytest.fixture
def notes(bb3: User) -> Path:
    """A folder with a document of each kind."""
    folder = bb3.home / "notes"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "kettle.md").write_text("# Kettle\n\nThe kettle boils water for tea.")
    (folder / "lamp.txt").write_text("The lamp lights the desk at night.")
    (folder / "deep" / "page.html").write_text(
        "<html><title>Bicycle</title><body><p>The bicycle needs oil on its chain every "
        "month.</p></body></html>"
    )
    lines = [{"title": "Harbour", "text": "The harbour has forty boats."}, {"text": "Foghorns."}]
    (folder / "deep" / "er" / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def index_file(bb3: User, name: str) -> Path:
    return bb3.data / "indexes" / f"{name}.sqlite"


def test_build_change_and_prune(bb3: User, notes: Path) -> None:
    built = bb3("index", str(notes), "--name", "home", "--attribution", "By me", "--json").json
    assert (built["added"], built["documents"], built["skipped"]) == (5, 5, 0)
    assert built["path"] == str(index_file(bb3, "home"))

    assert S_IMODE(bb3.data.stat().st_mode) == 0o700

    (notes / "lamp.txt").write_text("The lamp is broken.")
    (notes / "kettle.md").unlink()
    (notes / "new.txt").write_text("A new sofa.")
    again = bb3("index", str(notes), "--name", "home")
    assert again.code == 0
    assert again.out.startswith("1 added, 1 changed, 3 unchanged, 0 skipped; ")
    assert "6 documents" in again.out

    pruned = bb3("index", str(notes), "--name", "home", "--prune", "--json").json
    assert (pruned["added"], pruned["unchanged"], pruned["removed"]) == (0, 5, 1)
    listed = bb3("index", "--list", "--json").json
    assert [(r["name"], r["documents"], r["attribution"]) for r in listed] == [("home", 5, "By me")]
    assert "By me" in bb3("index", "--list").out
    found = bb3("search", "--search", "local:home", "--set", "offline=1", "broken lamp")
    assert "The lamp is broken." in found.out and "By me" in found.out


def test_what_is_skipped_is_told(bb3: User, notes: Path) -> None:
    (notes / "a.txt").write_bytes(b"\x00\x01\x02")
    (notes / "b.md").write_text("  \n")
    (notes / "c.exe").write_text("x")
    (notes / "d.jsonl").write_text('{"text": 5}\nnonsense\n')
    (notes / "e.txt").write_bytes(b"caf\xe9 au lait")
    os.mkfifo(notes / "f.txt")
    told = bb3("index", str(notes), "--name", "home")
    assert told.code == 0
    for reason in ("a.txt: binary", "b.md: empty", "c.exe: not of a kind", "d.jsonl:1: no",
                   "d.jsonl:2: not JSON", "f.txt: not an ordinary file",
                   "1 characters were not UTF-8"):  # fmt: skip
        assert reason in told.out
    for number in range(30):
        (notes / f"{number}.bin").write_text("x")
    many = bb3("index", str(notes), "--name", "home")
    assert "and 26 more: not of a kind that is read (.bin)" in many.out
    assert len(bb3("index", str(notes), "--name", "home", "--json").json["reasons"]) == 36


def test_what_cannot_be_read_now_is_not_pruned(
    bb3: User, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bb3("index", str(notes), "--name", "home", "--json").json["documents"]
    read = Path.read_bytes
    (notes / "kettle.md").unlink()

    def refused(path: Path) -> bytes:
        if path.name == "lamp.txt":
            raise PermissionError(13, "Permission denied")
        return read(path)

    with monkeypatch.context() as locked:
        locked.setattr(Path, "read_bytes", refused)
        told = bb3("index", str(notes), "--name", "home", "--prune")
    assert "Permission denied" in told.out
    assert "Nothing was removed" in told.out
    assert f"{before:,} documents" in told.out
    pruned = bb3("index", str(notes), "--name", "home", "--prune", "--json").json
    assert (pruned["removed"], pruned["unreadable"]) == (1, 0)


def test_nothing_to_index_makes_and_prunes_nothing(bb3: User, notes: Path) -> None:
    empty = bb3.home / "empty"
    empty.mkdir()
    refused = bb3("index", str(empty), "--name", "home")
    assert refused.code == 1 and "nothing to index" in refused.err
    assert not index_file(bb3, "home").exists()
    bb3("index", str(notes), "--name", "home")
    assert bb3("index", str(empty), "--name", "home", "--prune").code == 1
    assert bb3("index", "--list", "--json").json[0]["documents"] == 5
    (empty / "x.bin").write_bytes(b"\0")
    assert "x.bin: binary" in bb3("index", str(empty / "x.bin"), "--name", "home").err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("/no/such/path", "--name", "x"), "/no/such/path"),
        (("x" * 300, "--name", "x"), "File name too long"),
        ((".",), "--name NAME"),
        (("--name", "x"), "nothing to index"),
        ((".", "--name", "../x"), "'../x'"),
        ((".", "--name", "a" * 99), "cannot name an index"),
        ((".", "--name", "wikipedia"), "demo corpus"),
        ((".", "--name", "x", "--set", "nope=1"), "nope"),
        ((".", "--name", "x", "--set", "nope"), "NAME=VALUE"),
        ((".", "--bogus"), "--bogus"),
    ],
)
def test_mistakes(bb3: User, args: tuple[str, ...], said: str) -> None:
    refused = bb3("index", *args)
    assert refused.code == 2 and said in refused.err
    assert not (bb3.data / "indexes").exists()


def test_a_damaged_index_is_told_and_hides_no_other(bb3: User, notes: Path) -> None:
    bb3("index", str(notes), "--name", "whole")
    index_file(bb3, "broken").write_bytes(b"this is no database " * 500)
    failed = bb3("index", str(notes), "--name", "broken")
    assert failed.code == 1
    assert "broken.sqlite" in failed.err and "bb3 index" in failed.err
    listed = {row["name"]: row for row in bb3("index", "--list", "--json").json}
    assert listed["whole"]["documents"] == 5 and "broken.sqlite" in listed["broken"]["error"]
    assert "broken.sqlite" in bb3("index", "--list").out


def test_a_data_folder_that_cannot_be_written(
    bb3: User, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bb3.home / "file").write_text("in the way")
    monkeypatch.setenv("BB3_DATA_DIR", str(bb3.home / "file" / "data"))
    failed = bb3("index", str(notes), "--name", "home")
    assert failed.code == 1 and "home.sqlite" in failed.err


def test_no_index_yet(bb3: User) -> None:
    assert "bb3 index PATH" in bb3("index", "--list").out
    assert bb3("index", "--list", "--json").json == []


def test_interrupted_it_can_be_used_and_goes_on(bb3: User) -> None:
    lines = (
        json.dumps({"title": f"Paper {i}", "url": f"x:{i}", "text": f"Paper {i} is on jazz. " * 20})
        for i in range(60_000)
    )
    (bb3.home / "papers.jsonl").write_text("\n".join(lines))
    process = bb3.start("index", "papers.jsonl", "--name", "papers")
    while process.poll() is None and _count(index_file(bb3, "papers")) < 500:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stopped = ended(process)
    assert stopped.code == 130
    assert "the same command goes on from there" in stopped.err
    (listed,) = bb3("index", "--list", "--json").json
    assert 500 <= listed["documents"] < 60_000
    found = bb3("search", "--search", "local:papers", "--set", "offline=1", "jazz paper", "--json")
    assert found.json["documents"]
    with (bb3.home / "papers.jsonl").open("r+") as file:  # go on, in a test's time
        for _ in range(listed["documents"] + 100):
            file.readline()
        file.truncate(file.tell())
    rest = bb3("index", "papers.jsonl", "--name", "papers", "--json").json
    assert (rest["added"], rest["unchanged"]) == (100, listed["documents"])


def _count(path: Path) -> int:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            return int(db.execute("SELECT count(*) FROM documents").fetchone()[0])
    except sqlite3.Error:
        return 0
