"""Models around models: each adds one thing and passes the rest on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from bb3.core.errors import ModelError
from bb3.core.ports import (
    GenerationRequest,
    GenerationResult,
    LanguageModel,
    Prompt,
    ScoreResult,
)
from bb3.core.types import TokenCounts
from bb3.lm.batch import Pieces, answer_each

Result = TypeVar("Result", GenerationResult, ScoreResult)


class ModelWrapper:
    """Passes everything on to ``model``."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def dialect(self) -> str:
        return self.model.dialect

    @property
    def context_tokens(self) -> int:
        return self.model.context_tokens

    @property
    def can_score(self) -> bool:
        return self.model.can_score

    @property
    def unsupported(self) -> frozenset[str]:
        return self.model.unsupported

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return await self.model.generate(requests)

    async def stream(self, request: GenerationRequest) -> Pieces:
        async with aclosing(_generator(self.model, request)) as pieces:
            async for piece in pieces:
                yield piece

    async def score(self, request: GenerationRequest, continuations: Sequence[str]) -> ScoreResult:
        return await self.model.score(request, continuations)

    async def count_tokens(self, prompt: Prompt) -> int:
        return await self.model.count_tokens(prompt)

    async def aclose(self) -> None:
        await self.model.aclose()


class FallbackModel(ModelWrapper):
    """``second`` answers what ``first`` fails at (ModelError).

    Both must understand the same dialect. A stream that has begun is not begun anew: its failure is
    raised.
    """

    def __init__(self, first: LanguageModel, second: LanguageModel) -> None:
        super().__init__(first)
        self.second = second

    @property
    def context_tokens(self) -> int:
        return min(self.model.context_tokens, self.second.context_tokens)

    @property
    def can_score(self) -> bool:
        return self.model.can_score or self.second.can_score

    @property
    def unsupported(self) -> frozenset[str]:
        return self.model.unsupported | self.second.unsupported

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return await answer_each(self._generate, requests)

    async def stream(self, request: GenerationRequest) -> Pieces:
        begun = False
        try:
            async with aclosing(_generator(self.model, request)) as pieces:
                async for piece in pieces:
                    begun = True
                    yield piece
        except ModelError:
            if begun:
                raise
        else:
            return
        async with aclosing(_generator(self.second, request)) as pieces:
            async for piece in pieces:
                yield piece

    async def score(self, request: GenerationRequest, continuations: Sequence[str]) -> ScoreResult:
        if self.model.can_score:
            try:
                return await self.model.score(request, continuations)
            except ModelError:
                if not self.second.can_score:
                    raise
        return await self.second.score(request, continuations)

    async def aclose(self) -> None:
        await self.model.aclose()
        await self.second.aclose()

    async def _generate(self, request: GenerationRequest) -> GenerationResult:
        try:
            return (await self.model.generate([request]))[0]
        except ModelError:
            return (await self.second.generate([request]))[0]


class CacheModel(ModelWrapper):
    """Remembers the answers to greedy requests and the scores, the ``size`` last used.

    What is taken from it counts all its prompt tokens as cached and none as generated. Module
    and deadline of a request make no difference.
    """

    def __init__(self, model: LanguageModel, size: int = 1024) -> None:
        super().__init__(model)
        self.size = size
        self._kept: OrderedDict[object, GenerationResult | ScoreResult] = OrderedDict()

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return await answer_each(self._generate, requests)

    async def stream(self, request: GenerationRequest) -> Pieces:
        kept = self._look_up(_key(request), GenerationResult)
        if kept is not None:
            if kept.text:
                yield kept.text
            yield kept
            return
        async with aclosing(_generator(self.model, request)) as pieces:
            async for piece in pieces:
                if isinstance(piece, GenerationResult):
                    self._keep(request, _key(request), piece)
                yield piece

    async def score(self, request: GenerationRequest, continuations: Sequence[str]) -> ScoreResult:
        key = (request.prompt, tuple(continuations))
        kept = self._look_up(key, ScoreResult)
        if kept is None:
            kept = await self.model.score(request, continuations)
            self._store(key, kept)
        return kept

    async def _generate(self, request: GenerationRequest) -> GenerationResult:
        kept = self._look_up(_key(request), GenerationResult)
        if kept is None:
            kept = (await self.model.generate([request]))[0]
            self._keep(request, _key(request), kept)
        return kept

    def _look_up(self, key: object, kind: type[Result]) -> Result | None:
        kept = self._kept.get(key)
        if not isinstance(kept, kind):
            return None
        self._kept.move_to_end(key)
        read = kept.tokens.prompt
        return replace(kept, tokens=TokenCounts(prompt=read, cached=read))

    def _keep(self, request: GenerationRequest, key: object, result: GenerationResult) -> None:
        if request.sampling.method in ("greedy", "beam") and result.finish_reason != "cancelled":
            self._store(key, result)

    def _store(self, key: object, result: GenerationResult | ScoreResult) -> None:
        self._kept[key] = result
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)


class LimitModel(ModelWrapper):
    """At most ``concurrency`` requests at a time; the others wait in order."""

    def __init__(self, model: LanguageModel, concurrency: int) -> None:
        super().__init__(model)
        self._places = asyncio.Semaphore(concurrency)

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return await answer_each(self._generate, requests)

    async def stream(self, request: GenerationRequest) -> Pieces:
        async with self._places, aclosing(_generator(self.model, request)) as pieces:
            async for piece in pieces:
                yield piece

    async def score(self, request: GenerationRequest, continuations: Sequence[str]) -> ScoreResult:
        async with self._places:
            return await self.model.score(request, continuations)

    async def _generate(self, request: GenerationRequest) -> GenerationResult:
        async with self._places:
            return (await self.model.generate([request]))[0]


def _key(request: GenerationRequest) -> object:
    return request.prompt, request.sampling, request.grammar


async def _generator(
    model: LanguageModel, request: GenerationRequest
) -> AsyncGenerator[str | GenerationResult, None]:
    """A model's stream as a generator, which closes it when it is closed."""
    pieces = model.stream(request)
    try:
        async for piece in pieces:
            yield piece
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()
