"""The embedded language model: llama.cpp in this process (``xllamacpp``)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from bb3.core.errors import ModelError
from bb3.core.ports import GenerationRequest, GenerationResult, Prompt, ScoreResult
from bb3.core.types import TokenCounts
from bb3.lm.batch import answer_each, last
from bb3.lm.continuations import joined, only
from bb3.lm.deadline import Deadline
from bb3.lm.engine import Engine, EngineOptions
from bb3.lm.gguf import read_gguf
from bb3.lm.http import JSON, encoded, sent_events
from bb3.lm.probe import probe
from bb3.lm.samplers import UNSUPPORTED, fields
from bb3.lm.slots import Slot, SlotBook

_SPEED_PROMPT, _SPEED_ANSWER = 256, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Tokens per second that the engine reads (``prefill``) and writes (``decode``)."""

    threads: int
    prefill: float
    decode: float


class LlamaCppModel:
    """A GGUF model, several conversations at a time, each module's prompt kept in the cache.

    Prompts are turned into tokens here, so that the text of a user can never become a control
    token of the model's template: ``Prompt.text`` is read as plain text, and in messages the
    model's control tokens are broken by a space.

    Args:
        path: the model file.
        name: for traces; the file's name by default.
        dialect: what it understands best; by default ``chat`` if the file brings a template for
            chats, else ``fewshot``.
        options: threads, context, slots, HTTP address.
        trusted: the file is known to be whole, its hash was checked; else a child process tries
            it first, which doubles the time to load (see ``bb3.lm.probe``).

    Raises:
        AssetError: the file is missing, damaged or not GGUF.
        ModelError: the engine refuses it.
    """

    can_score = True
    unsupported = UNSUPPORTED

    def __init__(
        self,
        path: Path,
        *,
        name: str = "",
        dialect: str = "",
        options: EngineOptions | None = None,
        trusted: bool = False,
    ) -> None:
        options = options or EngineOptions()
        info = read_gguf(path)
        if not trusted:
            probe(path)
        if info.trained_context:
            fitting = min(options.context_tokens, info.trained_context)
            options = replace(options, context_tokens=fitting)
        self.name = name or path.stem
        self.dialect = dialect or ("chat" if info.has_chat_template else "fewshot")
        self.context_tokens = options.context_tokens
        self._control = re.compile("|".join(map(re.escape, info.special_tokens)) or r"(?!)")
        self._reuse = options.reuse
        self._slots = SlotBook(options.slots, max(options.cache_tokens, options.context_tokens))
        self._engine: Engine | None = Engine(path, options)
        self.url, self.threads = self._engine.url, self._engine.threads
        self._client = httpx.AsyncClient(
            base_url=self.url,
            transport=self._engine.transport(),
            timeout=httpx.Timeout(None),  # deadlines are the requests' own
            headers=JSON
            | ({"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}),
        )

    # --- the port ---------------------------------------------------------------------------

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return await answer_each(self._generate, requests)

    async def stream(
        self, request: GenerationRequest
    ) -> AsyncGenerator[str | GenerationResult, None]:
        """Pieces of text, then the result. See ``bb3.core.ports.LanguageModel``."""
        deadline = Deadline(request)
        tokens = await deadline.keep(self._tokens(request.prompt))
        room = self._room(tokens)
        sampling = replace(request.sampling, max_tokens=min(request.sampling.max_tokens, room))
        source = tokens
        if sampling.source_presence_penalty or sampling.source_frequency_penalty:
            source = await deadline.keep(self._source_tokens(request.prompt, tokens))
        body = fields(
            sampling, prompt=tokens, source=source, seed=request.seed, grammar=request.grammar
        )
        answer = _Answer(prompt=tokens)
        slot = await deadline.keep(self._take(tokens, sampling.max_tokens))
        try:
            for part in await deadline.keep(self._parts(body, request)):
                async with aclosing(self._completion(answer.so_far, slot, part)) as chunks:
                    while chunk := await deadline.keep(anext(chunks, None)):
                        if piece := answer.take(chunk):
                            yield piece
        finally:
            self._slots.release(slot)
        yield answer.result()

    async def score(self, request: GenerationRequest, continuations: Sequence[str]) -> ScoreResult:
        """Exact log-probabilities: each continuation's tokens are forced, one after the other,
        by a grammar that allows nothing else, and the engine reports what it thought of each
        before the grammar.

        The prompt is read once.
        """
        return await Deadline(request).keep(self._score(request.prompt, continuations))

    async def count_tokens(self, prompt: Prompt) -> int:
        return len(await self._tokens(prompt))

    async def aclose(self) -> None:
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await self._client.aclose()
            await asyncio.to_thread(engine.close)

    async def measure(self) -> Speed:
        """Speed of this machine now, in about a second."""
        prompt = [100 + 7 * i % 997 for i in range(_SPEED_PROMPT)]
        body = {"n_predict": _SPEED_ANSWER, "ignore_eos": True, "cache_prompt": False}
        timings: dict[str, float] = {}
        slot = await self._take(prompt, _SPEED_ANSWER)
        try:
            async with aclosing(self._completion(prompt, slot, body)) as chunks:
                async for chunk in chunks:
                    timings = chunk.get("timings", timings)
        finally:
            self._slots.release(slot)
        return Speed(
            threads=self.threads,
            prefill=timings["prompt_per_second"],
            decode=timings["predicted_per_second"],
        )

    # --- one call -----------------------------------------------------------------------------

    async def _generate(self, request: GenerationRequest) -> GenerationResult:
        return await last(self.stream(request))

    async def _score(self, prompt: Prompt, continuations: Sequence[str]) -> ScoreResult:
        given, joint, begin = await joined(self._tokens, prompt, continuations)
        for tokens in (given, *joint):
            self._room(tokens)
        longest = max((len(tokens) for tokens in joint), default=begin)
        answers: list[_Answer] = []
        slot = await self._take(given[:begin], longest - begin)
        try:
            for text, tokens in zip(continuations, joint, strict=True):
                answers.append(answer := _Answer(prompt=tokens[:begin]))
                await self._force(answer, tokens[begin:], slot)
                if answer.so_far != tokens:
                    raise ModelError(f"{self.name} could not be made to say {text!r}.")
        finally:
            self._slots.release(slot)
        return ScoreResult(
            logprobs=tuple(answer.logprob for answer in answers),
            tokens=TokenCounts(
                prompt=len(given),
                cached=answers[0].cached if answers else 0,
                generated=sum(len(answer.tokens) for answer in answers),
            ),
        )

    async def _force(self, answer: _Answer, tokens: Sequence[int], slot: Slot) -> None:
        if not tokens:
            return
        body = {"n_predict": len(tokens), "temperature": 0.0, "grammar": only(tokens)}
        async with aclosing(self._completion(answer.prompt, slot, body)) as chunks:
            async for chunk in chunks:
                answer.take(chunk)

    async def _parts(
        self, body: dict[str, Any], request: GenerationRequest
    ) -> Sequence[dict[str, Any]]:
        """A body as one request or, for a minimum length, two: llama.cpp knows only *never end*,
        so the first runs to the minimum with the end and the stops of one token forbidden, the
        second goes on from there. A grammar cannot go on, and knows itself when to end.
        """
        least = min(request.sampling.min_tokens, body["n_predict"])
        if least <= 0 or request.grammar:
            return [body]
        stops = [await self._tokenize(text, add_special=False) for text in body["stop"]]
        forbidden = [[tokens[0], False] for tokens in stops if len(tokens) == 1]
        bias = [pair for pair in body.get("logit_bias", []) if [pair[0], False] not in forbidden]
        first = body | {
            "n_predict": least,
            "ignore_eos": True,
            "stop": [],
            "logit_bias": bias + forbidden,
        }
        rest = body["n_predict"] - least
        return [first, body | {"n_predict": rest}] if rest else [first]

    async def _take(self, tokens: Sequence[int], answer_tokens: int) -> Slot:
        slot, stale = await self._slots.take(tokens, len(tokens) + answer_tokens)
        try:
            for other in stale:
                await self._post(f"/slots/{other.id}?action=erase", {})
        except BaseException:
            self._slots.release(slot)
            raise
        finally:
            for other in stale:
                self._slots.release(other)
        return slot

    async def _completion(
        self, prompt: Sequence[int], slot: Slot, body: dict[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Chunks of one completion. Leaving it closes the connection, and so frees the slot."""
        body = {
            "prompt": list(prompt),
            "id_slot": slot.id,
            "cache_prompt": self._reuse,
            "n_probs": 1,
            "return_tokens": True,
            "return_progress": True,  # something to write, so a closed connection is noticed
            "stream": True,
        } | body
        slot.tokens = seen = list(prompt)
        self._check_open()
        try:
            async with self._client.stream(
                "POST", "/completion", content=encoded(body)
            ) as response:
                if response.status_code != httpx.codes.OK:
                    raise self._refusal(await response.aread())
                async for data in sent_events(response.aiter_bytes()):
                    chunk = json.loads(data)
                    if "error" in chunk:
                        raise self._refusal(data)
                    if "prompt_progress" not in chunk:
                        seen += chunk.get("tokens", ())
                        yield chunk
        except httpx.HTTPError as error:
            raise self._broken(error) from error

    # --- tokens -------------------------------------------------------------------------------

    async def _tokens(self, prompt: Prompt) -> list[int]:
        if prompt.documents:
            raise ModelError(
                f"{self.name} cannot read documents beside the prompt.",
                remedy="Only the r2c2 dialect's network can.",
            )
        if not prompt.messages:
            return await self._tokenize(prompt.text)
        messages = [
            {"role": message.role, "content": self._control.sub(_broken_up, message.content)}
            for message in prompt.messages
        ]
        rendered = await self._post("/apply-template", {"messages": messages})
        return await self._tokenize(rendered["prompt"], parse_special=True)

    async def _source_tokens(self, prompt: Prompt, tokens: list[int]) -> list[int]:
        if prompt.messages or prompt.source_end is None:
            return tokens
        return await self._tokenize(prompt.text[: prompt.source_end])

    async def _tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        body = {"content": text, "add_special": add_special, "parse_special": parse_special}
        tokens: list[int] = (await self._post("/tokenize", body))["tokens"]
        return tokens

    def _room(self, tokens: Sequence[int]) -> int:
        """Tokens that an answer may have."""
        if not tokens:
            raise ModelError(f"The prompt for {self.name} is empty.")
        room = self.context_tokens - len(tokens)
        if room <= 0:
            raise ModelError(
                f"The prompt has {len(tokens)} tokens; {self.name} reads {self.context_tokens}.",
                remedy="Shorten it, or give the model a longer context.",
            )
        return room

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._check_open()
        try:
            response = await self._client.post(path, content=encoded(body))
        except httpx.HTTPError as error:
            raise self._broken(error) from error
        if response.status_code != httpx.codes.OK:
            raise self._refusal(response.content)
        answer: dict[str, Any] = response.json()
        return answer

    # --- errors -------------------------------------------------------------------------------

    def _refusal(self, answer: bytes | str) -> ModelError:
        try:
            error = json.loads(answer)
            reason = str(error.get("error", error).get("message", error))
        except (ValueError, AttributeError):
            reason = str(answer)
        return ModelError(f"The engine of {self.name} refused the request: {reason[:300]}.")

    def _check_open(self) -> None:
        if self._engine is None:
            raise ModelError(f"The engine of {self.name} is closed.")

    def _broken(self, error: Exception) -> ModelError:
        return ModelError(f"The engine of {self.name} does not answer: {error!r}.")


class _Answer:
    """An answer as it grows, over one or two completions."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self.prompt = list(prompt)
        self.tokens: list[int] = []
        self.text = ""
        self.logprob = 0.0
        self.cached = 0
        self._parts = 0
        self.stopped = False

    @property
    def so_far(self) -> list[int]:
        return self.prompt + self.tokens

    def take(self, chunk: dict[str, Any]) -> str:
        """Add a chunk; returns its text."""
        self.tokens += chunk.get("tokens", ())
        self.logprob += sum(p["logprob"] for p in chunk.get("completion_probabilities", ()))
        if chunk.get("stop"):
            self.stopped = chunk.get("stop_type") in ("eos", "word")
            if not self._parts:
                self.cached = chunk["timings"]["cache_n"]
            self._parts += 1
        piece: str = chunk.get("content", "")
        self.text += piece
        return piece

    def result(self) -> GenerationResult:
        return GenerationResult(
            text=self.text,
            logprob=self.logprob,
            tokens=TokenCounts(
                prompt=len(self.prompt), cached=self.cached, generated=len(self.tokens)
            ),
            finish_reason="stop" if self.stopped else "length",
        )


def _broken_up(control: re.Match[str]) -> str:
    return f"{control[0][0]} {control[0][1:]}"
