"""Which memories a turn may use."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from bb3.core.types import Memory, Speaker
from bb3.memory.retrieve import retrieve
from bb3.memory.rules import MemoryRules, available


def memory(text: str, turns: int = 0, **more: object) -> Memory:
    return Memory(speaker=Speaker.USER, text=text, turns_since_used=turns, **more)  # type: ignore[arg-type]


def golden_rules(options: dict[str, object]) -> MemoryRules:
    return MemoryRules(
        min_overlap=float(options.get("memory_overlap_threshold", 0.0)),  # type: ignore[arg-type]
        hard_block_turns=int(options.get("memory_hard_block_for_n_turns", 0)),  # type: ignore[call-overload]
        ignore_in_session=bool(options.get("ignore_in_session_memories", False)),
    )


def test_the_reference_lets_the_same_memories_through(shared: Path) -> None:
    cases = json.loads((shared / "golden/r2c2/utils.json").read_text())["get_available_memories"]
    assert len(cases) >= 6
    for case in cases:
        known = [
            memory(
                text.partition(": ")[2],
                turns,
                id=number,
                conversation="now" if text in case["in_session"] else "then",
            )
            for number, (text, turns) in enumerate(case["memories"].items(), start=1)
        ]
        rules = golden_rules(case["options"])
        allowed = available(known, case["text"], rules, conversation="now")
        theirs = [text.partition(": ")[2] for text in case["available"]]
        if len(allowed) < 32:
            assert [m.text for m in allowed] == theirs
            continue
        # From 32 on the reference sorts by shared BPE pieces, we by retrieval: docs/memory.md
        best = [m.text for m, _ in retrieve(case["text"], allowed, rules.max_memories)]
        assert len(best) == len(theirs) == 32
        asked = {w for w in ("jazz", "pizza", "guitar", "winter") if w in case["text"]}
        hits = {m.text for m in allowed if asked & set(m.text.split())}
        assert hits <= set(best)


def test_by_default_all_current_memories_are_available() -> None:
    known = [memory("I row."), memory("I was 30.", superseded_by=3), memory("I am 31.", id=3)]
    assert available(known, "anything", MemoryRules()) == [known[0], known[2]]


def test_overlap_counts_what_follows_the_last_colon() -> None:
    known = [memory("I like jazz"), memory("My car is red")]
    rules = MemoryRules(min_overlap=0.1)
    assert available(known, "Person 1: do you like jazz?", rules) == known[:1]
    assert available(known, "car: the weather", rules) == []
    assert available(known, "", rules) == []


def test_in_session_needs_a_running_conversation() -> None:
    known = [memory("I row.", conversation="a"), memory("I sail.", conversation=None)]
    rules = MemoryRules(ignore_in_session=True)
    assert available(known, "x", rules, conversation="a") == known[1:]
    assert available(known, "x", rules, conversation="b") == known
    assert available(known, "x", rules) == known


def test_hard_block() -> None:
    known = [memory(str(turns), turns) for turns in range(5)]
    assert available(known, "x", MemoryRules(hard_block_turns=3)) == known[3:]


def test_soft_block_is_likelier_the_fresher_a_memory_is_and_falls_by_the_dice() -> None:
    rules = MemoryRules(soft_block_decay=0.5)
    known = [memory("used now", 0), memory("one turn ago", 1), memory("long ago", 40)]
    kept = {m.text: 0 for m in known}
    for seed in range(400):
        for m in available(known, "x", rules, rng=random.Random(seed)):
            kept[m.text] += 1
    assert kept["used now"] == 0
    assert 150 < kept["one turn ago"] < 250
    assert kept["long ago"] == 400
    known = [replace(known[1], text=str(n)) for n in range(50)]
    once, twice = (available(known, "x", rules, rng=random.Random(4)) for _ in range(2))
    assert once == twice
    assert 0 < len(once) < 50


@pytest.mark.parametrize("count", [0, 1, 500])
def test_any_number_of_memories(count: int) -> None:
    known = [memory(f"I am {n}") for n in range(count)]
    assert available(known, "x", MemoryRules()) == known
