"""``bb3 search`` on indexes and servers that are really there."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import User

OFFLINE = ("--set", "offline=1")  # by words alone, without the embedding model


@pytest.fixture
def home(bb3: User) -> User:
    """A user with an index ``home``."""
    rows = [
        {"title": "Kettle", "url": "x:kettle", "text": "The copper kettle boils water. " * 9},
        {"title": "Copper", "url": "x:copper", "text": "Copper is a metal; a kettle is made of it"},
        {"title": "Markup", "url": "x:m", "text": "Text with [bold red]brackets[/] and :smile:."},
    ]
    (bb3.home / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert bb3("index", "rows.jsonl", "--name", "home").code == 0
    return bb3


def test_results_for_people(home: User) -> None:
    found = home("search", "-s", "local:home", *OFFLINE, "copper", "kettle")
    assert found.code == 0
    assert "1. Kettle" in found.out and "x:copper" in found.out
    assert "2 found by local:home in" in found.out
    assert all(len(line) <= 80 for line in found.out.splitlines())
    assert "[bold red]brackets[/] and :smile:" in home(
        "search", "-s", "local:home", *OFFLINE, "brackets markup"
    ).out  # fmt: skip


def test_results_for_scripts(home: User) -> None:
    found = home("search", "-s", "local:home", *OFFLINE, "-k", "1", "--json", "copper kettle").json
    assert [set(d) for d in found["documents"]] == [{"title", "text", "url", "score"}]
    assert found["query"] == "copper kettle" and found["search"] == "local:home"


def test_results_cannot_steer_the_terminal(home: User) -> None:
    steer = "\x1b]0;title\x07\x1b]52;c;aGFjaw==\x07\x9b2J"
    row = {"title": f"{steer}Title", "url": f"x:{steer}", "text": f"The gong {steer} sounds."}
    (home.home / "steer.jsonl").write_text(json.dumps(row))
    args = ("index", "steer.jsonl", "--name", "steer", "--attribution", f"By {steer}me")
    assert home(*args).code == 0
    for shown in (
        home("search", "-s", "local:steer", *OFFLINE, "gong"),
        home("index", "--list"),
    ):
        assert shown.code == 0 and "me" in shown.out
        assert not set(shown.out + shown.err) & {"\x1b", "\x07", "\x9b"}
    found = home("search", "-s", "local:steer", *OFFLINE, "gong", "--json")
    assert not set(found.out) & {"\x1b", "\x07", "\x9b"}
    assert found.json["documents"][0]["title"] == row["title"], "scripts get what was there"


def test_nothing_found_is_no_failure(home: User) -> None:
    nothing = home("search", "-s", "local:home", *OFFLINE, "zorblax")
    assert (nothing.code, nothing.out) == (0, "")
    assert "has nothing on that" in nothing.err
    assert home("search", "-s", "local:home", *OFFLINE, "--json", "zorblax").json["documents"] == []


def test_a_huge_query(home: User) -> None:
    begun = time.monotonic()
    assert home("search", "-s", "local:home", *OFFLINE, "copper kettle " * 9000).code == 0
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("-s", "none", "x"), "switched off"),
        (("-s", "nonsense", "x"), "'nonsense'"),
        (("-s", "local:absent", "x"), "There are: home"),
        (("-s", "local:../x", "x"), "'../x'"),
        (("-s", "local:home", "  "), "empty"),
        (("-s", "local:home", "-k", "0", "x"), "-k"),
        (("-s", "local:home", "-k", "many", "x"), "-k"),
        (("-s", "local:home"), "QUERY"),
    ],
)
def test_mistakes(home: User, args: tuple[str, ...], said: str) -> None:
    refused = home("search", *OFFLINE, *args)
    assert refused.code == 2 and said in refused.err


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses such arguments itself")
def test_a_query_that_is_not_utf8(home: User) -> None:
    refused = home.process("search", "-s", "local:home", *OFFLINE, b"caf\xe9")
    assert refused.code == 2 and "not UTF-8" in refused.err


def test_a_damaged_index(home: User) -> None:
    path = home.data / "indexes" / "home.sqlite"
    path.write_bytes(b"no database at all " * 300)
    failed = home("search", "-s", "local:home", *OFFLINE, "kettle")
    assert failed.code == 1 and str(path) in failed.err


def test_a_server_that_is_not_there(bb3: User) -> None:
    failed = bb3("search", "-s", "parlai:http://127.0.0.1:9", *OFFLINE, "kettle")
    assert failed.code == 1 and "127.0.0.1:9" in failed.err


def test_the_demo_corpus_cannot_be_had(bb3: User) -> None:
    failed = bb3("search", *OFFLINE, "kettle")
    assert failed.code == 1 and "bb3 models pull wikipedia-vital-en" in failed.err


def test_into_a_pipe_that_closes(home: User, tmp_path: Path) -> None:
    process = home.start("search", "-s", "local:home", *OFFLINE, "copper kettle")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(60) == 0
    complaints = process.stderr.read()
    process.stderr.close()
    assert "Traceback" not in complaints and "BrokenPipe" not in complaints


@pytest.mark.assets
def test_the_demo_corpus(real_assets: User) -> None:
    found = real_assets("search", "--json", "What is the capital of Norway?").json
    assert "Oslo" in found["documents"][0]["text"]
    shown = real_assets("search", "Who painted the Mona Lisa?")
    assert shown.code == 0 and "Leonardo" in shown.out
