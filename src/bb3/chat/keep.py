"""Keeping what was said: before it is shown, so that no crash loses what somebody saw."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace

from bb3.chat.state import TurnState
from bb3.chat.tolerate import Tolerated
from bb3.core.events import Degraded
from bb3.core.types import Speaker, Trace, Turn, TurnStatus


async def keep_turn(state: TurnState, turn: Turn) -> None:
    """Store a turn. A store that fails does not stop the conversation; it is told once a turn."""
    if state.store is not None:
        await _kept(state, state.store.save_turn(state.session.conversation.id, turn))


async def keep_trace(state: TurnState, trace: Trace) -> None:
    """Store the trace, as a turn is stored."""
    if state.store is not None:
        await _kept(state, state.store.save_trace(trace))


async def _kept(state: TurnState, saving: Awaitable[None]) -> None:
    def failed(reason: str) -> None:
        if not state.store_failed:
            state.store_failed = True
            state.emit(Degraded(step="store", reason=reason))

    with Tolerated(failed):
        await saving


class Draft:
    """The bot's turn while it is being written."""

    def __init__(self, state: TurnState) -> None:
        self._state = state
        self._turn = Turn(speaker=Speaker.BOT, text="", status=TurnStatus.DRAFT)
        self.module = ""  # that writes it

    @property
    def text(self) -> str:
        """What was shown so far."""
        return self._turn.text

    async def grow(self, piece: str) -> None:
        """Store the draft with a further piece. A store that failed in this turn is not asked
        again for every piece: it may take its time to fail."""
        self._turn = replace(self._turn, text=self._turn.text + piece)
        if not self._state.store_failed:
            await keep_turn(self._state, self._turn)

    async def discard(self) -> None:
        """Begin anew, under the same id."""
        self._turn = replace(self._turn, text="")

    async def close(self, status: TurnStatus, text: str | None = None) -> Turn:
        """The turn as it stays: with the final text, or with what was shown. A turn of which
        nothing was shown is not kept."""
        turn = self._turn = replace(
            self._turn, text=self._turn.text if text is None else text, status=status
        )
        if turn.text:
            turns = self._state.session.turns
            if turns and turns[-1].id == turn.id:  # closed before, and stopped while it was stored
                turns.pop()
            turns.append(turn)
            await keep_turn(self._state, turn)
        return turn
