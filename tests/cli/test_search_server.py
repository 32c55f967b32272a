"""``bb3 search-server`` as a process of its own, asked by real clients."""

from __future__ import annotations

import io
import re
import signal
import socket

import httpx
import pytest

from bb3.cli import checkup
from tests.cli.conftest import User, ended

OFFLINE = ("--set", "offline=1")


@pytest.fixture
def home(bb3: User) -> User:
    (bb3.home / "a.txt").write_text("The copper kettle boils water.")
    assert bb3("index", "a.txt", "--name", "home", "--attribution", "By me").code == 0
    return bb3


def test_serves_until_interrupted(home: User) -> None:
    process = home.start("search-server", "-s", "local:home", "--port", "0", *OFFLINE)
    assert process.stdout is not None
    try:
        told = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", told)
        assert address, told
        assert "curl -d 'q=" in (hint := process.stdout.readline()) and address[0] in hint
        assert process.stdout.readline() == "By me\n"
        health = httpx.get(f"{address[0]}/health")
        assert health.json() == {"status": "ok", "provider": "local"}
        asked = httpx.post(address[0], data={"q": "copper kettle", "n": "3"}).json()
        assert [hit["title"] for hit in asked["response"]] == ["a"]
        # Another bb3 can search by it.
        found = home("search", "-s", f"parlai:{address[0]}", *OFFLINE, "copper kettle", "--json")
        assert found.json["documents"][0]["text"] == "The copper kettle boils water."
        # Who asks is nobody's business.
        name = f"parlai:me:s3cret%40@{address[0].removeprefix('http://')}"
        told = io.StringIO()
        checkup.main(["search"], {"search": f"{name},local:home", "offline": True}, told)
        for shown in (
            home("search", "-s", name, *OFFLINE, "copper kettle", "--json").out,
            home("search", "-s", name, *OFFLINE, "copper kettle").out,
            home("search", "-s", name, *OFFLINE, "zorblax").err,
            told.getvalue(),
        ):
            assert "parlai:**********@127.0.0.1:" in shown and "s3cret" not in shown
    finally:
        process.send_signal(signal.SIGINT)
        end = ended(process, 30)
    assert (end.code, end.out, "Interrupted" in end.err) == (0, "", False)


def test_who_asks_another_server_is_not_shown(home: User) -> None:
    name = "searxng:http://me:s3cret@127.0.0.1:9,local:home"
    process = home.start("search-server", "-s", name, "--port", "0", *OFFLINE)
    assert process.stdout is not None
    try:
        shown = process.stdout.readline()
        httpx.get(shown.split()[-5] + "/health")  # it serves
    finally:
        process.send_signal(signal.SIGINT)
        end = ended(process, 30)
    assert shown.startswith("searxng:http://**********@127.0.0.1:9,local:home is served")
    assert "s3cret" not in end.out + end.err
    for wrong in ("parlai:ftp://me:s3c@host", "searx:http://me:s3c@host"):
        refused = home("search-server", "-s", wrong, *OFFLINE)
        assert refused.code and "s3c" not in refused.err


def test_addresses_that_cannot_be_had(home: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for args in (("--port", str(port)), ("--port", "99999"), ("--host", "no.such.invalid")):
            refused = home("search-server", "-s", "local:home", *args, *OFFLINE)
            assert refused.code == 2 and "--port" in refused.err
            assert refused.out == ""


def test_mistakes(home: User) -> None:
    for args in (("-s", "none"), ("-s", "local:absent"), ("-s", "nonsense"), ("--port", "many")):
        assert home("search-server", *args, *OFFLINE).code == 2
    path = home.data / "indexes" / "home.sqlite"
    path.write_bytes(b"no database at all " * 300)
    failed = home("search-server", "-s", "local:home", *OFFLINE)
    assert failed.code == 1 and str(path) in failed.err
