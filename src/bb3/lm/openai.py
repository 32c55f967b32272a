"""Any server that speaks the OpenAI API: completions for plain prompts, chat for messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import httpx

from bb3.core.errors import ModelError
from bb3.core.ports import (
    GenerationRequest,
    GenerationResult,
    Prompt,
    Sampling,
    ScoreResult,
)
from bb3.core.types import TokenCounts
from bb3.lm.batch import answer_each, last
from bb3.lm.continuations import joined, only
from bb3.lm.http import Endpoint
from bb3.lm.openai_wire import (
    UNSUPPORTED,
    GrowingAnswer,
    continuing,
    echoed,
    likeliest,
    prompt_fields,
    sampling_fields,
    token_logprobs,
    told_apart,
)

Flavour = Literal["auto", "openai", "vllm", "llamacpp"]

_TOP_LOGPROBS = {"text": 5, "chat": 20}
_BYTES_PER_TOKEN = 3  # a cautious guess, where the server does not count
_DEFAULT_CONTEXT = 4096


class OpenAIModel:
    """A model behind ``/v1/completions`` and ``/v1/chat/completions``.

    What the server is and how long its context is, ``probe`` asks it once; the first call does so
    by itself. ``factual_nucleus`` becomes nucleus with the same ``top_p``, ``beam`` becomes greedy.

    Args:
        url: address, with or without the final ``/v1``.
        model: the model's name at the server; empty: the first that it lists.
        api_key: bearer key.
        dialect: the dialect the model understands best.
        flavour: which fields beyond the standard the server knows; ``auto``: found out.
        context_tokens: longest prompt plus answer; None: what the server says, else 4,096.
        concurrency, retries, timeout_s, transport: see ``bb3.lm.http.Endpoint``.
    """

    def __init__(
        self,
        url: str,
        model: str = "",
        *,
        api_key: str = "",
        dialect: str = "chat",
        flavour: Flavour = "auto",
        context_tokens: int | None = None,
        concurrency: int = 8,
        retries: int = 3,
        timeout_s: float = 120.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.model = model
        self.dialect = dialect
        self.flavour: Flavour = flavour
        self.can_score = True
        self.context_tokens = context_tokens or _DEFAULT_CONTEXT
        self._context_given = context_tokens is not None
        self._root = url.rstrip("/").removesuffix("/v1")
        self._endpoint = Endpoint(
            self._root,
            api_key=api_key,
            concurrency=concurrency,
            retries=retries,
            timeout_s=timeout_s,
            transport=transport,
        )
        self._probing: asyncio.Future[None] | None = None

    @property
    def name(self) -> str:
        return self.model or self._endpoint.url

    @property
    def unsupported(self) -> frozenset[str]:
        return UNSUPPORTED.get(self.flavour, UNSUPPORTED["openai"])

    async def probe(self, *, until: float | None = None) -> None:
        """Ask the server what it is; once. Raises ModelError when it cannot be reached, or not by
        ``until`` (a time of the loop's clock).
        """
        if self._probing is None or (self._probing.done() and _failed(self._probing)):
            self._probing = asyncio.ensure_future(self._probe())
        async with self._endpoint.in_time(until or self._endpoint.until(None)):
            await asyncio.shield(self._probing)

    # --- the port ---------------------------------------------------------------------------

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return await answer_each(self._generate, requests)

    async def stream(
        self, request: GenerationRequest
    ) -> AsyncGenerator[str | GenerationResult, None]:
        until = self._endpoint.until(request.deadline_s)
        await self.probe(until=until)
        path, body = self._body(request)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        answer = GrowingAnswer()
        events = self._endpoint.events(path, body, until=until)
        async with aclosing(events):
            async for event in events:
                try:
                    piece = answer.take(event)
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise self._malformed(event) from error
                if piece:
                    yield piece
        yield answer.result()

    async def score(self, request: GenerationRequest, continuations: Sequence[str]) -> ScoreResult:
        """Log-probabilities of the continuations: exact where the server is vLLM (which echoes
        what it read) or llama.cpp (forced by a grammar); else of the first token each, where these
        differ and are among the likeliest.
        """
        until = self._endpoint.until(request.deadline_s)
        await self.probe(until=until)
        if self.flavour in ("vllm", "llamacpp"):
            return await self._score_exactly(request.prompt, continuations, until)
        return await self._score_first_token(request, continuations, until)

    async def count_tokens(self, prompt: Prompt) -> int:
        """The server's own count where it offers one for this prompt, else a guess from above."""
        until = self._endpoint.until(None)
        await self.probe(until=until)
        if self.flavour in ("vllm", "llamacpp"):
            return len(await self._tokens(prompt, until))
        return -(-len(prompt.written_out().encode()) // _BYTES_PER_TOKEN)

    async def aclose(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
        await self._endpoint.aclose()

    # --- how ----------------------------------------------------------------------------------

    async def _generate(self, request: GenerationRequest) -> GenerationResult:
        return await last(self.stream(request))

    async def _probe(self) -> None:
        if self.model and self.flavour == "openai":
            return
        answer = await self._endpoint.get("/v1/models")
        try:
            models = {entry["id"]: entry for entry in answer["data"]}
            self.model = self.model or next(iter(models))
        except (KeyError, TypeError, StopIteration) as error:
            raise self._malformed(answer) from error
        entry = models.get(self.model)
        if entry is None:
            raise ModelError(
                f"{self._endpoint.url} has no model {self.model!r}.",
                remedy=f"It has: {', '.join(sorted(models)) or 'none'}.",
            )
        if self.flavour == "auto":
            owner = entry.get("owned_by")
            self.flavour = owner if owner in ("vllm", "llamacpp") else "openai"
        context = entry.get("max_model_len") or (entry.get("meta") or {}).get("n_ctx")
        if isinstance(context, int) and not self._context_given:
            self.context_tokens = context

    def _body(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        prompt, sampling = request.prompt, request.sampling
        if prompt.documents:
            raise ModelError(f"{self.name} cannot read documents beside the prompt.")
        body = {"model": self.model, **prompt_fields(prompt), **sampling_fields(sampling)}
        if request.seed is not None:
            body["seed"] = request.seed
        if self.flavour in ("vllm", "llamacpp"):
            body |= self._extras(request)
        if prompt.messages:
            return "/v1/chat/completions", body | {"logprobs": True}
        return "/v1/completions", body | {"logprobs": 1}

    def _extras(self, request: GenerationRequest) -> dict[str, Any]:
        sampling = request.sampling
        # Both servers have defaults of their own; vLLM takes them from the model's folder.
        extras: dict[str, Any] = {"top_k": sampling.top_k, "min_p": 0.0}
        if self.flavour == "llamacpp":
            extras["cache_prompt"] = True
            if request.grammar:
                extras["grammar"] = request.grammar
            return extras
        extras |= {"repetition_penalty": 1.0, **continuing(request.prompt)}
        if sampling.min_tokens:
            extras["min_tokens"] = min(sampling.min_tokens, sampling.max_tokens)
        if request.grammar:
            extras["structured_outputs"] = {"grammar": request.grammar}
        return extras

    async def _score_exactly(
        self, prompt: Prompt, continuations: Sequence[str], until: float
    ) -> ScoreResult:
        tokens_of = partial(self._tokens, until=until)
        given, joint, begin = await joined(tokens_of, prompt, continuations)
        if self.flavour == "vllm":
            rows = await self._echoed(joint, begin, until)
        else:
            rows = [await self._forced(tokens, begin, until) for tokens in joint]
        return ScoreResult(
            logprobs=tuple(sum(row) for row in rows), tokens=TokenCounts(prompt=len(given))
        )

    async def _echoed(
        self, prompts: list[list[int]], begin: int, until: float
    ) -> list[list[float]]:
        """What vLLM thinks of each prompt's tokens from ``begin`` on."""
        if not prompts:
            return []
        body = {"model": self.model, "prompt": prompts, "echo": True, "logprobs": 1}
        body |= {"max_tokens": 1, "temperature": 0.0}
        answer = await self._endpoint.post("/v1/completions", body, until=until)
        try:
            choices = {choice["index"]: choice["logprobs"] for choice in answer["choices"]}
            return [echoed(choices[n], begin, len(tokens)) for n, tokens in enumerate(prompts)]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._malformed(answer) from error

    async def _forced(self, tokens: list[int], begin: int, until: float) -> list[float]:
        """As ``bb3.lm.llamacpp``: token by token, each the only one that the grammar allows."""
        rest = tokens[begin:]
        if not rest:
            return []
        body = {"model": self.model, "prompt": tokens[:begin], "max_tokens": len(rest)}
        body |= {"temperature": 0.0, "logprobs": 1, "grammar": only(rest)}
        answer = await self._endpoint.post("/v1/completions", body, until=until)
        try:
            numbers = token_logprobs(answer["choices"][0]["logprobs"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._malformed(answer) from error
        if len(numbers) < len(rest):
            raise self._malformed(answer)
        return numbers[: len(rest)]

    async def _tokens(self, prompt: Prompt, until: float) -> list[int]:
        """A prompt in tokens of a vLLM or llama.cpp server."""
        body: dict[str, Any]
        if self.flavour == "vllm":
            body = {"model": self.model, **prompt_fields(prompt), **continuing(prompt)}
        else:
            text = prompt.text
            if prompt.messages:
                fields = prompt_fields(prompt)
                rendered = await self._endpoint.post("/apply-template", fields, until=until)
                text = self._field(rendered, "prompt", str)
            body = {"content": text, "add_special": True, "parse_special": bool(prompt.messages)}
        answer = await self._endpoint.post("/tokenize", body, until=until)
        tokens: list[int] = self._field(answer, "tokens", list)
        return tokens

    async def _score_first_token(
        self, request: GenerationRequest, continuations: Sequence[str], until: float
    ) -> ScoreResult:
        sampling = replace(Sampling(), max_tokens=1)
        path, body = self._body(replace(request, sampling=sampling, grammar=None))
        if request.prompt.messages:
            body["top_logprobs"] = _TOP_LOGPROBS["chat"]
        else:
            body["logprobs"] = _TOP_LOGPROBS["text"]
        answer = await self._endpoint.post(path, body, until=until)
        try:
            top = likeliest(answer["choices"][0].get("logprobs"))
        except (KeyError, IndexError, TypeError) as error:
            raise self._malformed(answer) from error
        if not top:
            self.can_score = False
            raise ModelError(f"{self.name} tells no log-probabilities.")
        logprobs = told_apart(top, continuations)
        if logprobs is None:
            raise ModelError(
                f"{self.name} does not tell {list(continuations)} apart by their first tokens."
            )
        usage = answer.get("usage") or {}
        return ScoreResult(
            logprobs=logprobs,
            tokens=TokenCounts(prompt=usage.get("prompt_tokens", 0), generated=1),
        )

    def _field(self, answer: Any, name: str, kind: type) -> Any:
        value = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(value, kind):
            raise self._malformed(answer)
        return value

    def _malformed(self, answer: Any) -> ModelError:
        return ModelError(
            f"{self._endpoint.url} answers nothing readable: {str(answer)[:200]!r}.",
            remedy="Check that it speaks the OpenAI API.",
        )


def _failed(task: asyncio.Future[None]) -> bool:
    return task.cancelled() or task.exception() is not None
