"""The seams of the house: what a room offers another without importing it.

All ports are asynchronous and batched. Implementations raise only errors of
``bb3.core.errors``; callers on floor 3 turn those into ``Degraded`` events.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from bb3.core.types import (
    Conversation,
    Document,
    Memory,
    TokenCounts,
    Trace,
    Turn,
    Vector,
)

# --- language model ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a chat prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a model reads. Exactly one of ``text`` and ``messages`` is used.

    Attributes:
        text: a completion prompt (dialects opt, fewshot, r2c2).
        messages: a chat prompt (dialect chat); the model's own template is applied, and a last
            message of role ``assistant`` is a beginning of the answer to be continued.
        documents: for Fusion-in-Decoder models: each is encoded with ``text`` on its own.
        source_end: how many characters of ``text`` the penalties on the source cover; None: all.
        block_text: text whose n-grams the answer may not repeat when
            ``Sampling.block_context_ngram`` is set; empty: ``text`` itself.
    """

    text: str = ""
    messages: tuple[Message, ...] = ()
    documents: tuple[str, ...] = ()
    source_end: int | None = None
    block_text: str = ""

    def written_out(self) -> str:
        """The prompt as one string, for traces."""
        if not self.messages:
            return self.text
        return "\n".join(f"{m.role}: {m.content}" for m in self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an answer is decoded. A backend that cannot honour a field says so at load time
    (``LanguageModel.unsupported``) rather than ignoring it silently.

    Attributes:
        method: ``greedy``; ``beam`` (beam_size, length_penalty); ``nucleus`` (top_p, top_k,
            temperature); ``factual_nucleus`` (Lee et al. 2022, arXiv:2206.04624: at the k-th
            token of a sentence top-p is ``max(omega_bound, top_p * lambda_decay**(k-1))``).
        min_tokens, max_tokens: length of the answer, end token not counted.
        presence_penalty, frequency_penalty: ``logit -= count*frequency + (count>0)*presence``
            over the answer so far; ``source_*`` the same over the prompt.
        block_ngram, block_context_ngram: no n-gram twice in the answer; none of the prompt's.
        stop: texts that end the answer, not part of it.
    """

    method: Literal["greedy", "beam", "nucleus", "factual_nucleus"] = "greedy"
    min_tokens: int = 0
    max_tokens: int = 64
    beam_size: int = 1
    length_penalty: float = 0.65
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    lambda_decay: float = 0.9
    omega_bound: float = 0.3
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    source_presence_penalty: float = 0.0
    source_frequency_penalty: float = 0.0
    block_ngram: int = 0
    block_context_ngram: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One call of a model.

    Attributes:
        module: tag of the asking module: names the prefix-cache slot, metrics, traces.
        seed: seed of the sampler; None: the backend's choice.
        grammar: GBNF grammar that the answer must match, where the backend can; else ignored.
        deadline_s: seconds after which the call raises ``ModelTimeout``; None: no limit.
    """

    prompt: Prompt
    module: str
    sampling: Sampling = Sampling()
    seed: int | None = None
    grammar: str | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """A model's answer. ``logprob``: sum over the answer's tokens, natural log; None where
    the backend gives none.
    """

    text: str
    logprob: float | None = None
    tokens: TokenCounts = TokenCounts()
    finish_reason: Literal["stop", "length", "cancelled"] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreResult:
    """Log-probabilities of continuations, in the order asked, natural log, summed over their
    tokens. Where two share a beginning, backends may leave that common part out of both.
    """

    logprobs: tuple[float, ...]
    tokens: TokenCounts = TokenCounts()


class LanguageModel(Protocol):
    """A language model behind any engine.

    Attributes:
        name: for traces and messages.
        dialect: the dialect it understands best: ``opt``, ``fewshot``, ``chat`` or ``r2c2``.
        context_tokens: longest prompt plus answer, in tokens.
        can_score: whether ``score`` works (else decisions are generated).
        unsupported: names of ``Sampling`` fields this backend cannot honour.
    """

    @property
    def name(self) -> str: ...

    @property
    def dialect(self) -> str: ...

    @property
    def context_tokens(self) -> int: ...

    @property
    def can_score(self) -> bool: ...

    @property
    def unsupported(self) -> frozenset[str]: ...

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """Answers in the order of the requests. Raises ModelError, ModelTimeout."""
        ...

    def stream(self, request: GenerationRequest) -> AsyncGenerator[str | GenerationResult, None]:
        """Pieces of text as they come, then the one GenerationResult. Closing the iterator
        stops the generation and frees its place in the engine.
        """
        ...

    async def score(self, request: GenerationRequest, continuations: Sequence[str]) -> ScoreResult:
        """Log-probability of each continuation of ``request.prompt``. Raises ModelError."""
        ...

    async def count_tokens(self, prompt: Prompt) -> int:
        """Tokens that the prompt takes, template included."""
        ...

    async def aclose(self) -> None:
        """Free the engine. Safe to call twice."""
        ...


# --- search, safety, embedding ------------------------------------------------------------


class SearchProvider(Protocol):
    """A source of documents."""

    @property
    def name(self) -> str: ...

    async def search(self, query: str, k: int) -> list[Document]:
        """At most k documents, best first; none when nothing fits. Raises SearchError."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A classifier's opinion of a text. ``label`` names what was found (``profanity``,
    ``offensive`` ...), empty when safe; ``score`` is the probability of unsafe; ``by`` the
    classifier's name.
    """

    safe: bool
    label: str = ""
    score: float = 0.0
    by: str = ""


class Classifier(Protocol):
    """Says whether texts are safe. ``contexts[i]`` are the turns before ``texts[i]``."""

    @property
    def name(self) -> str: ...

    async def classify(
        self, texts: Sequence[str], contexts: Sequence[Sequence[str]] | None = None
    ) -> list[Verdict]: ...


class Embedder(Protocol):
    """Turns texts into unit vectors whose dot product is their similarity."""

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> list[Vector[float]]: ...


# --- store ----------------------------------------------------------------------------------


class Store(Protocol):
    """What survives a restart. Every method is one transaction; raises StoreError.

    Safe for concurrent use by the tasks of one process and by several processes.
    """

    async def start_conversation(self, user: str) -> Conversation:
        """A new, empty conversation."""
        ...

    async def latest_conversation(self, user: str) -> Conversation | None:
        """The conversation that ``user`` last took part in."""
        ...

    async def turns(self, conversation: str, *, limit: int | None = None) -> list[Turn]:
        """The newest ``limit`` turns of a conversation, oldest first."""
        ...

    async def save_turn(self, conversation: str, turn: Turn) -> None:
        """Insert a turn, or overwrite the one with its id (a draft that grew)."""
        ...

    async def save_trace(self, trace: Trace) -> None: ...

    async def trace(self, trace_id: str) -> Trace | None: ...

    async def latest_trace(self, conversation: str) -> Trace | None: ...

    async def memories(self, user: str, *, superseded: bool = False) -> list[Memory]:
        """The user's memories (both speakers'), oldest first; with ``superseded`` the
        replaced ones too.
        """
        ...

    async def add_memory(
        self, user: str, memory: Memory, *, supersedes: Sequence[int] = ()
    ) -> Memory:
        """Store a memory, mark the given ones as replaced by it; returns it with its id. When the
        same speaker's same words are current already, those are returned and nothing changes."""
        ...

    async def edit_memory(
        self, user: str, memory_id: int, text: str, vector: Vector[float] | None
    ) -> Memory | None:
        """Change a memory's text (and vector); None when there is no such memory."""
        ...

    async def forget_memory(self, user: str, memory_id: int) -> bool:
        """Delete a memory, its vector and the older versions it replaced."""
        ...

    async def forget_all_memories(self, user: str) -> int:
        """Delete all memories of a user; returns how many."""
        ...

    async def age_memories(self, user: str, used: Sequence[int]) -> None:
        """End of a turn: every counter grows by one, those of ``used`` become 0."""
        ...

    async def export_user(self, user: str) -> dict[str, Any]:
        """All that is kept about a user, as plain JSON-able data."""
        ...

    async def aclose(self) -> None: ...


# --- progress -------------------------------------------------------------------------------


@dataclass(slots=True)
class Progress:
    """Where long work stands; a front end draws it. ``total`` 0: unknown."""

    what: str
    done: int = 0
    total: int = 0
    unit: str = "bytes"
    report: Callable[[Progress], None] | None = field(default=None, repr=False)

    def advance(self, by: int) -> None:
        self.done += by
        if self.report is not None:
            self.report(self)
