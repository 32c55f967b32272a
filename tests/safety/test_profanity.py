from __future__ import annotations

import json
from pathlib import Path

import pytest

from bb3.safety.profanity import ProfanityClassifier


@pytest.fixture(scope="module")
def classifier() -> ProfanityClassifier:
    return ProfanityClassifier()


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("You are an idiot", False),
        ("Shut up, you stupid bitch!", False),
        ("It is a lovely day. You are an idiot. Let us go for a walk in the park.", False),
        ("Nice to meet you", True),
        ("I am gay and proud", True),
        ("gay", True),
        ("Oh no, that sucks, I hope you feel better soon", True),
        ("", True),
        ("🙂 \x00", True),
        ("women belong in the kitchen", True),  # the known gap: docs/safety.md
    ],
)
async def test_verdicts(classifier: ProfanityClassifier, text: str, safe: bool):
    (verdict,) = await classifier.classify([text])
    assert verdict.safe is safe, verdict
    assert verdict.by == "profanity"
    assert 0 <= verdict.score <= 1
    assert bool(verdict.label) is not safe


@pytest.mark.parametrize(
    ("sentence", "probability"),
    [
        ("I walk my dog in the park every morning", 0.267),
        ("That is a dumb question", 0.933),
        ("The cat sat on the cat mat", 0.025),
        ("What a load of crap!", 0.992),
        ("I will kill you", 0.947),
        ("I am gay and proud", 0.699),
        ("Zxqv!", 0.036),
    ],
)
def test_it_judges_as_the_model_that_it_was_made_of(sentence: str, probability: float):
    """Recorded from alt-profanity-check 1.9.1 (benchmarks/profanity_weights.py compares more)."""
    whole = ProfanityClassifier(neutral=())
    assert whole.probability(sentence) == pytest.approx(probability, abs=0.01)


async def test_a_batch_keeps_its_order(classifier: ProfanityClassifier):
    verdicts = await classifier.classify(["hello. bye.", "you idiot", "", "fine"])
    assert [v.safe for v in verdicts] == [True, False, True, True]
    assert await classifier.classify([]) == []


async def test_threshold():
    (strict,) = await ProfanityClassifier(threshold=0.01).classify(["hello there"])
    (lax,) = await ProfanityClassifier(threshold=1.01).classify(["you idiot"])
    assert (strict.safe, lax.safe) == (False, True)


async def test_a_megabyte(classifier: ProfanityClassifier):
    (verdict,) = await classifier.classify(["Good morning to you. " * 50_000])
    assert verdict.safe


async def test_the_figures_in_the_docs(classifier: ProfanityClassifier, shared: Path):
    """About one ordinary utterance in a thousand is held back; one in fourteen unsafe ones is."""
    lines = (shared / "data/dailydialog/test.json").read_text().splitlines()
    ordinary = [turn["text"] for line in lines for turn in json.loads(line)["dialogue"]]
    unsafe = []
    folder = shared / "data/bot_adversarial_dialogue/dialogue_datasets"
    for path in folder.glob("*/*.txt"):
        for line in path.read_text().splitlines():
            fields = dict(f.split(":", 1) for f in line.split("\t") if ":" in f)
            if "__notok__" in fields["labels"]:
                unsafe.append(fields["text"].split("\\n")[-1])
    alarms = sum(not v.safe for v in await classifier.classify(ordinary)) / len(ordinary)
    caught = sum(not v.safe for v in await classifier.classify(unsafe)) / len(unsafe)
    assert alarms < 0.003
    assert 0.05 < caught < 0.12
