"""Paths and addresses as people write them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bb3.app.places import path_of, shown, shown_in
from bb3.core.errors import UsageError

STARS = "**********"


def test_paths_are_absolute_and_of_ones_own_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert path_of("~/not/there") == tmp_path / "not" / "there"
    assert path_of("here.txt") == path_of(Path("here.txt")) == tmp_path / "here.txt"
    (tmp_path / "file").touch()
    assert path_of("file/below") == tmp_path / "file" / "below"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("~nosuch/x", "no such user"),
        ("x" * 300, "File name too long"),
        ("a\0b", "null (?:byte|character)"),
        ("loop", "symbolic links"),
    ],
)
def test_what_can_be_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(UsageError, match=why) as caught:
        path_of(text)
    assert len(str(caught.value)) < 300


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_where_one_may_not_look(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        with pytest.raises(UsageError, match="Permission denied"):
            path_of(tmp_path / "x")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://me:pw@host/x", f"https://{STARS}@host/x"),
        ("https://u:pa/ss@host", f"https://{STARS}@host"),
        ("https://u:p@ss@host", f"https://{STARS}@host"),
        ("https://token@host", f"https://{STARS}@host"),
        ("HTTPS://u:p a@host", f"HTTPS://{STARS}@host"),
        ("https://u:a://b,c@host", f"https://{STARS}@host"),
        ("postgresql+psycopg://ann:s:s@db:5432/bb3", f"postgresql+psycopg://{STARS}@db:5432/bb3"),
        ("openai:http://ann:pw@host/v1#m", f"openai:http://{STARS}@host/v1#m"),
        ("parlai:me:pw@host:8080", f"parlai:{STARS}@host:8080"),
        ("searxng:https://a:b@c,local", f"searxng:https://{STARS}@c,local"),
        (
            "brave, parlai:a:b@c,searxng:http://d:e@f,local",
            f"brave, parlai:{STARS}@c,searxng:http://{STARS}@f,local",
        ),
        *((same, same) for same in ("", "local", "local:a@b", "https://host/x", "me@home/x.gguf")),
    ],
)
def test_addresses_are_shown_without_who_asks(address: str, expected: str) -> None:
    assert shown(address) == expected


def test_in_a_sentence() -> None:
    said = "'ftp://me:pw@x' is no server; ask me@home or see https://help.example/a b@c."
    assert shown_in(said) == said.replace("me:pw", STARS)


@pytest.mark.parametrize("text", ["://" * 100_000, "://," * 100_000, "a" * 300_000, "@" * 300_000])
def test_long_texts_take_no_time(text: str) -> None:
    begun = time.monotonic()
    shown(text)
    assert time.monotonic() - begun < 2
