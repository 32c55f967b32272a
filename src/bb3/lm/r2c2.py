"""R2C2 and Blenderbot networks behind the LanguageModel port (the extra ``torch``)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from bb3.core.errors import ModelError
from bb3.core.ports import GenerationRequest, GenerationResult, Prompt, Sampling, ScoreResult
from bb3.core.types import TokenCounts
from bb3.lm.batch import answer_each
from bb3.lm.deadline import Deadline
from bb3.lm.desk import Desk, Job
from bb3.lm.network import Network, open_network
from bb3.modules.dialects.r2c2 import without_control
from bb3.nets.decoding import Hypothesis, Settings

_SENTENCE_ENDS = (".", "?", "!")
_UNSETTLED = re.compile(r"\S*_\S*$|\ufffd+$")  # a control token begun, half a character


class R2C2Model:
    """A network that answers the modules' requests, many of them at once.

    Requests that come in together are decoded together, whichever modules and users they are of.
    A text longer than the model's rows loses its beginning, as in the reference. Pieces of a
    stream leave control tokens out; a beam search streams only what all its beams agree on.

    Args:
        network: see ``bb3.lm.network.open_network``.
        threads: of the matrix products on a CPU; 0: PyTorch's own choice.
    """

    dialect = "r2c2"
    can_score = True
    unsupported: frozenset[str] = frozenset()

    def __init__(self, network: Network, *, threads: int = 0) -> None:
        self.name = network.name
        self._codec, self._layout = network.codec, network.layout
        config = network.model.config
        self._positions = int(config.max_position_embeddings)
        self._end = self._layout.end
        self._source_length = min(config.source_length, self._positions)
        self.context_tokens = self._source_length + self._positions
        ends = (self._codec.encode(mark) for mark in _SENTENCE_ENDS)
        self._full_stops = tuple(ids[0] for ids in ends if len(ids) == 1)
        self._desk: Desk | None = Desk(network.model, config.decoder_prefix, threads)

    # --- the port ---------------------------------------------------------------------------

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return await answer_each(self._generate, requests)

    async def stream(
        self, request: GenerationRequest
    ) -> AsyncGenerator[str | GenerationResult, None]:
        """Pieces of text, then the result. See ``bb3.core.ports.LanguageModel``."""
        loop = asyncio.get_running_loop()
        news: asyncio.Queue[tuple[int, ...] | None] = asyncio.Queue()

        def tell(ids: tuple[int, ...] | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.put_nowait, ids)

        job = self._job(request)
        job.settled = tell
        job.answer.add_done_callback(lambda _: tell(None))
        shown = ""
        deadline = Deadline(request)
        try:
            self._open().submit(job)
            while (ids := await deadline.keep(news.get())) is not None:
                text = _visible(self._text(ids, request.sampling))
                if len(text) > len(shown):
                    yield text[len(shown) :]
                    shown = text
            result = self._result(job, job.answer.result(), request.sampling)
        finally:
            job.answer.cancel()
        if rest := without_control(result.text)[len(shown) :]:
            yield rest
        yield result

    async def score(self, request: GenerationRequest, continuations: Sequence[str]) -> ScoreResult:
        """All continuations in one pass, each with its end token."""
        answers = [[*self._codec.encode(text), self._end] for text in continuations]
        too_long = max((len(ids) for ids in answers), default=0)
        if too_long >= self._positions:
            raise ModelError(f"A continuation of {too_long} tokens: {self._positions} can be read.")
        if not answers:
            return ScoreResult(logprobs=())
        deadline = Deadline(request)
        job = self._job(request)
        job.answers = answers
        self._open().submit(job)
        logprobs = await deadline.keep(asyncio.wrap_future(job.scores))
        tokens = TokenCounts(prompt=job.tokens, cached=job.cached)
        return ScoreResult(logprobs=tuple(logprobs), tokens=tokens)

    async def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the text as a row, without documents; it is cut at the model's limit."""
        return len(self._layout.context(prompt.text))

    async def aclose(self) -> None:
        if self._desk is not None:
            desk, self._desk = self._desk, None
            await asyncio.to_thread(desk.close)

    # --- one call -----------------------------------------------------------------------------

    async def _generate(self, request: GenerationRequest) -> GenerationResult:
        deadline = Deadline(request)
        job = self._job(request)
        self._open().submit(job)
        answer = await deadline.keep(asyncio.wrap_future(job.answer))
        return self._result(job, answer, request.sampling)

    def _open(self) -> Desk:
        if self._desk is None:
            raise ModelError(f"The model {self.name} is closed.")
        return self._desk

    def _job(self, request: GenerationRequest) -> Job:
        prompt = request.prompt
        if prompt.messages:
            raise ModelError(f"{self.name} reads text, not chat messages.")
        rows = self._layout.rows(prompt.text, prompt.documents)
        return Job(
            rows=tuple(map(tuple, rows)),
            settings=self._settings(request.sampling, request.seed),
            context=self._blocked(prompt) if request.sampling.block_context_ngram else (),
            source=self._codec.encode_lines(prompt.text[: prompt.source_end]),
        )

    def _blocked(self, prompt: Prompt) -> list[int]:
        """The text's ids; what ``block_text`` adds to it is tokenised on its own."""
        if not prompt.block_text.startswith(prompt.text):
            return self._layout.blocked(prompt.block_text or prompt.text)
        more = prompt.block_text.removeprefix(prompt.text)
        return self._layout.blocked(prompt.text) + self._codec.encode(more)

    def _settings(self, sampling: Sampling, seed: int | None) -> Settings:
        method, temperature = sampling.method, sampling.temperature
        if temperature == 0:
            method, temperature = ("greedy" if "nucleus" in method else method), 1.0
        factual = method == "factual_nucleus"
        return Settings(
            beam_size=sampling.beam_size if method == "beam" else 1,
            max_steps=min(sampling.max_tokens + 1, self._positions - 1),
            min_tokens=sampling.min_tokens,
            length_penalty=sampling.length_penalty,
            block_ngram=sampling.block_ngram,
            block_context_ngram=sampling.block_context_ngram,
            temperature=temperature,
            sample="nucleus" in method,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            lambda_decay=sampling.lambda_decay if factual else 1.0,
            omega_bound=sampling.omega_bound,
            full_stops=self._full_stops,
            presence_penalty=sampling.presence_penalty,
            frequency_penalty=sampling.frequency_penalty,
            source_presence_penalty=sampling.source_presence_penalty,
            source_frequency_penalty=sampling.source_frequency_penalty,
            seed=seed,
        )

    def _text(self, ids: Sequence[int], sampling: Sampling) -> str:
        """The answer's text up to the first stop."""
        text = self._codec.decode(ids)
        for stop in sampling.stop:
            text = text.split(stop, 1)[0]
        return text

    def _result(self, job: Job, answer: Hypothesis, sampling: Sampling) -> GenerationResult:
        text = self._text(answer.tokens, sampling)
        stopped = answer.ended or text != self._codec.decode(answer.tokens)
        return GenerationResult(
            text=text,
            logprob=answer.logprob,
            tokens=TokenCounts(prompt=job.tokens, cached=job.cached, generated=len(answer.tokens)),
            finish_reason="stop" if stopped else "length",
        )


def load(path: Path, *, dtype: str = "auto", device: str = "auto", threads: int = 0) -> R2C2Model:
    """A model from a converted checkpoint, or a Blenderbot folder of the Transformers hub.

    See ``bb3.lm.network.open_network`` for the arguments and errors.
    """
    return R2C2Model(open_network(path, dtype=dtype, device=device), threads=threads)


def _visible(text: str) -> str:
    """As much of an unfinished answer as can be shown."""
    return without_control(_UNSETTLED.sub("", text))
