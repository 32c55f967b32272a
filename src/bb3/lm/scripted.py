"""A model that says what it is told to: the documented test double.

Real enough to test everything above it: it streams, counts, scores, can be slow, fail and be
cancelled, and remembers what it was asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from bb3.core.errors import ModelError, ModelTimeout
from bb3.core.ports import GenerationRequest, GenerationResult, Prompt, ScoreResult
from bb3.core.types import TokenCounts
from bb3.lm.batch import answer_each, last

Answer = str | Exception
Script = Mapping[str, Answer | Sequence[Answer]] | Callable[[GenerationRequest], Answer]


class ScriptedModel:
    """Answers by module.

    Args:
        script: an answer for each module tag, or a sequence of answers taken one a call (the
            last stays), or a function of the request. An exception is raised instead of answered.
        scores: log-probability by ``(module, continuation)`` or by continuation; what is not
            there has ``missing_score``.
        dialect: the dialect it claims to understand.
        delay_s: seconds before each word of an answer and before each score.
        can_score: False: ``score`` raises ModelError.

    Attributes:
        requests: every request, in the order of arrival.
        cancelled: requests whose answer was not awaited to the end.
    """

    unsupported: frozenset[str] = frozenset()
    context_tokens = 1 << 20

    def __init__(
        self,
        script: Script,
        *,
        scores: Mapping[tuple[str, str] | str, float] | None = None,
        missing_score: float = -20.0,
        dialect: str = "chat",
        name: str = "scripted",
        delay_s: float = 0.0,
        can_score: bool = True,
    ) -> None:
        self.script = script
        self.scores = scores or {}
        self.missing_score = missing_score
        self.dialect = dialect
        self.name = name
        self.delay_s = delay_s
        self.can_score = can_score
        self.requests: list[GenerationRequest] = []
        self.cancelled: list[GenerationRequest] = []
        self.closed = False
        self._asked: dict[str, int] = {}

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return await answer_each(self._generate, requests)

    async def stream(
        self, request: GenerationRequest
    ) -> AsyncGenerator[str | GenerationResult, None]:
        answer = self._answer(request)
        text = ""
        finished = False
        try:
            for word in re.findall(r"\s*\S+|\s+$", answer):
                await self._wait(request)
                text += word
                yield word
            finished = True
        finally:
            if not finished:
                self.cancelled.append(request)
        count = len(text.split())
        tokens = TokenCounts(prompt=await self.count_tokens(request.prompt), generated=count)
        yield GenerationResult(text=text, logprob=-float(count), tokens=tokens)

    async def score(self, request: GenerationRequest, continuations: Sequence[str]) -> ScoreResult:
        if not self.can_score:
            raise ModelError(f"{self.name} cannot score.")
        self.requests.append(request)
        await self._wait(request)
        logprobs = tuple(
            self.scores.get((request.module, text), self.scores.get(text, self.missing_score))
            for text in continuations
        )
        prompt = await self.count_tokens(request.prompt)
        return ScoreResult(logprobs=logprobs, tokens=TokenCounts(prompt=prompt))

    async def count_tokens(self, prompt: Prompt) -> int:
        """Words."""
        return len(prompt.written_out().split())

    async def aclose(self) -> None:
        self.closed = True

    def asked(self, module: str) -> list[GenerationRequest]:
        """The requests of one module."""
        return [request for request in self.requests if request.module == module]

    async def _generate(self, request: GenerationRequest) -> GenerationResult:
        return await last(self.stream(request))

    async def _wait(self, request: GenerationRequest) -> None:
        if self.delay_s:
            if request.deadline_s is not None and self.delay_s > request.deadline_s:
                await asyncio.sleep(request.deadline_s)
                raise ModelTimeout(f"{self.name} is slower than {request.deadline_s} s.")
            await asyncio.sleep(self.delay_s)

    def _answer(self, request: GenerationRequest) -> str:
        self.requests.append(request)
        answer = self._scripted(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _scripted(self, request: GenerationRequest) -> Answer:
        if callable(self.script):
            return self.script(request)
        if request.module not in self.script:
            return ModelError(f"The script of {self.name} has no answer for {request.module}.")
        answers = self.script[request.module]
        if isinstance(answers, str | Exception):
            return answers
        turn = self._asked.get(request.module, 0)
        self._asked[request.module] = turn + 1
        return answers[min(turn, len(answers) - 1)]
