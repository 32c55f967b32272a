"""Processes that are killed, that write at once, that open a fresh store at once; full disks."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bb3.core.errors import StoreError
from bb3.core.types import Memory, Speaker, Turn, TurnStatus
from bb3.store import open_store

WRITER = Path(__file__).with_name("writer.py")


def write(where: str, user: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(WRITER), where, user, *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


def committed(output: str) -> list[dict[str, Any]]:
    """What the writer printed; a last line that was cut by the kill counts for nothing."""
    return [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith("\n")]


async def missing(where: str, user: str, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was committed and is not there any more."""
    store = await open_store(where)
    texts: dict[str, str] = {}
    for thing in told:
        if thing["kind"] == "conversation":
            texts |= {turn.id: turn.text for turn in await store.turns(thing["id"])}
    memories = {m.id: m.text for m in await store.memories(user, superseded=True)}
    lost = []
    for thing in told:
        match thing["kind"]:
            case "turn":  # a draft may have grown since
                there = texts.get(thing["id"], "").startswith(thing["text"])
            case "memory":
                there = memories.get(thing["id"]) == thing["text"]
            case "trace":
                there = await store.trace(thing["id"]) is not None
            case _:
                there = await store.latest_conversation(user) is not None
        if not there:
            lost.append(thing)
    await store.aclose()
    return lost


async def test_kill_9_loses_nothing_that_was_committed(where: str) -> None:
    dice, told = random.Random(20), []
    for _ in range(6):
        process = write(where, "ada")
        assert process.stdout is not None
        told += committed(process.stdout.readline())  # it is open and has begun
        time.sleep(0.02 + dice.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        output, errors = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL, errors
        told += committed(output)
    assert len(told) > 60
    assert await missing(where, "ada", told) == []
    if "://" not in where:
        with sqlite3.connect(where) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()


async def test_kill_9_while_a_fresh_store_is_made(tmp_path: Path) -> None:
    where, dice = str(tmp_path / "bb3.db"), random.Random(21)
    for _ in range(5):
        process = write(where, "ada", "1")
        time.sleep(0.25 + dice.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    assert await missing(where, "ada", []) == []


async def test_processes_that_open_and_write_at_once_lose_nothing(where: str) -> None:
    processes = {user: write(where, user, "8") for user in ("ada", "ben", "eve")}
    told = {}
    for user, process in processes.items():
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        told[user] = committed(output)
    for user, things in told.items():
        assert len(things) == 1 + 8 * 11
        assert await missing(where, user, things) == []


async def fill(where: str) -> tuple[str, list[Turn], StoreError]:
    """Write until the store refuses; what it took, and the refusal."""
    store = await open_store(where)
    conversation = await store.start_conversation("ada")
    taken: list[Turn] = []
    draft = Turn(speaker=Speaker.BOT, text="", status=TurnStatus.DRAFT)
    with pytest.raises(StoreError) as caught:
        for n in range(3000):
            await store.save_turn(conversation.id, draft)
            turn = Turn(speaker=Speaker.USER, text=f"{n} " + "x" * 3000)
            await store.save_turn(conversation.id, turn)
            taken.append(turn)
    turns = await store.turns(conversation.id)
    assert [t for t in turns if t.id != draft.id] == taken
    await store.aclose()
    return conversation.id, taken, caught.value


async def test_a_full_disk_is_said_and_loses_nothing(small_disk: Path) -> None:
    where = str(small_disk / "bb3.db")
    (small_disk / "ballast").write_bytes(b"x" * 500_000)
    conversation, taken, error = await fill(where)
    assert where in str(error)
    assert "disk is full" in str(error)
    assert len(taken) > 20
    (small_disk / "ballast").unlink()
    store = await open_store(where)
    await store.add_memory("ada", Memory(speaker=Speaker.USER, text="I row."))
    assert (await store.turns(conversation))[-1].text == taken[-1].text
    await store.aclose()


async def test_a_store_that_cannot_be_made_on_a_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file, pytest.raises(OSError, match="No space"):
        while True:
            os.write(file.fileno(), b"x" * 4096)
    with pytest.raises(StoreError, match=r"disk is full|disk fails"):
        await open_store(str(small_disk / "bb3.db"))
    ballast.unlink()
    store = await open_store(str(small_disk / "bb3.db"))
    assert await store.memories("ada") == []
    await store.aclose()
