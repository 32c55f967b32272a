"""What the measurements take from the settings of whoever runs them."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from bb3.core.errors import AssetError
from bb3.core.ports import ScoreResult
from bb3.lm.scripted import ScriptedModel

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Imports a benchmark, as it is when its script is run; in a working folder of its own."""
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == BENCHMARKS:
            del sys.modules[name]


async def test_decisions_are_judged_by_the_thresholds_in_force(
    script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bb3.toml").write_text(
        "model = 'other'\ndialect = 'fewshot'\n[thresholds]\nsdm = 3.5\n"
    )

    class Scoring(ScriptedModel):
        async def score(self, request, continuations):
            self.requests.append(request)
            return ScoreResult(logprobs=(0.0, -float(len(request.prompt.written_out()))))

    model = Scoring({}, dialect="chat", name="other")
    told = []

    async def opened(settings, registry, fetch):
        assert settings.model == "other"
        return model

    decisions = script("decisions")
    monkeypatch.setattr(decisions, "open_model", opened)
    monkeypatch.setattr(decisions, "report", lambda *given: told.extend(given))
    await decisions.measure({})
    _, rows, _, notes = told
    assert {(row["decision"], row["in force"]) for row in rows} == {("sdm", 3.5), ("mdm", 0.0)}
    assert notes == ["model other, dialect fewshot"]
    assert all(request.prompt.text for request in model.requests)  # as that dialect writes them
    assert model.closed


async def test_the_embedded_model_is_looked_for_where_the_settings_say(
    script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bb3.toml").write_text(f"offline = true\ncache_dir = '{tmp_path / 'cache'}'\n")
    monkeypatch.setattr(sys, "argv", ["lm_prefix.py"])
    with pytest.raises(AssetError, match="`offline` is set"):
        await script("lm_prefix").main()
