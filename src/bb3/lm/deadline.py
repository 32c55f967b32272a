"""How long a request to a model in this process may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from bb3.core.errors import ModelTimeout
from bb3.core.ports import GenerationRequest

T = TypeVar("T")


class Deadline:
    """When a request must be answered: made as it comes in, kept by all that is done for it."""

    def __init__(self, request: GenerationRequest) -> None:
        self._request = request
        self._at: float | None = None
        if request.deadline_s is not None:
            self._at = asyncio.get_running_loop().time() + request.deadline_s

    async def keep(self, work: Awaitable[T]) -> T:
        """Await ``work`` until then at most. Raises ModelTimeout."""
        try:
            async with asyncio.timeout_at(self._at):
                return await work
        except TimeoutError:
            raise ModelTimeout(
                f"No answer of {self._request.module} within {self._request.deadline_s} s.",
                remedy="Give it more time, or use fewer threads where other programs are busy.",
            ) from None
