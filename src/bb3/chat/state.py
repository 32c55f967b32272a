"""What the steps of one turn share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from bb3.chat.ask import Asker
from bb3.chat.pipeline import Pipeline
from bb3.chat.replay import Recording
from bb3.chat.tolerate import Tolerated
from bb3.core.events import Degraded, Done, Event, Token, Working
from bb3.core.ports import SearchProvider, Store
from bb3.core.types import Conversation, Document, Memory, Turn
from bb3.memory.book import MemoryBook
from bb3.modules.context import Context
from bb3.safety.guard import Guard


@dataclass(slots=True)
class Session:
    """A conversation in progress: what the store knows of it, at hand.

    Attributes:
        turns: what was said and shown, oldest first, without what the guard held back.
        earlier: answers of the knowledge modules by tag, oldest first.
        persona: lines about the bot that the operator wrote.
    """

    conversation: Conversation
    book: MemoryBook
    turns: list[Turn] = field(default_factory=list)
    earlier: dict[str, list[str]] = field(default_factory=dict)
    persona: tuple[str, ...] = ()
    busy: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    """One turn after the other: a message that comes too early waits."""

    def note(self, knowledge: Mapping[str, str], window: int) -> None:
        """Add a turn's answers of the knowledge modules to ``earlier``."""
        for tag, text in knowledge.items():
            texts = self.earlier.setdefault(tag, [])
            texts.append(text)
            del texts[:-window]


@dataclass(slots=True)
class TurnState:
    """One turn on its way. The steps read it, and write what they found into the lower part."""

    session: Session
    user: Turn
    pipeline: Pipeline
    asker: Asker
    guard: Guard
    search: SearchProvider | None
    store: Store | None
    """None: nothing is kept (a replay)."""
    send: Callable[[Event], None]
    seed: int
    today: str = ""

    opening: bool = False
    """The bot is to begin: the user's message is no part of the conversation."""
    known: tuple[Memory, ...] = ()
    history: tuple[Turn, ...] = ()
    earlier: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What the knowledge modules answered on earlier turns, by tag."""
    query: str = ""
    documents: tuple[Document, ...] = ()
    used: tuple[Memory, ...] = ()
    knowledge: dict[str, str] = field(default_factory=dict)
    written: list[Memory] = field(default_factory=list)
    memorable: bool = False
    """Both turns may become memories: not so those that the guard held back, and openings."""
    reply: Turn | None = None
    replied_by: str = ""
    first_token_ms: float | None = None
    ms: float | None = None
    """To the end of the reply."""
    store_failed: bool = False
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.asker.emit = self.emit

    def emit(self, event: Event) -> None:
        """Tell what happens, and note it for the trace (the pieces of the reply aside)."""
        if not isinstance(event, Token | Working | Done):
            self.told.append(event)
        self.send(event)

    def tolerate(self, step: str) -> Tolerated:
        """Around a part that may fail: the turn is told, and goes on after the block."""
        return Tolerated(lambda reason: self.emit(Degraded(step=step, reason=reason)))

    @property
    def rng(self) -> random.Random:
        """Dice that fall the same way when the turn is run again."""
        return random.Random(self.seed)  # noqa: S311 - a conversation, not a secret

    @property
    def recording(self) -> Recording:
        """What is known of the answers beforehand, in a replay."""
        return self.asker.recording

    def context(self, **fields: object) -> Context:
        """The conversation up to the user's turn, and what the module is to see besides."""
        turns = self.history if self.opening else (*self.history, self.user)
        base = Context(
            turns=recent(turns, self.pipeline.window),
            persona=self.session.persona,
            today=self.today,
            style=self.pipeline.style,
        )
        return replace(base, **fields)  # type: ignore[arg-type]


def recent(turns: tuple[Turn, ...], window: int) -> tuple[Turn, ...]:
    """The last turns, at most ``window``, beginning at a multiple of half of it: the beginning
    stays put for many turns, so that prompts keep their beginning and engines their cache."""
    if len(turns) <= window:
        return turns
    step = max(window // 2, 1)
    start = -(-(len(turns) - window) // step) * step
    return turns[start:]
