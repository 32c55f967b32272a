"""Step: does this turn need a search, a memory?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bb3.chat.pipeline import Choice
from bb3.chat.state import TurnState
from bb3.core.events import Decision


@dataclass(frozen=True, slots=True)
class Decisions:
    """What the turn will do before it replies."""

    search: bool
    memory: bool


async def decide(state: TurnState) -> Decisions:
    """Both decisions at once. Without memories there is nothing to decide about them."""
    pipeline = state.pipeline
    memory: Choice = pipeline.memory if state.known else "never"
    search: Choice = pipeline.search if state.search is not None else "never"
    answers = await asyncio.gather(_decide(state, "sdm", search), _decide(state, "mdm", memory))
    return Decisions(*answers)


async def _decide(state: TurnState, tag: str, choice: Choice) -> bool:
    """A failed decision counts as no."""
    if choice != "compute" and tag not in state.recording.edits:
        yes = choice == "always"
        state.emit(Decision(module=tag, yes=yes, forced=True))
        return yes
    memories = state.known if tag == "mdm" else ()
    call = await state.asker.decide(tag, state.context(memories=memories))
    if call is None:
        return False
    yes = call.output == "yes"
    margin = None
    if call.logprob is not None and state.asker.model.can_score:
        margin = call.logprob - state.pipeline.thresholds.get(tag, 0.0)
    state.emit(Decision(module=tag, yes=yes, margin=margin))
    return yes
