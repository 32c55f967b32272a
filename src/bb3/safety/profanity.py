"""A classifier of insults and threats that works offline: ``alt-profanity-check``.

A linear model over words (scikit-learn, MIT), trained on public comments. It knows insults
and threats; it does not see hate without swear words, nor irony, nor context. Figures and
limits: docs/safety.md.

Importing this module costs about a second (scikit-learn): use ``lazy.LazyClassifier``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from profanity_check import predict_prob

from bb3.core.ports import Verdict
from bb3.safety.sentences import sentences

# fmt: off
NEUTRAL = frozenset({
    "bisexual", "gay", "gays", "homosexual", "homosexuals", "lesbian", "lesbians", "queer",
    "queers", "sucks", "trans", "transgender",
})
# fmt: on
"""Words that the model takes for insults all by themselves: names of people's orientation, and
the "that sucks" of sympathy. It is asked about the text without them, so that "I am gay" passes
and "I hate gay people" is judged by the rest.
"""
_WORD = re.compile(r"[^\W\d_]+")


class ProfanityClassifier:
    """Judges each sentence of a text; the worst one counts.

    Args:
        threshold: probability from which a sentence is unsafe. The default was chosen so that
            about one in a thousand ordinary utterances is held back (docs/safety.md).
    """

    name = "profanity"

    def __init__(self, threshold: float = 0.95) -> None:
        self.threshold = threshold

    async def classify(
        self, texts: Sequence[str], contexts: Sequence[Sequence[str]] | None = None
    ) -> list[Verdict]:
        """Verdicts in the order of the texts; ``contexts`` are not looked at."""
        if not texts:
            return []
        return await asyncio.to_thread(self._classify, list(texts))

    def _classify(self, texts: list[str]) -> list[Verdict]:
        split = [sentences(_neutralised(text)) for text in texts]
        scores = iter(predict_prob([s for parts in split for s in parts]).tolist())
        return [self._verdict(max(next(scores) for _ in parts)) for parts in split]

    def _verdict(self, score: float) -> Verdict:
        if score < self.threshold:
            return Verdict(safe=True, score=score, by=self.name)
        return Verdict(safe=False, label="profanity", score=score, by=self.name)


def _neutralised(text: str) -> str:
    return _WORD.sub(lambda word: "" if word[0].lower() in NEUTRAL else word[0], text)
