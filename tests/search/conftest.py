"""What the tests of search share."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Sequence

import pytest

from bb3.core.types import Vector

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of these tests are on loopback, whatever the machine's proxies."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


class WordEmbedder:
    """Hashes words into a unit vector: similarity is shared words. Counts what it is asked."""

    name = "words"
    dim = 64

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str]) -> list[Vector[float]]:
        self.texts += texts
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> Vector[float]:
        vector = array("f", [0.0] * self.dim)
        for word in text.casefold().split():
            word = word.strip(".,?!\"'")
            vector[hashlib.md5(word.encode()).digest()[0] % self.dim] += 1.0
        length = math.hypot(*vector) or 1.0
        return array("f", (x / length for x in vector))


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()
