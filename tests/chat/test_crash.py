"""kill -9 in every phase of a turn: nothing that was shown is lost, nothing is corrupt."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bb3.core.types import Speaker, TurnStatus
from tests.chat.conftest import kinds, of_kind, told
from tests.chat.crashing import MESSAGES

ROOT = Path(__file__).parents[2]
PHASES = [
    ("asked", 2, None),
    ("working", 2, "sdm"),
    ("working", 2, "search"),
    ("documents", 2, None),
    ("working", 2, "srm"),
    ("token", 1, None),
    ("token", 3, None),
    ("token", 11, None),
    ("reply", 1, None),
    ("reply", 2, None),
    ("working", 3, "mgm"),
    ("remembered", 1, None),
    ("done", 1, None),
    ("done", 2, None),
]


def killed_at(database: Path, kind: str, count: int, step: str | None) -> list[dict]:
    """Run the talking process until the count-th line of a kind, then kill it; what it said."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chat.crashing", str(database)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        lines = []
        for line in process.stdout:
            lines.append(json.loads(line))
            count -= lines[-1]["kind"] == kind and step in (None, lines[-1].get("step"))
            if count == 0:
                process.kill()
                break
        else:
            pytest.fail(f"it ended before {kind}")
        lines += [json.loads(line) for line in process.stdout if line.endswith("\n")]
        process.wait()
        assert process.returncode == -9
    return lines


@pytest.mark.parametrize(("kind", "count", "step"), PHASES)
async def test_killed(tmp_path, build, kind, count, step):
    database = tmp_path / "bb3.sqlite"
    shown = killed_at(database, kind, count, step)
    with sqlite3.connect(database) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    connection.close()

    house = await build()
    session = await house.session()
    stored = session.turns
    asked = [line["text"] for line in shown if line["kind"] == "asked"]
    users = [t.text for t in stored if t.speaker is Speaker.USER]
    begun = [line for line in shown if line["kind"] in ("working", "asked")]
    assert users == asked or (begun[-1]["kind"] == "asked" and users == asked[:-1])

    bots = [t for t in stored if t.speaker is Speaker.BOT]
    replies = [line["text"] for line in shown if line["kind"] == "reply"]
    assert [t.text for t in bots][: len(replies)] == replies
    unfinished = ""
    for line in shown:
        if line["kind"] == "token":
            unfinished += line["text"]
        elif line["kind"] == "reply":
            unfinished = ""
    if unfinished:
        assert bots[len(replies)].text.startswith(unfinished.strip())
        assert len(bots) == len(replies) + 1
    assert all(t.status in (TurnStatus.COMPLETE, TurnStatus.DRAFT) for t in bots)

    written = [line["memory"]["text"] for line in shown if line["kind"] == "remembered"]
    known = [memory.text for memory in await session.book.known()]
    assert known[: len(written)] == written
    for line in shown:
        if line["kind"] == "done":
            assert (await house.agent.store.trace(line["trace"])).reply is not None

    events = await told(house.agent, session, "And now?")  # and it goes on
    assert of_kind(events, "reply")
    assert kinds(events)[-1] == "done"
    assert len(await house.agent.store.turns(session.conversation.id)) == len(stored) + 2


def test_the_process_ends_by_itself_when_nobody_kills_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.chat.crashing", str(tmp_path / "bb3.sqlite")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in told if line["kind"] == "asked"] == list(MESSAGES)
    assert told[-1] == {"kind": "end"}
    assert done.stderr == ""
