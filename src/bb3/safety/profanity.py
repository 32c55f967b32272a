"""A classifier of insults and threats that works offline: a linear model over single words.

Its weights are those of ``alt-profanity-check`` 1.9.1 (MIT), trained on public comments:
logistic regression over TF-IDF, its five calibrated folds averaged into one. They are read from
``profanity.tsv``, so that neither scikit-learn nor a pickle is needed. It does not see hate
without swear words, nor irony, nor context. Figures and limits: docs/safety.md.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from importlib import resources

from bb3.core.ports import Verdict
from bb3.safety.sentences import sentences

# fmt: off
NEUTRAL = frozenset({
    "bisexual", "gay", "gays", "homosexual", "homosexuals", "lesbian", "lesbians", "queer",
    "queers", "sucks", "trans", "transgender",
})
# fmt: on
"""Words that the model takes for insults all by themselves: names of people's orientation, and
the "that sucks" of sympathy. It does not see them, so that "I am gay" passes and "I hate gay
people" is judged by the rest.
"""
_TOKEN = re.compile(r"\b\w\w+\b")


class ProfanityClassifier:
    """Judges each sentence of a text; the worst one counts.

    Args:
        threshold: probability from which a sentence is unsafe. The default was chosen so that
            about one in a thousand ordinary utterances is held back (docs/safety.md).
        neutral: words that it is not to see.
    """

    name = "profanity"

    def __init__(self, threshold: float = 0.95, *, neutral: Collection[str] = NEUTRAL) -> None:
        self.threshold = threshold
        self._bias, weights = load_weights()
        self._weights = {word: row for word, row in weights.items() if word not in neutral}

    async def classify(
        self, texts: Sequence[str], contexts: Sequence[Sequence[str]] | None = None
    ) -> list[Verdict]:
        """Verdicts in the order of the texts; ``contexts`` are not looked at."""
        return await asyncio.to_thread(lambda: [self._verdict(text) for text in texts])

    def _verdict(self, text: str) -> Verdict:
        score = max(self.probability(sentence) for sentence in sentences(text))
        if score < self.threshold:
            return Verdict(safe=True, score=score, by=self.name)
        return Verdict(safe=False, label="profanity", score=score, by=self.name)

    def probability(self, sentence: str) -> float:
        """Probability that a sentence is offensive.

        The TF-IDF vector of its known words, brought to length 1, times their weights.
        """
        dot = square = 0.0
        for word, count in Counter(_TOKEN.findall(sentence.lower())).items():
            if (known := self._weights.get(word)) is not None:
                rarity, weight = known
                dot += count * rarity * weight
                square += (count * rarity) ** 2
        return 1 / (1 + math.exp(-self._bias - (dot / math.sqrt(square) if square else 0.0)))


def load_weights() -> tuple[float, dict[str, tuple[float, float]]]:
    """The bias, and of each word its inverse document frequency and its weight (both in nats)."""
    text = resources.files("bb3.safety").joinpath("profanity.tsv").read_text("utf-8")
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    table = {word: (float(rarity), float(weight)) for word, rarity, weight in rows}
    _, bias = table.pop("")
    return bias, table
