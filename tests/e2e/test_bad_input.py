"""Bad input, said to the real program: one clear message, no traceback, nothing lost."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import BB3, Home

pytestmark = pytest.mark.model

PLAIN = ("--user", "anna", "--preset", "bb1")
"""Where it is not about the modules, the quickest pipeline will do."""


def refused(home: Home, *args: str, code: int, says: tuple[str, ...]) -> None:
    """The command fails with this code and one short message, which has these words."""
    done = home.run(*args)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3, done.stderr
    for words in says:
        assert words in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("--model", "no-such-model"), 2, ("no-such-model", "smollm2-135m")),
        (("--model", "/no/such/file.gguf"), 1, ("/no/such/file.gguf",)),
        (("--search", "local:nothing"), 2, ("nothing", "bb3 index")),
        (("--search", "telepathy"), 2, ("telepathy", "duckduckgo")),
        (("--preset", "bb9"), 2, ("bb9", "seeker")),
        (("--safety", "maybe"), 2, ("safety", "none")),
        (("--persona", "/no/such/persona"), 2, ("/no/such/persona",)),
        (("--set", "srm.top_p=7"), 2, ("srm.top_p", "7")),
        (("--set", "nonsense"), 2, ("nonsense", "NAME=VALUE")),
        (("--set", "pipeline.serch=always"), 2, ("pipeline.serch",)),
        (("--user", "a\nb"), 2, ("name",)),
        (("--model", "openai:http://127.0.0.1:9#m", "--set", "server.retries=0"), 1, ("127.0",)),
        (("--model", "openai:ftp://x#m"), 2, ("ftp://x",)),
        (("--set", "store=/dev/null/x.sqlite"), 1, ("/dev/null",)),
    ],
)  # fmt: skip
def test_wrong_options(home: Home, args: tuple[str, ...], code: int, says: tuple[str, ...]) -> None:
    refused(home, "chat", "--message", "Hi", *args, code=code, says=says)


@pytest.mark.parametrize("damage", ["cut", "noise", "text"])
def test_a_damaged_model_file(home: Home, smollm_path: Path, damage: str) -> None:
    path = home.data_dir / "damaged.gguf"
    data = smollm_path.read_bytes()
    half = len(data) // 2
    path.write_bytes(
        {"cut": data[:half], "noise": data[:64] + os.urandom(4096), "text": b"not a model"}[damage]
    )
    refused(home, "chat", "--message", "Hi", "--model", str(path), code=1, says=("damaged.gguf",))


def test_a_damaged_store_is_left_as_it_is(home: Home) -> None:
    path = home.data_dir / "bb3.sqlite"
    path.write_bytes(b"this is no database, but somebody may need it" * 100)
    before = path.read_bytes()
    refused(home, "chat", "--message", "Hi", code=1, says=("bb3.sqlite",))
    assert path.read_bytes() == before


def test_an_unreachable_search_does_not_stop_the_conversation(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"parlai:http://127.0.0.1:{taken.getsockname()[1]}"
        (turn,) = home.turns("Who wrote Hamlet?", args=("--search", url))
    assert turn["reply"] and turn["documents"] == []
    (degraded,) = [event for event in turn["events"] if event["kind"] == "degraded"]
    assert degraded["step"] == "search"
    assert degraded["reason"] not in turn["reply"]


def test_a_model_server_that_is_away_while_another_model_stands_in(home: Home) -> None:
    away = ("--model", "openai:http://127.0.0.1:9#big", "--set", "server.retries=0")
    other = ("--set", "fallback_model=smollm2-135m", "--search", "none")
    done = home.run("chat", *PLAIN, *away, *other, text="Hello!\nHow are you?\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Bot:") == 2
    assert "127.0.0.1:9" in done.stderr and "Traceback" not in done.stderr


def test_a_search_server_that_answers_nonsense(home: Home, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<html>not what was asked</html>")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    server = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        _wait_for(port)
        (turn,) = home.turns(
            "Who wrote Hamlet?", args=("--search", f"parlai:http://127.0.0.1:{port}")
        )
    finally:
        server.kill()
        server.wait()
    assert turn["reply"]
    assert [e["step"] for e in turn["events"] if e["kind"] == "degraded"] == ["search"]


def _wait_for(port: int) -> None:
    for _ in range(100):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("the server did not start")


def test_a_message_of_a_megabyte_is_refused_and_the_next_one_answered(home: Home) -> None:
    text = "x" * 1_000_000 + "\nHello there!\n"
    done = home.run("chat", *PLAIN, text=text)
    assert done.returncode == 1
    assert "1,000,000 characters" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("Bot:") == 1, "the second message was answered"


def test_a_line_that_is_not_utf8_is_refused_and_the_next_one_answered(home: Home) -> None:
    done = home.run("chat", *PLAIN, text=b"caf\xe9 au lait\nHello there!\n")
    assert done.returncode == 1
    assert "not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("Bot:") == 1


@pytest.mark.parametrize(
    "message", ["", "   ", "\x00\x07", b"\xff\xfe".decode("utf-8", "surrogateescape")]
)
def test_messages_that_are_none(home: Home, message: str) -> None:
    if "\x00" in message:  # cannot be in argv
        done = home.run("chat", "--user", "anna", text="\x00\x07\n")
    else:
        done = home.run("chat", "--user", "anna", "--message", message)
    assert "Traceback" not in done.stderr
    assert "Bot:" not in done.stdout


def test_control_characters_of_a_message_do_not_reach_the_terminal(home: Home) -> None:
    done = home.run("chat", *PLAIN, text="Hello \x1b[31mred\x1b[0m there\n")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_is_told_and_loses_nothing(home: Home, tmp_path: Path) -> None:
    disk = tmp_path / "small"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", disk],
                      capture_output=True).returncode:  # fmt: skip
        pytest.skip("no tmpfs can be mounted here")
    try:
        store = f"store={disk}/bb3.sqlite"
        (turn,) = home.turns("I have a dog called Bubbles.", args=("--set", store))
        assert turn["written"]
        room = os.statvfs(disk)
        (disk / "filler").write_bytes(b"x" * (room.f_bavail * room.f_bsize))
        said = "".join(f"Tell me more {n}!\n" for n in range(4))
        done = home.run("chat", "--user", "anna", "--set", store, text=said)
        assert "Traceback" not in done.stderr
        assert "full" in (done.stdout + done.stderr)
        (disk / "filler").unlink()
        again = home.run("chat", "--user", "anna", "--set", store, text="/memories\n")
        assert "Bubbles" in again.stdout, again.stderr
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def test_two_processes_on_one_store(home: Home) -> None:
    """Both write at once; all of it is there."""
    facts = ("I have a dog called Bubbles.", "I live in Bergen.")
    with ThreadPoolExecutor(2) as pool:
        turns = list(pool.map(lambda fact: home.turns(fact)[0], facts))
    assert all(turn["written"] for turn in turns)
    (turn,) = home.turns("Good evening!", args=("--preset", "bb1"))
    assert sorted(memory["text"] for memory in turn["memories"]) == sorted(facts)


@pytest.mark.parametrize("after", ["deciding", "streaming", "replied"])
def test_killed_in_the_middle_of_a_turn(home: Home, after: str) -> None:
    """kill -9: what was on the screen is in the store, which opens clean."""
    home.turns("I have a dog called Bubbles.")
    shown = ""
    with subprocess.Popen(
        [BB3, "chat", "--user", "anna"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=home.env(), cwd=home.data_dir, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"Tell me about volcanoes.\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"You: Tell me about volcanoes.\n"
        if after == "replied":
            while not shown.startswith("Bot: "):
                shown = process.stdout.readline().decode()
        elif after == "streaming":
            _wait_for_draft(home.data_dir / "bb3.sqlite")
        else:
            time.sleep(0.3)
        process.send_signal(signal.SIGKILL)

    with closing(sqlite3.connect(home.data_dir / "bb3.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    (turn,) = home.turns("Good evening!", args=("--continue", "--preset", "bb1"))
    assert turn["memories"][0]["text"] == "I have a dog called Bubbles."
    prompts = "\n".join(call["prompt"] for call in turn["trace"]["modules"])
    if after != "deciding":
        assert "Tell me about volcanoes." in prompts, "the user's message was kept"
    if after == "replied":
        assert shown.removeprefix("Bot: ").strip() in prompts, "the reply was kept"


def _wait_for_draft(path: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            if database.execute("SELECT 1 FROM turns WHERE status = 'draft'").fetchone():
                return
        time.sleep(0.02)
    raise AssertionError("no draft of a reply appeared")


def test_a_reader_that_goes_away_is_no_error(home: Home) -> None:
    done = subprocess.run(
        f"printf 'Hello!\\nWho are you?\\n' | {BB3} chat --preset bb1 | head -n 1",
        shell=True, capture_output=True, env=home.env(), timeout=120, cwd=home.data_dir,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr


def test_without_a_network_the_remedy_is_named(
    elsewhere: Callable[..., Home], tmp_path: Path
) -> None:
    home = elsewhere(BB3_CACHE_DIR=str(tmp_path / "empty"), BB3_OFFLINE="yes")
    refused(home, "chat", "--message", "Hi", code=1, says=("smollm2-135m", "bb3 models pull"))
