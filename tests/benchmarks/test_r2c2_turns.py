"""That the measurements of R2C2 measure what they say; without torch nothing here runs."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from bb3.core.types import Trace
from bb3.lm import desk

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = {"d_model": 16, "ffn": 32, "heads": 2, "layers": 1}


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("r2c2_turns")


@pytest.fixture
def network(turns: ModuleType, tmp_path: Path) -> Path:
    folder: Path = turns.write_network(tmp_path / "small", SMALL)
    return folder


async def test_conversations_have_no_input_in_common(
    turns: ModuleType, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = desk.encode
    read: list[Any] = []

    def note(model: Any, inputs: Any) -> Any:
        read.extend(inputs)
        return encode(model, inputs)

    monkeypatch.setattr(desk, "encode", note)
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(turns, "report", lambda name, rows, *_: told.extend(rows))
    one = (await turns.talk(network, 1, 1, together=False))[1]
    assert one > 10
    read.clear()
    await turns.measure_many(network, 1, 3)
    assert [row["inputs encoded"] for row in told] == [3 * one] * 2
    alone, together = read[: len(read) // 2], read[len(read) // 2 :]
    assert set(alone) == set(together)
    assert len(set(alone)) == len(alone)


async def test_tokens_are_measured_with_their_reading(
    turns: ModuleType, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "report", lambda *_: None)
    monkeypatch.setattr(turns, "STEPS", 3)
    with turns.counted() as passes:
        await turns.measure_tokens(network, 1)
    assert sum(passes) == 8  # four rounds, greedy and by beams


async def test_no_turn_is_encoded_before_it_is_measured(
    turns: ModuleType, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces: list[Trace] = []

    def replay(trace: Trace) -> list[tuple[str, float]]:
        traces.append(trace)
        return [("srm", 1.0)]

    monkeypatch.setattr(turns, "Reference", lambda *_: SimpleNamespace(replay=replay))
    monkeypatch.setattr(turns, "report", lambda *_: None)
    await turns.measure_turns(network, 1)
    assert len(traces) == len(turns.PLAN)
    for trace in traces:
        assert sum(call.tokens.cached for call in trace.calls) == 0
