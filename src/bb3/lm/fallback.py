"""A model that stands in for another."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import TypeVar

from bb3.core.errors import ModelError
from bb3.core.ports import (
    GenerationRequest,
    GenerationResult,
    LanguageModel,
    Prompt,
    ScoreResult,
)
from bb3.lm.batch import Pieces, answer_each

log = logging.getLogger(__name__)
T = TypeVar("T")

_FAILURES = 2


class FallbackModel:
    """``second`` answers what ``first`` fails at (ModelError), within a deadline of its own.

    Both must understand the same dialect. A stream that has begun is not begun anew: its failure is
    raised. A first that has failed twice on end is given a rest, since one that is away costs every
    call its retries.

    Args:
        rest_s: seconds for which the first is not asked.
    """

    def __init__(
        self, first: LanguageModel, second: LanguageModel, *, rest_s: float = 30.0
    ) -> None:
        self.first, self.second = first, second
        self._rest_s = rest_s
        self._failures = 0
        self._rests_until = 0.0

    @property
    def name(self) -> str:
        return self._asked().name

    @property
    def dialect(self) -> str:
        return self.first.dialect

    @property
    def context_tokens(self) -> int:
        return min(self.first.context_tokens, self.second.context_tokens)

    @property
    def can_score(self) -> bool:
        return self._asked().can_score

    @property
    def unsupported(self) -> frozenset[str]:
        return self.first.unsupported | self.second.unsupported

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return await answer_each(self._generate, requests)

    async def stream(self, request: GenerationRequest) -> Pieces:
        if not self._rests():
            begun = False
            try:
                async with aclosing(self.first.stream(request)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
            except ModelError as error:
                self._failed(error)
                if begun:
                    raise
            else:
                self._failures = 0
                return
        async with aclosing(self.second.stream(request)) as pieces:
            async for piece in pieces:
                yield piece

    async def score(self, request: GenerationRequest, continuations: Sequence[str]) -> ScoreResult:
        return await self._ask(lambda model: model.score(request, continuations))

    async def count_tokens(self, prompt: Prompt) -> int:
        if not self._rests():
            with suppress(ModelError):  # many count without their server: no sign that it is there
                return await self.first.count_tokens(prompt)
        return await self.second.count_tokens(prompt)

    async def aclose(self) -> None:
        try:
            await self.first.aclose()
        finally:
            await self.second.aclose()

    async def _generate(self, request: GenerationRequest) -> GenerationResult:
        return (await self._ask(lambda model: model.generate([request])))[0]

    async def _ask(self, call: Callable[[LanguageModel], Awaitable[T]]) -> T:
        if not self._rests():
            try:
                answer = await call(self.first)
            except ModelError as error:
                self._failed(error)
            else:
                self._failures = 0
                return answer
        return await call(self.second)

    def _asked(self) -> LanguageModel:
        return self.second if self._rests() else self.first

    def _rests(self) -> bool:
        return time.monotonic() < self._rests_until

    def _failed(self, error: ModelError) -> None:
        self._failures += 1
        log.warning("%s answers instead of %s: %s", self.second.name, self.first.name, error)
        if self._failures >= _FAILURES:
            self._rests_until = time.monotonic() + self._rest_s
