"""Step, after the reply is out: what is worth remembering of either turn."""

from __future__ import annotations

import asyncio

from bb3.chat.state import TurnState
from bb3.core.events import Remembered
from bb3.core.text import overlap_f1, sentences
from bb3.core.types import MemoryOrigin, Turn
from bb3.memory.admit import KNOWN, Admission

SAME_WORDS = 0.3
"""Word overlap (F1) from which a memory rests on a sentence."""


async def remember(state: TurnState, reply: Turn | None) -> None:
    """Ask for a memory of the user's turn and of the bot's, and write those that hold."""
    turns = []
    if state.pipeline.remember:
        turns.append(state.user)
    if state.pipeline.remember_own and reply is not None:
        turns.append(reply)
    calls = await asyncio.gather(
        *(state.asker.generate("mgm", state.context(turns=(turn,))) for turn in turns)
    )
    for turn, call in zip(turns, calls, strict=True):
        if call is not None and call.output:
            await _write(state, turn, call.output)


async def _write(state: TurnState, turn: Turn, text: str) -> None:
    """A memory that a model made up gives way to the speaker's own words, if those hold."""
    own = sentences(turn.text)
    if state.pipeline.own_words:
        own.sort(key=lambda sentence: -overlap_f1(sentence, text))
        for sentence in own:
            if overlap_f1(sentence, text) >= SAME_WORDS and await _admitted(state, turn, sentence):
                return
    if await _admitted(state, turn, text) or state.asker.dialect.trained:
        return
    for sentence in own:
        await _admitted(state, turn, sentence)


async def _admitted(state: TurnState, turn: Turn, text: str) -> bool:
    """Whether the memory is now known: written, or known before."""
    if not (await state.guard.check(text, turn.speaker.value)).safe:
        return False
    admission: Admission | None = None
    with state.tolerate("memory"):
        admission = await state.session.book.remember(
            text,
            speaker=turn.speaker,
            origin=MemoryOrigin.MODULE,
            conversation=state.session.conversation.id,
            message=turn.id,
            source=None if state.asker.dialect.trained else turn.text,
            person1=turn.speaker,
        )
    if admission is None:
        return True  # another wording will not mend the store
    if admission.memory is not None:
        state.written.append(admission.memory)
        state.emit(Remembered(memory=admission.memory, replaced=admission.replaced))
    return bool(admission) or admission.reason == KNOWN
