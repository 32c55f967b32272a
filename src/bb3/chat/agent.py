"""The agent: everything a conversation needs, and turns as streams of events."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from bb3.chat.ask import Asker
from bb3.chat.pipeline import Pipeline
from bb3.chat.replay import Recording
from bb3.chat.state import Session, TurnState
from bb3.chat.turn import turn
from bb3.core.errors import Bb3Error, InputError
from bb3.core.events import Event
from bb3.core.ports import (
    Embedder,
    GenerationRequest,
    LanguageModel,
    Sampling,
    SearchProvider,
    Store,
)
from bb3.core.text import printable
from bb3.core.types import (
    Conversation,
    Memory,
    MemoryOrigin,
    Speaker,
    Trace,
    Turn,
    TurnStatus,
)
from bb3.memory.admit import Admission
from bb3.memory.book import MemoryBook
from bb3.memory.rules import MemoryRules
from bb3.modules.catalog import MODULES
from bb3.modules.context import Context
from bb3.modules.dialects import Dialect
from bb3.safety.guard import Guard

WARMED = ("sdm", "vrm", "ckm", "sgm", "skm", "mdm", "mgm", "mkm")
"""The modules of an ordinary turn, those first that the first turn asks first."""
MESSAGE_CHARACTERS = 20_000
"""Longest message of a user; a longer one is refused, not cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """The parts, chosen by ``bb3.app.build``, and what one does with them.

    One agent serves many conversations at once: it keeps nothing between turns; a Session does.
    """

    model: LanguageModel
    dialect: Dialect
    store: Store
    guard: Guard
    pipeline: Pipeline
    rules: MemoryRules = MemoryRules()
    search: SearchProvider | None = None
    embedder: Embedder | None = None
    persona: tuple[str, ...] = ()
    tell_date: bool = False

    async def open(self, user: str, *, resume: bool = True) -> Session:
        """A session of a user: the last conversation taken up again, or a new one.

        Raises:
            StoreError: the store cannot be read.
        """
        conversation = await self.store.latest_conversation(user) if resume else None
        if conversation is None:
            conversation = await self.store.start_conversation(user)
        session = Session(
            conversation=conversation,
            book=MemoryBook(self.store, user, embedder=self.embedder, rules=self.rules),
            persona=self.persona,
        )
        window = 2 * self.pipeline.window
        turns = await self.store.turns(conversation.id, limit=window)
        session.turns = [t for t in turns if t.status is not TurnStatus.BLOCKED]
        if last := await self.store.latest_trace(conversation.id):
            session.earlier = {tag: list(texts) for tag, texts in last.earlier.items()}
            session.note(last.knowledge(), self.pipeline.window)
        return session

    async def warm(self) -> None:
        """Have the model read what it is told before every question, so that its cache holds that
        when the first message comes. Worth it where nobody waits; may be cancelled; a model that
        fails will say so in the turn."""
        message = Turn(speaker=Speaker.USER, text="Hello")
        hello = Context(turns=(message,), persona=self.persona, today=self._today(message))
        if self.dialect.trained:  # nothing stands before its questions
            return
        with suppress(Bb3Error):
            for tag in WARMED:
                prompt = self.dialect.render(MODULES[tag], hello)
                sampling = Sampling(max_tokens=1)
                await self.model.generate(
                    [GenerationRequest(prompt=prompt, module=tag, sampling=sampling)]
                )

    async def chat(
        self, session: Session, text: str, *, seed: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """One turn, as events. Closing the iterator stops the reply; what was shown is kept.

        Args:
            seed: makes the turn reproducible; None: drawn.

        Raises:
            InputError: the message is empty, too long, or not text.
        """
        message = Turn(speaker=Speaker.USER, text=checked(text))
        async with aclosing(self._run(session, message, seed, Recording(), self.store)) as events:
            async for event in events:
                yield event

    async def remember(self, session: Session, text: str) -> Admission:
        """Keep what the user dictates. It need not be grounded, but it passes the guard.

        Raises:
            InputError: the guard objects.
        """
        await self._must_be_safe(text)
        return await session.book.remember(
            text,
            speaker=Speaker.USER,
            origin=MemoryOrigin.USER,
            conversation=session.conversation.id,
        )

    async def edit_memory(self, session: Session, memory_id: int, text: str) -> Memory | None:
        """Change a memory's words; None when there is no such memory.

        Raises:
            InputError: the guard objects, or the text cannot be a memory.
        """
        await self._must_be_safe(text)
        return await session.book.edit(memory_id, text)

    async def _must_be_safe(self, text: str) -> None:
        ruling = await self.guard.check(text, "user")
        if not ruling.safe:
            raise InputError(f"This is not kept: it is not safe ({ruling.label}).")

    async def replay(
        self, trace: Trace, edits: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Event, None]:
        """A recorded turn again, with the answers of some modules changed; nothing is stored.

        Raises:
            UsageError: an edit names no module.
        """
        recording = Recording(trace, dict(edits or {}))
        session = Session(
            conversation=Conversation(user="", id=trace.conversation),
            book=MemoryBook(self.store, "", embedder=self.embedder, rules=self.rules),
            turns=list(trace.history),
            earlier={tag: list(texts) for tag, texts in trace.earlier.items()},
            persona=trace.persona,
        )
        agent = self.with_pipeline(Pipeline.restored(trace.pipeline, self.pipeline))
        running = agent._run(session, trace.user, trace.seed, recording, None)
        async with aclosing(running) as events:
            async for event in events:
                yield event

    async def _run(
        self,
        session: Session,
        message: Turn,
        seed: int | None,
        recording: Recording,
        store: Store | None,
    ) -> AsyncGenerator[Event, None]:
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        if seed is None:
            seed = random.getrandbits(31)
        asker = Asker(
            model=self.model,
            dialect=self.dialect,
            pipeline=self.pipeline,
            seed=seed,
            recording=recording,
        )
        state = TurnState(
            session=session,
            user=message,
            pipeline=self.pipeline,
            asker=asker,
            guard=self.guard,
            search=self.search,
            store=store,
            send=events.put_nowait,
            seed=seed,
            today=self._today(message),
        )
        running = asyncio.create_task(turn(state))
        running.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            await running
        finally:
            running.cancel()
            await asyncio.wait([running])

    def _today(self, message: Turn) -> str:
        """The day of a message where this machine stands, if models are to be told."""
        return f"{message.at.astimezone():%A, %d %B %Y}" if self.tell_date else ""

    async def aclose(self) -> None:
        """Free the model, the search and the store."""
        await self.model.aclose()
        if self.search is not None:
            await self.search.aclose()
        await self.store.aclose()

    def with_pipeline(self, pipeline: Pipeline) -> Agent:
        """The same parts under other settings of the turn."""
        return replace(self, pipeline=pipeline)


def checked(text: str) -> str:
    """A user's message as it may enter: text, not empty, not too long. Raises InputError."""
    if len(text) > MESSAGE_CHARACTERS:
        raise InputError(
            f"The message has {len(text):,} characters; at most {MESSAGE_CHARACTERS:,} are read.",
            remedy="Send it in parts, or put the text into a file for `bb3 index`.",
        )
    clean = printable(text).strip()
    try:
        clean.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("The message is not valid Unicode text.") from None
    if not clean:
        raise InputError("The message is empty.")
    return clean
