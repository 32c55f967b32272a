"""A search provider whose answers are written down beforehand: for tests and demonstrations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from bb3.core.errors import SearchError
from bb3.core.types import Document


class ScriptedSearch:
    """Answers from a table; remembers what it was asked.

    Args:
        answers: documents (or the error to raise) by query; a query that is not there gets
            ``otherwise``.
        delay_s: how long every answer takes.

    Attributes:
        queries: every ``(query, k)`` so far.
    """

    name = "scripted"

    def __init__(
        self,
        answers: Mapping[str, Sequence[Document] | SearchError] | None = None,
        *,
        otherwise: Sequence[Document] | SearchError = (),
        delay_s: float = 0.0,
    ) -> None:
        self.queries: list[tuple[str, int]] = []
        self.closed = False
        self._answers = dict(answers or {})
        self._otherwise = otherwise
        self._delay_s = delay_s

    async def search(self, query: str, k: int) -> list[Document]:
        self.queries.append((query, k))
        await asyncio.sleep(self._delay_s)
        answer = self._answers.get(query, self._otherwise)
        if isinstance(answer, SearchError):
            raise answer
        return list(answer[: max(0, k)])

    async def aclose(self) -> None:
        self.closed = True
