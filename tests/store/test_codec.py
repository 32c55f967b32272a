"""Traces to text and back."""

from __future__ import annotations

import json
import math
from array import array
from dataclasses import fields
from datetime import UTC, datetime

import pytest

from bb3.core.errors import StoreError
from bb3.core.events import Decision, Documents, event_data
from bb3.core.types import (
    Document,
    Memory,
    MemoryOrigin,
    ModuleCall,
    Speaker,
    TokenCounts,
    Trace,
    Turn,
    TurnStatus,
)
from bb3.store.codec import dump_trace, load_trace, plain

WHEN = datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC)


def full_trace() -> Trace:
    """A trace in which no field has its default."""
    turn = Turn(speaker=Speaker.USER, text="Hi \ud83d \0 “ü”\n", id="t", at=WHEN)
    return Trace(
        conversation="c",
        user=turn,
        reply=Turn(speaker=Speaker.BOT, text="Yo", at=WHEN, status=TurnStatus.INTERRUPTED),
        id="trace",
        history=(turn, turn),
        memories=(
            Memory(
                speaker=Speaker.BOT,
                text="I row.",
                id=3,
                origin=MemoryOrigin.PERSONA,
                conversation="c",
                message="m",
                created_at=WHEN,
                updated_at=WHEN,
                turns_since_used=4,
                superseded_by=9,
                vector=array("f", [1.0]),
            ),
        ),
        earlier={"skm": ("Oslo is big.", "It is old."), "ckm": ()},
        persona=("I am a sailor.",),
        calls=(
            ModuleCall(
                module="sdm",
                dialect="opt",
                prompt="p",
                documents=("d", "e"),
                output="o",
                raw="r",
                logprob=-math.inf,
                started_ms=1.5,
                ms=2.25,
                tokens=TokenCounts(prompt=1, cached=2, generated=3),
                seed=4,
                error="none",
                edited=True,
            ),
        ),
        query="q",
        documents=(Document(title="T", text="x", url="u", score=0.1),),
        recalled=("a",),
        written=("b",),
        events=({"kind": "decision", "margin": None, "deep": {"list": [1, {"x": True}]}},),
        pipeline={"name": "bb3", "srm": {"top_p": 0.9}},
        model="m",
        seed=2**62,
        ms=1e-9,
        first_token_ms=12.0,
    )


def test_nothing_is_lost_but_vectors() -> None:
    trace = full_trace()
    again = load_trace(dump_trace(trace))
    assert again == trace
    assert again.memories[0].vector is None
    assert dump_trace(again) == dump_trace(trace)


def test_the_sample_leaves_no_field_at_its_default() -> None:
    """So that a field added to a type later is covered by the test above or fails here."""
    trace = full_trace()
    bare = Trace(conversation="", user=Turn(speaker=Speaker.BOT, text=""))
    call, bare_call = trace.calls[0], ModuleCall(module="", dialect="", prompt="")
    memory, bare_memory = trace.memories[0], Memory(speaker=Speaker.USER, text="")
    for one, other in ((trace, bare), (call, bare_call), (memory, bare_memory)):
        for field in fields(one):
            value = getattr(one, field.name)
            assert value != getattr(other, field.name), f"{type(one).__name__}.{field.name}"


def test_the_smallest_trace() -> None:
    trace = Trace(conversation="c", user=Turn(speaker=Speaker.USER, text="Hi"))
    assert load_trace(dump_trace(trace)) == trace


def test_fields_of_a_newer_version_are_skipped_and_missing_ones_take_defaults() -> None:
    data = json.loads(dump_trace(full_trace()))
    data["mood"] = "blue"
    data["calls"][0]["cost"] = {"eur": 1}
    data["user"]["language"] = "en"
    del data["query"]
    del data["calls"][0]["tokens"]["cached"]
    trace = load_trace(json.dumps(data))
    assert trace.query == ""
    assert trace.calls[0].tokens == TokenCounts(prompt=1, generated=3)
    assert trace.user == full_trace().user


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_floats_json_cannot_say(value: float) -> None:
    call = ModuleCall(module="sdm", dialect="opt", prompt="", logprob=value)
    turn = Turn(speaker=Speaker.USER, text="Hi")
    trace = Trace(conversation="c", user=turn, calls=(call,), events=({"margin": value},))
    text = dump_trace(trace)
    json.loads(text, parse_constant=pytest.fail)  # strict JSON
    again = load_trace(text).calls[0].logprob
    assert again is not None
    assert repr(again) == repr(value)


def test_events_of_a_turn_can_be_kept() -> None:
    documents = Documents(documents=(Document(title="T", text="x"),))
    events = tuple(event_data(e) for e in (Decision(module="sdm", yes=True), documents))
    trace = Trace(conversation="c", user=Turn(speaker=Speaker.USER, text=""), events=events)
    assert load_trace(dump_trace(trace)).events == tuple(plain(events))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"conversation": "c"}', '{"user": 3, "conversation": "c"}'],
)
def test_what_is_no_trace(text: str) -> None:
    with pytest.raises(StoreError, match="trace cannot be read"):
        load_trace(text)


def test_an_unknown_value_of_a_known_field() -> None:
    data = json.loads(dump_trace(full_trace()))
    data["user"]["speaker"] = "cat"
    with pytest.raises(StoreError, match="cat"):
        load_trace(json.dumps(data))


def test_what_has_no_plain_form() -> None:
    with pytest.raises(TypeError, match="object"):
        plain({"x": object()})
