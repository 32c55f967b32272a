"""The nouns of a conversation. Plain immutable data, standard library only."""

from __future__ import annotations

import uuid
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

Vector = array  # array("f"): float32, the buffer protocol, so numpy reads it without a copy
"""An embedding: ``array("f")`` of ``dim`` unit-length floats."""


def new_id() -> str:
    """A fresh identifier of a conversation, message or trace."""
    return uuid.uuid4().hex


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


class Speaker(StrEnum):
    """Who said a thing, or whom a memory is about."""

    USER = "user"
    BOT = "bot"

    @property
    def other(self) -> Speaker:
        return Speaker.BOT if self is Speaker.USER else Speaker.USER


class TurnStatus(StrEnum):
    """How a stored turn ended."""

    COMPLETE = "complete"
    DRAFT = "draft"
    """Still being written, or the process died while it was: what was shown is kept."""
    INTERRUPTED = "interrupted"
    """The reader stopped it."""
    BLOCKED = "blocked"
    """Held back by the guard: shown to nobody's module, never a source of memories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One utterance of one speaker."""

    speaker: Speaker
    text: str
    id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=now)
    status: TurnStatus = TurnStatus.COMPLETE


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A chat of one user with the bot; its turns live in the store."""

    user: str
    id: str = field(default_factory=new_id)
    started_at: datetime = field(default_factory=now)


class MemoryOrigin(StrEnum):
    """How a memory came to be."""

    MODULE = "module"
    """Written by the memory generator (mgm) from a turn."""
    USER = "user"
    """Dictated by the user (``/remember``)."""
    PERSONA = "persona"
    """From a persona file or an opening message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A sentence worth keeping about one speaker.

    Attributes:
        id: the store's number, what ``/forget`` takes; 0 before it is stored.
        turns_since_used: 0 when written or used, +1 every turn (REFERENCE section 3).
        conversation: where it was learned; with ``message`` its provenance.
        superseded_by: id of the newer memory that contradicts it, None while current.
    """

    speaker: Speaker
    text: str
    id: int = 0
    origin: MemoryOrigin = MemoryOrigin.MODULE
    conversation: str | None = None
    message: str | None = None
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    turns_since_used: int = 0
    superseded_by: int | None = None
    vector: Vector[float] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A search result, or the part of it that matters for the query."""

    title: str
    text: str
    url: str = ""
    score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCounts:
    """Tokens of one call: read by the model, of which taken from its cache, and written."""

    prompt: int = 0
    cached: int = 0
    generated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleCall:
    """One module of one turn: what it was asked and what it answered.

    Attributes:
        module: tag, one of the 14 (``bb3.modules.catalog``).
        prompt: exactly what the model read (chat messages are written out in its template's
            order as ``role: text`` blocks).
        output: the answer after reading (stripped, parsed); ``raw`` is the model's own text.
        logprob: sum of natural-log probabilities of ``raw``; for a decision the log-odds of yes.
        started_ms, ms: when it began within the turn, and how long it took.
        error: why there is no answer; the turn went on without it.
        edited: the output was put there by a replay, not by the model.
    """

    module: str
    dialect: str
    prompt: str
    documents: tuple[str, ...] = ()
    output: str = ""
    raw: str = ""
    logprob: float | None = None
    started_ms: float = 0.0
    ms: float = 0.0
    tokens: TokenCounts = TokenCounts()
    seed: int | None = None
    error: str | None = None
    edited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Everything needed to see how a reply came about, and to run the turn again.

    Attributes:
        history: the turns before ``user``, oldest first, as the modules saw them.
        memories: the memories known when the turn began.
        earlier: what the knowledge modules had answered before, by tag, oldest first.
        persona: the lines about the bot.
        query, documents: the search that was made, if any.
        recalled, written: texts of the memories that were used, and that were added.
        pipeline: the pipeline's settings in force (``bb3.chat.pipeline``), as plain data.
        model: name of the language model.
        ms: to the end of the reply; memory writing comes after.
        first_token_ms: to the first piece of the reply shown, None if there was none.
    """

    conversation: str
    user: Turn
    reply: Turn | None = None
    id: str = field(default_factory=new_id)
    history: tuple[Turn, ...] = ()
    memories: tuple[Memory, ...] = ()
    earlier: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    persona: tuple[str, ...] = ()
    calls: tuple[ModuleCall, ...] = ()
    query: str = ""
    documents: tuple[Document, ...] = ()
    recalled: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    seed: int = 0
    ms: float = 0.0
    first_token_ms: float | None = None

    def knowledge(self) -> dict[str, str]:
        """What the knowledge modules settled on, by tag."""
        return {e["module"]: e["text"] for e in self.events if e.get("kind") == "knowledge"}
