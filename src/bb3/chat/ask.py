"""Asking one module: prompt, model, answer, and the record of it."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from bb3.chat.pipeline import Pipeline
from bb3.chat.replay import Recording
from bb3.chat.tolerate import Tolerated
from bb3.core.errors import ModelTimeout
from bb3.core.events import Degraded, Event, Working
from bb3.core.ports import GenerationRequest, GenerationResult, LanguageModel, Sampling
from bb3.core.types import ModuleCall
from bb3.modules.catalog import MODULES
from bb3.modules.context import Context
from bb3.modules.dialects import Dialect, fit

Work = Callable[[ModuleCall, GenerationRequest], Awaitable[ModuleCall]]


@dataclass(slots=True)
class Asker:
    """Asks modules on behalf of one turn and keeps the record (``calls``).

    A failing module raises nothing: it is recorded with its error, told as a ``Degraded``
    event, and has no answer (None).
    """

    model: LanguageModel
    dialect: Dialect
    pipeline: Pipeline
    seed: int
    emit: Callable[[Event], None] = lambda event: None
    recording: Recording = field(default_factory=Recording)
    calls: list[ModuleCall] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)
    _asked: dict[str, int] = field(default_factory=dict)

    def elapsed_ms(self) -> float:
        """Milliseconds since the turn began."""
        return (time.perf_counter() - self.began) * 1000

    async def generate(
        self, tag: str, context: Context, sampling: Sampling | None = None
    ) -> ModuleCall | None:
        """The module's answer, or None when it failed."""

        async def work(call: ModuleCall, request: GenerationRequest) -> ModuleCall:
            (result,) = await self.model.generate([request])
            return self._answered(call, result)

        return await self._guarded(tag, context, sampling, work)

    async def decide(self, tag: str, context: Context) -> ModuleCall | None:
        """A decision: ``output`` is ``yes`` or ``no``, ``logprob`` the log-odds of yes where
        the model can score; the model's free text is never trusted where it can."""
        yes, no = self.dialect.answers(MODULES[tag])

        async def work(call: ModuleCall, request: GenerationRequest) -> ModuleCall:
            if self.model.can_score:
                scores = await self.model.score(request, (yes, no))
                odds = scores.logprobs[0] - scores.logprobs[1]
                said = "yes" if odds > self.pipeline.thresholds.get(tag, 0.0) else "no"
                return self._done(call, output=said, logprob=odds, tokens=scores.tokens)
            (result,) = await self.model.generate([request])
            answer = self.dialect.read(MODULES[tag], result.text)
            return replace(
                self._answered(call, result), output="yes" if says_yes(answer, yes, no) else "no"
            )

        return await self._guarded(tag, context, None, work)

    async def stream(
        self, tag: str, context: Context, sampling: Sampling | None = None
    ) -> AsyncGenerator[str | ModuleCall, None]:
        """Pieces of the answer as they come, then the ModuleCall; nothing more after a failure."""
        call = self._begun(tag)
        written = ""
        done = False

        def failed(reason: str) -> None:
            nonlocal done
            done = True
            self._fail(call, reason, written)

        try:
            with Tolerated(failed):
                call, request = await self._prepare(call, context, sampling)
                if known := self.recording.answer(call):
                    done = True
                    yield known.output
                    yield self._keep(known)
                    return
                self.emit(Working(step=tag))
                async with aclosing(self.model.stream(request)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, GenerationResult):
                            done = True
                            yield self._keep(self._answered(call, piece))
                            return
                        written += piece
                        yield piece
        finally:
            if not done:
                self._stopped(call)

    # --- the parts -----------------------------------------------------------------------

    def _begun(self, tag: str) -> ModuleCall:
        return ModuleCall(
            module=tag,
            dialect=self.dialect.name,
            prompt="",
            started_ms=self.elapsed_ms(),
            seed=self._seed(tag),
        )

    async def _prepare(
        self, call: ModuleCall, context: Context, sampling: Sampling | None
    ) -> tuple[ModuleCall, GenerationRequest]:
        """The call with its prompt, and the request. Raises ModelError: tokens are counted."""
        sampling = sampling or self.pipeline.sampling[call.module]
        room = self.model.context_tokens - sampling.max_tokens
        module = MODULES[call.module]
        prompt = await fit(self.dialect, module, context, self.model.count_tokens, room)
        request = GenerationRequest(
            prompt=prompt,
            module=call.module,
            sampling=sampling,
            seed=call.seed,
            deadline_s=self.pipeline.module_deadline_s,
        )
        return replace(call, prompt=prompt.written_out(), documents=prompt.documents), request

    def _seed(self, tag: str) -> int:
        """The same for the n-th call of a module in a turn with the same seed, whatever runs
        beside it."""
        count = self._asked[tag] = self._asked.get(tag, 0) + 1
        return zlib.crc32(f"{self.seed}:{tag}:{count}".encode())

    async def _guarded(
        self, tag: str, context: Context, sampling: Sampling | None, work: Work
    ) -> ModuleCall | None:
        call = self._begun(tag)
        deadline_s = self.pipeline.module_deadline_s
        with Tolerated(lambda reason: self._fail(call, reason)):
            try:
                async with asyncio.timeout(deadline_s):
                    call, request = await self._prepare(call, context, sampling)
                    if known := self.recording.answer(call):
                        return self._keep(known)
                    self.emit(Working(step=tag))
                    return self._keep(await work(call, request))
            except asyncio.CancelledError:
                self._stopped(call)
                raise
            except TimeoutError:
                raise ModelTimeout(f"No answer within {deadline_s:g} s.") from None
        return None

    def _answered(self, call: ModuleCall, result: GenerationResult) -> ModuleCall:
        return self._done(
            call,
            output=self.dialect.read(MODULES[call.module], result.text),
            raw=result.text,
            logprob=result.logprob,
            tokens=result.tokens,
        )

    def _done(self, call: ModuleCall, **fields: object) -> ModuleCall:
        ms = self.elapsed_ms() - call.started_ms
        return replace(call, ms=ms, **fields)  # type: ignore[arg-type]

    def _keep(self, call: ModuleCall) -> ModuleCall:
        self.calls.append(call)
        return call

    def _stopped(self, call: ModuleCall) -> None:
        """Note a call that somebody did not wait for; what it wrote may have been held back."""
        self._keep(self._done(call, error="It was stopped before its end."))

    def _fail(self, call: ModuleCall, reason: str, written: str = "") -> None:
        self._keep(self._done(call, error=reason, raw=written))
        self.emit(Degraded(step=call.module, reason=reason))


def says_yes(answer: str, yes: str, no: str) -> bool:
    """Whether a generated decision means yes: its beginning is that of yes and not of no.

    "search" is the beginning of neither "do not search" nor of anything else, but a longer
    label is tried first, so that labels of which one begins the other are told apart.
    """
    said = answer.strip().lower()
    for label, means in sorted(((yes, True), (no, False)), key=lambda pair: -len(pair[0])):
        if said.startswith(label.strip().lower()):
            return means
    return False
