"""Step: the memories that this turn may use."""

from __future__ import annotations

from bb3.chat.state import TurnState
from bb3.core.events import Recalled
from bb3.core.types import Memory


async def recall(state: TurnState) -> tuple[Memory, ...]:
    """The memories available to mkm: best first for the user's message, or, for models trained
    on them so, in the order they were written."""
    memories: list[Memory] | None = None
    with state.tolerate("memory"):
        memories = await state.session.book.recall(
            state.user.text,
            known=state.known,
            conversation=state.session.conversation.id,
            rng=state.rng,
        )
    if memories is None:
        return ()
    if state.asker.dialect.trained:
        order = {memory.id: place for place, memory in enumerate(state.known)}
        memories.sort(key=lambda memory: order[memory.id])
    state.emit(Recalled(memories=tuple(memories)))
    return tuple(memories)
