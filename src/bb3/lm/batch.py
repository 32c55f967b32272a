"""A batch of requests as tasks of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from bb3.core.errors import ModelError
from bb3.core.ports import GenerationRequest, GenerationResult

Pieces = AsyncGenerator[str | GenerationResult, None]


async def answer_each(
    answer: Callable[[GenerationRequest], Coroutine[Any, Any, GenerationResult]],
    requests: Sequence[GenerationRequest],
) -> list[GenerationResult]:
    """Results in the order of the requests; the first failure, or cancelling, stops the rest."""
    tasks = [asyncio.ensure_future(answer(request)) for request in requests]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def last(pieces: Pieces) -> GenerationResult:
    """The result that ends a stream."""
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, GenerationResult):
                return piece
    raise ModelError("The model's answer ended without a result.")
