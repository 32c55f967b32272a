"""One turn of conversation, as the diagram in docs/architecture.md draws it.

user's message
  → guard ──────────── held back → canned reply
  → decide             sdm ∥ mdm
  → know               sgm → search → skm  ∥  recall → mkm  ∥  ckm
  → respond            crm, mrm, srm, vrm or grm, streamed through the guard
  → remember           mgm on both turns, after the reply is out
  → trace
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from bb3.chat.decide import decide
from bb3.chat.keep import keep_trace, keep_turn
from bb3.chat.know import know
from bb3.chat.remember import remember
from bb3.chat.respond import CANNED, open_conversation, respond, respond_canned
from bb3.chat.state import TurnState, recent
from bb3.core.events import Blocked, Degraded, Done, event_data
from bb3.core.types import Memory, MemoryOrigin, Speaker, Trace, TurnStatus

OPENING = "Opening"
"""The message that asks the bot to begin: from its memories, if there are any."""


async def turn(state: TurnState) -> None:
    """Run the turn to its end. Everything on the way is told by ``state.emit``. A turn that is
    cancelled leaves its trace too, as far as it came."""
    async with state.session.busy:
        state.asker.began = time.perf_counter()  # waiting for one's turn is no part of it
        try:
            await _reply(state)
            await _remember(state)
        except asyncio.CancelledError:
            await asyncio.shield(keep_trace(state, _trace(state)))
            raise
        trace = _trace(state)
        await keep_trace(state, trace)
    state.emit(Done(trace=trace))


async def _reply(state: TurnState) -> None:
    session = state.session
    session.turns = list(recent(tuple(session.turns), state.pipeline.window))
    state.history = tuple(session.turns)
    state.earlier = {tag: tuple(texts) for tag, texts in session.earlier.items()}

    if state.pipeline.opening and state.user.text == OPENING and not state.history:
        state.opening = True
        state.known = await _known(state)
        await (open_conversation(state) if state.known else respond(state))
        return

    context = [earlier.text for earlier in state.history[-4:]]
    ruling = await state.guard.check(state.user.text, "user", context)
    if ruling.degraded:
        state.emit(Degraded(step="guard", reason=ruling.degraded))
    if not ruling.safe:
        state.emit(Blocked(side="user", label=ruling.label, by=ruling.by))
        await keep_turn(state, replace(state.user, status=TurnStatus.BLOCKED))
        await respond_canned(state)
        return

    session.turns.append(state.user)  # first: a store that has begun to write does not stop
    await keep_turn(state, state.user)
    state.known = await _known(state)
    await _find(state)
    state.memorable = True
    await respond(state)


async def _find(state: TurnState) -> None:
    """All that goes before the reply; what is known when the time is up has to do."""
    pipeline = state.pipeline
    allowed_s = min(pipeline.find_deadline_s, pipeline.turn_deadline_s)
    try:
        async with asyncio.timeout(allowed_s - state.asker.elapsed_ms() / 1e3):
            await know(state, await decide(state))
    except TimeoutError:
        reason = f"Nothing more was found within {allowed_s:g} s."
        state.emit(Degraded(step="turn", reason=reason))
    state.session.note(state.knowledge, pipeline.window)


async def _known(state: TurnState) -> tuple[Memory, ...]:
    """The memories of the user; before them the persona, for models that know it by memory."""
    if state.recording.trace is not None:
        return state.recording.trace.memories
    persona: tuple[Memory, ...] = ()
    if not state.asker.dialect.tells_persona:
        persona = tuple(
            Memory(id=-number, speaker=Speaker.BOT, text=line, origin=MemoryOrigin.PERSONA)
            for number, line in enumerate(state.session.persona, 1)
        )
    with state.tolerate("memory"):
        return (*persona, *await state.session.book.known())
    return persona


async def _remember(state: TurnState) -> None:
    """What the reader need not wait for: memories, and their age."""
    if state.store is None:
        return
    if state.memorable:
        await remember(state, state.reply if state.replied_by != CANNED else None)
    with state.tolerate("memory"):
        await state.session.book.used([memory.id for memory in state.used])


def _trace(state: TurnState) -> Trace:
    return Trace(
        conversation=state.session.conversation.id,
        user=state.user,
        reply=state.reply,
        history=state.history,
        memories=state.known,
        earlier=state.earlier,
        persona=state.session.persona,
        calls=tuple(state.asker.calls),
        query=state.query,
        documents=state.documents,
        recalled=tuple(memory.text for memory in state.used),
        written=tuple(memory.text for memory in state.written),
        events=tuple(event_data(event) for event in state.told),
        pipeline=state.pipeline.data(),
        model=state.asker.model.name,
        seed=state.seed,
        ms=state.ms if state.ms is not None else state.asker.elapsed_ms(),
        first_token_ms=state.first_token_ms,
    )
