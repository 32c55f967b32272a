"""Which slot of the engine a prompt goes to, so that as little as possible is read anew."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from bb3.lm.continuations import common_prefix


@dataclass(slots=True)
class Slot:
    """A place in the engine. ``tokens``: what its cache holds; ``used``: when, in calls."""

    id: int
    tokens: Sequence[int] = ()
    used: int = 0
    busy: bool = False


class SlotBook:
    """Hands out slots; knows what each has read.

    A slot costs what it must read anew plus what it would forget, the latter discounted the
    longer the slot lay unused (halved every ``n`` calls). So a module comes back to the slot
    with its own conversation; a new conversation takes an empty or the stalest slot, and shares a
    module's instruction only when that spares more than it destroys.

    Tasks that find no slot free wait in order of arrival.
    """

    def __init__(self, n: int) -> None:
        self.slots = [Slot(id=i) for i in range(n)]
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._calls = 0

    async def take(self, tokens: Sequence[int]) -> Slot:
        """The best free slot for a prompt; the taker sets ``slot.tokens`` as it goes, and gives
        the slot back with ``release``.
        """
        while not (free := [slot for slot in self.slots if not slot.busy]):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._pass_on(turn)
                raise
        slot = min(free, key=lambda slot: (self._cost(slot, tokens), slot.used))
        self._calls += 1
        slot.busy, slot.used = True, self._calls
        return slot

    def release(self, slot: Slot) -> None:
        slot.busy = False
        self._wake_next()

    def _cost(self, slot: Slot, tokens: Sequence[int]) -> float:
        shared = common_prefix(slot.tokens, tokens)
        age = self._calls - slot.used
        staleness: float = 0.5 ** (age / len(self.slots))
        return len(tokens) - shared + (len(slot.tokens) - shared) * staleness

    def _wake_next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done() and not turn.get_loop().is_closed():
                turn.set_result(None)
                return

    def _pass_on(self, turn: asyncio.Future[None]) -> None:
        """A waiter left. Had its turn come, the next one gets it."""
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif turn.done() and not turn.cancelled():
            self._wake_next()
