"""The completions API that BlenderBot 3's 30B and 175B models are served by (metaseq)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import httpx

from bb3.core.errors import ModelError
from bb3.core.ports import GenerationRequest, GenerationResult, Prompt, Sampling, ScoreResult
from bb3.core.types import TokenCounts
from bb3.lm.batch import answer_each
from bb3.lm.http import Endpoint

_NOWHERE = frozenset({"top_k", "length_penalty", "block_ngram", "block_context_ngram"})
_OFF = -1
_CHARACTERS_PER_TOKEN = 3.5  # a cautious guess for English in GPT-2's vocabulary


class MetaseqModel:
    """A server with ``POST /completions`` as metaseq has it.

    Args:
        url: its address.
        api_key: bearer key.
        count: counts GPT-2 tokens of a text; None: guessed from its length, and then penalties on
            the source also cover the knowledge below it (``source_end`` is unsupported).
        context_tokens: longest prompt plus answer.
        concurrency, retries, timeout_s, transport: see ``bb3.lm.http.Endpoint``.
    """

    dialect = "opt"
    can_score = True

    def __init__(
        self,
        url: str,
        *,
        api_key: str = "",
        name: str = "metaseq",
        count: Callable[[str], int] | None = None,
        context_tokens: int = 2048,
        concurrency: int = 8,
        retries: int = 3,
        timeout_s: float = 120.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self.context_tokens = context_tokens
        self.unsupported = _NOWHERE if count else _NOWHERE | {"source_end"}
        self._count = count
        self._endpoint = Endpoint(
            url,
            api_key=api_key,
            concurrency=concurrency,
            retries=retries,
            timeout_s=timeout_s,
            transport=transport,
        )

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return await answer_each(self._generate, requests)

    async def stream(
        self, request: GenerationRequest
    ) -> AsyncGenerator[str | GenerationResult, None]:
        """The whole answer in one piece: the API does not stream."""
        result = await self._generate(request)
        yield result.text
        yield result

    async def score(self, request: GenerationRequest, continuations: Sequence[str]) -> ScoreResult:
        """Echo of prompt and continuation, nothing generated: the log-probabilities from where
        the continuation begins.
        """
        until = self._endpoint.until(request.deadline_s)
        bodies = [self._echo(request.prompt, text) for text in continuations]
        choices = await asyncio.gather(*(self._post(body, until) for body in bodies))
        start = len(self._text(request.prompt))
        return ScoreResult(logprobs=tuple(self._tail(choice, start) for choice in choices))

    async def count_tokens(self, prompt: Prompt) -> int:
        text = self._text(prompt)
        return self._count(text) if self._count else round(len(text) / _CHARACTERS_PER_TOKEN)

    async def aclose(self) -> None:
        await self._endpoint.aclose()

    def body(self, request: GenerationRequest) -> dict[str, Any]:
        """The request as metaseq wants it (recorded: shared/golden/opt)."""
        sampling, prompt = request.sampling, request.prompt
        sampled = sampling.method in ("nucleus", "factual_nucleus")
        end = _OFF
        if _penalises_source(sampling) and prompt.source_end is not None and self._count:
            end = self._count(prompt.text[: prompt.source_end])
        return {
            "prompt": self._text(prompt),
            "min_tokens": sampling.min_tokens,
            "max_tokens": sampling.max_tokens,
            "best_of": sampling.beam_size if sampling.method == "beam" else 1,
            "top_p": sampling.top_p if sampled else float(_OFF),
            "stop": _stop(sampling.stop),
            "temperature": sampling.temperature,
            "echo": False,
            "lambda_decay": sampling.lambda_decay if sampling.method == "factual_nucleus" else _OFF,
            "omega_bound": sampling.omega_bound,
            "alpha_presence": sampling.presence_penalty,
            "alpha_frequency": sampling.frequency_penalty,
            "alpha_presence_src": sampling.source_presence_penalty,
            "alpha_frequency_src": sampling.source_frequency_penalty,
            "alpha_src_penalty_end_idx": end,
        }

    async def _generate(self, request: GenerationRequest) -> GenerationResult:
        choice = await self._post(self.body(request), self._endpoint.until(request.deadline_s))
        text, logprobs = choice.get("text"), choice.get("logprobs") or {}
        if not isinstance(text, str):
            raise self._malformed(choice)
        numbers = logprobs.get("token_logprobs") or []
        try:
            total = sum(float(n) for n in numbers if n is not None) if numbers else None
        except (TypeError, ValueError) as error:
            raise self._malformed(choice) from error
        finish = choice.get("finish_reason") or logprobs.get("finish_reason")
        return GenerationResult(
            text=text,
            logprob=total,
            tokens=TokenCounts(
                prompt=await self.count_tokens(request.prompt), generated=len(numbers)
            ),
            finish_reason="length" if finish == "length" else "stop",
        )

    async def _post(self, body: dict[str, Any], until: float) -> dict[str, Any]:
        answer = await self._endpoint.post("/completions", body, until=until)
        if isinstance(answer, dict) and answer.get("error"):
            raise ModelError(f"{self._endpoint.url} reports {str(answer['error'])[:200]!r}.")
        try:
            choice = answer["choices"][0]
        except (KeyError, IndexError, TypeError) as error:
            raise self._malformed(answer) from error
        if not isinstance(choice, dict):
            raise self._malformed(answer)
        return choice

    def _echo(self, prompt: Prompt, continuation: str) -> dict[str, Any]:
        return {
            "prompt": self._text(prompt) + continuation,
            "max_tokens": 0,
            "temperature": 1.0,
            "top_p": 1.0,
            "echo": True,
        }

    def _tail(self, choice: dict[str, Any], start: int) -> float:
        """Sum over the tokens that reach beyond ``start`` characters."""
        try:
            given = choice["logprobs"]
            rows = list(zip(given["text_offset"], given["token_logprobs"], strict=True))
            ends = [offset for offset, _ in rows[1:]] + [len(choice["text"])]
            return sum(
                float(logprob or 0.0)
                for (_, logprob), end in zip(rows, ends, strict=True)
                if end > start
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._malformed(choice) from error

    def _text(self, prompt: Prompt) -> str:
        if prompt.messages or prompt.documents:
            raise ModelError(
                f"{self.name} reads plain prompts only.", remedy="Use the opt or fewshot dialect."
            )
        return prompt.text

    def _malformed(self, answer: Any) -> ModelError:
        return ModelError(
            f"{self._endpoint.url}/completions answers nothing readable: {str(answer)[:200]!r}.",
            remedy="Check that this is a metaseq server.",
        )


def _penalises_source(sampling: Sampling) -> bool:
    return bool(sampling.source_presence_penalty or sampling.source_frequency_penalty)


def _stop(stop: tuple[str, ...]) -> str | list[str] | None:
    if not stop:
        return None
    return stop[0] if len(stop) == 1 else list(stop)
