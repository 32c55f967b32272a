"""A classifier that is loaded when it is first asked, away from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from bb3.core.ports import Classifier, Verdict


class LazyClassifier:
    """Stands for a classifier whose import or model takes a while.

    Args:
        name: the classifier's name, known before it is there.
        load: makes it; runs in a thread, once. When it fails, every call tries again.
    """

    def __init__(self, name: str, load: Callable[[], Classifier]) -> None:
        self.name = name
        self._load = load
        self._loaded: Classifier | None = None
        self._loading = asyncio.Lock()

    async def warm(self) -> Classifier:
        """Load now; several callers wait for the one load."""
        async with self._loading:
            if self._loaded is None:
                self._loaded = await asyncio.to_thread(self._load)
            return self._loaded

    async def classify(
        self, texts: Sequence[str], contexts: Sequence[Sequence[str]] | None = None
    ) -> list[Verdict]:
        classifier = self._loaded or await self.warm()
        return await classifier.classify(texts, contexts)
