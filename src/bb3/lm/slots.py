"""Which slot of the engine a prompt goes to, so that as little as possible is read anew."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bb3.lm.continuations import common_prefix


@dataclass(slots=True)
class Slot:
    """A place in the engine.

    Attributes:
        tokens: what its cache holds, at most.
        used: when it was taken last, in calls.
        reserved: tokens that its present call may come to take; 0 when it is free.
    """

    id: int
    tokens: Sequence[int] = ()
    used: int = 0
    reserved: int = 0


class SlotBook:
    """Hands out slots; knows what each has read, and how much all may hold.

    A slot costs what it must read anew plus what it would forget, the latter discounted the
    longer the slot lay unused (halved every ``n`` calls). So a module comes back to the slot
    with its own conversation; a new conversation takes an empty or the stalest slot, and shares
    another's beginning only when that spares more than it destroys.

    Args:
        n: how many slots there are.
        capacity: tokens that all of them hold together.
    """

    def __init__(self, n: int, capacity: int) -> None:
        self.slots = [Slot(id=i) for i in range(n)]
        self.capacity = capacity
        self._waiting: list[asyncio.Future[None]] = []
        self._calls = 0

    async def take(self, tokens: Sequence[int], need: int) -> tuple[Slot, list[Slot]]:
        """The best free slot for a prompt, once one is free and there is room for ``need`` tokens.

        The taker sets ``slot.tokens`` as it goes and gives the slot back by ``release``. Also
        returns the stalest slots, already given up, that the engine must empty to make that room;
        they are taken too, until they are released.
        """
        need = min(need, self.capacity)
        while not (free := self._free()) or self._reserved() + need > self.capacity:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            finally:
                if turn in self._waiting:
                    self._waiting.remove(turn)
        slot = min(free, key=lambda slot: (self._cost(slot, tokens), slot.used))
        self._calls += 1
        slot.reserved, slot.used = max(1, need), self._calls
        return slot, self._give_up_stalest()

    def release(self, slot: Slot) -> None:
        slot.reserved = 0
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done() and not turn.get_loop().is_closed():
                turn.set_result(None)

    def _free(self) -> list[Slot]:
        return [slot for slot in self.slots if not slot.reserved]

    def _reserved(self) -> int:
        return sum(slot.reserved for slot in self.slots)

    def _cost(self, slot: Slot, tokens: Sequence[int]) -> float:
        shared = common_prefix(slot.tokens, tokens)
        age = self._calls - slot.used
        staleness: float = 0.5 ** (age / len(self.slots))
        return len(tokens) - shared + (len(slot.tokens) - shared) * staleness

    def _give_up_stalest(self) -> list[Slot]:
        given_up: list[Slot] = []
        for slot in sorted(self._free(), key=lambda slot: slot.used):
            idle = sum(len(other.tokens) for other in self._free())
            if self._reserved() + idle <= self.capacity:
                break
            if slot.tokens:
                slot.tokens, slot.reserved = (), 1
                given_up.append(slot)
        return given_up
