"""``bb3 config``: values and where they come from."""

from __future__ import annotations

import os

import pytest

from tests.cli.conftest import User


def test_every_value_with_its_layer(bb3: User, monkeypatch: pytest.MonkeyPatch) -> None:
    bb3.settings("search = 'none'\n[retrieval]\ntimeout_s = 7.5\n")
    monkeypatch.setenv("BB3_RETRIEVAL__API_KEY", "s3cret")
    monkeypatch.setenv("BB3_SAFETY", "words")
    shown = bb3("config", "show", "--json", "--set", "srm.top_p=0.8", "-m", "x.gguf")
    rows = {row["name"]: (row["value"], row["from"]) for row in shown.json}
    assert rows["search"] == ("none", "bb3.toml")
    assert rows["retrieval.timeout_s"] == ("7.5", "bb3.toml")
    assert rows["safety"] == ("words", "environment BB3_SAFETY")
    assert rows["modules.srm.top_p"] == ("0.8", "command line")
    assert rows["model"] == ("x.gguf", "command line")
    assert rows["offline"] == ("False", "default")
    assert rows["retrieval.api_key"] == ("**********", "environment BB3_RETRIEVAL__API_KEY")
    table = bb3("config", "show")
    assert table.code == 0 and "s3cret" not in table.out + shown.out
    line = next(line for line in table.out.splitlines() if line.startswith("safety "))
    assert line.split() == ["safety", "words", "environment", "BB3_SAFETY"]


def test_passwords_in_addresses_are_not_shown(bb3: User) -> None:
    url = "postgresql+psycopg://ann:s3cret:s3cret@db.example:5432/bb3"
    model = "openai:http://ann:s3cret@h.example/v1#m"
    for shown in (
        bb3("config", "show", "--set", f"store={url}", "-m", model),
        bb3("config", "show", "--json", "--set", f"store={url}", "-m", model),
    ):
        assert "s3cret" not in shown.out
        assert "://**********@db.example:5432/bb3" in shown.out
        assert "://**********@h.example/v1#m" in shown.out


def test_lists_may_be_given_as_one_text(bb3: User, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [bb3.home / name for name in ("one.toml", "two.toml")]
    for path in lists:
        path.write_text("")
    monkeypatch.setenv("BB3_ASSETS", os.pathsep.join(map(str, lists)))
    rows = {row["name"]: row["value"] for row in bb3("config", "show", "--json").json}
    assert all(str(path) in rows["assets"] for path in lists)


def test_path(bb3: User) -> None:
    bb3.settings("")
    user, here = bb3("config", "path", "--json").json
    assert user == {"path": str(bb3.home / "config" / "bb3" / "bb3.toml"), "exists": False}
    assert here == {"path": str(bb3.home / "bb3.toml"), "exists": True}
    assert "(not there)" in bb3("config", "path").out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not toml [", "bb3.toml cannot be read"),
        ("nonsense = 1", "nonsense (bb3.toml) is not a setting"),
        ("safety = 'much'", "safety (bb3.toml)"),
        ("[modules.xyz]\ntop_p = 1", "no module 'xyz'"),
        ("preset = 'bb9'", "no preset 'bb9'"),
    ],
)
def test_mistakes_in_the_file(bb3: User, text: str, said: str) -> None:
    bb3.settings(text)
    refused = bb3("config", "show")
    assert refused.code == 2 and said in refused.err


def test_bytes_that_are_no_text(bb3: User) -> None:
    (bb3.home / "bb3.toml").write_bytes(b"\xff\xfe\x00")
    assert bb3("config", "show").code == 2
    assert bb3("config", "path").code == 0
