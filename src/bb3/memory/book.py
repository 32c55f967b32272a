"""A user's memories, as the turn and the front ends use them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary, WeakValueDictionary

from bb3.core.errors import Bb3Error, InputError
from bb3.core.ports import Embedder, Store
from bb3.core.types import Memory, MemoryOrigin, Speaker, Vector
from bb3.memory.admit import Admission, compare, judge, why_unfit
from bb3.memory.retrieve import retrieve
from bb3.memory.rules import MemoryRules, available

log = logging.getLogger(__name__)

_locks: WeakKeyDictionary[Store, WeakValueDictionary[str, asyncio.Lock]] = WeakKeyDictionary()
"""Writers of one user's memories, in all books of this process, go one after another."""


class MemoryBook:
    """The memories of one user.

    Args:
        store: where they are kept.
        user: whose they are; no other user's can be reached.
        embedder: for recall by meaning; None, or failing: by words alone.
        rules: what may be written and used; None: the defaults.

    All methods raise StoreError when the store fails.
    """

    def __init__(
        self,
        store: Store,
        user: str,
        embedder: Embedder | None = None,
        rules: MemoryRules | None = None,
    ) -> None:
        self.user = user
        self.rules = rules or MemoryRules()
        self._store = store
        self._embedder = embedder
        self._late: dict[str, Vector[float]] = {}  # of memories stored without a vector
        self._lock = _locks.setdefault(store, WeakValueDictionary()).setdefault(
            user, asyncio.Lock()
        )

    async def known(self) -> list[Memory]:
        """All current memories, oldest first."""
        return await self._store.memories(self.user)

    async def recall(
        self,
        query: str,
        *,
        known: Sequence[Memory] | None = None,
        conversation: str | None = None,
        rng: random.Random | None = None,
        k: int | None = None,
    ) -> list[Memory]:
        """The memories that a turn may use, best for ``query`` first.

        Args:
            query: the user's text.
            known: the current memories, if they are at hand; None: asked of the store.
            conversation, rng: see ``available``.
            k: at most so many; None: ``rules.max_memories``.
        """
        memories = await self.known() if known is None else known
        allowed = available(memories, query, self.rules, conversation=conversation, rng=rng)
        limit = self.rules.max_memories if k is None else k
        vector = await self._embed(query) if allowed else None
        if vector is not None:
            allowed = await self._with_vectors(allowed, len(vector))
        least = self.rules.min_score if vector is not None else 0.0
        found = retrieve(query, allowed, limit, vector)
        return [memory for memory, score in found if score >= least]

    async def remember(
        self,
        text: str,
        speaker: Speaker = Speaker.USER,
        origin: MemoryOrigin = MemoryOrigin.MODULE,
        conversation: str | None = None,
        message: str | None = None,
        source: str | None = None,
        *,
        person1: Speaker = Speaker.USER,
    ) -> Admission:
        """Admit a text and store it, in place of the memories it replaces.

        Args:
            text: as a model wrote it, or a person dictated it (see ``origin``).
            speaker: whose utterance it was written from.
            conversation, message: ids of where it was learned.
            source: the utterance, for a model's text: what is not said there is refused.
            person1: whom the model's prompt called ``Person 1``.
        """
        strict = origin is MemoryOrigin.MODULE
        async with self._lock:
            known = await self.known()
            admission = judge(
                text, speaker, rules=self.rules, source=source, strict=strict, person1=person1
            )
            if not admission:
                return admission
            vector = await self._embed(admission.text)
            admission = compare(admission, known, rules=self.rules, vector=vector)
            if not admission:
                return admission
            memory = Memory(
                speaker=admission.speaker,
                text=admission.text,
                origin=origin,
                conversation=conversation,
                message=message,
                vector=vector,
            )
            older = [m.id for m in admission.replaced]
            stored = await self._store.add_memory(self.user, memory, supersedes=older)
        return replace(admission, memory=stored)

    async def edit(self, memory_id: int, text: str) -> Memory | None:
        """Change a memory's text; None when there is no such memory.

        Raises:
            InputError: the new text is empty, too long, or a piece of a prompt.
        """
        text = " ".join(text.split())
        if reason := why_unfit(text, self.rules):
            raise InputError(f"This cannot be a memory: {reason}.", remedy="/forget deletes one.")
        async with self._lock:
            vector = await self._embed(text)
            return await self._store.edit_memory(self.user, memory_id, text, vector)

    async def forget(self, memory_id: int) -> bool:
        """Delete a memory and the older versions it replaced; False when there is none."""
        async with self._lock:
            return await self._store.forget_memory(self.user, memory_id)

    async def forget_all(self) -> int:
        """Delete all memories of the user; returns how many there were."""
        async with self._lock:
            self._late.clear()
            return await self._store.forget_all_memories(self.user)

    async def used(self, ids: Sequence[int]) -> None:
        """End of a turn: those used are young again, all others a turn older."""
        await self._store.age_memories(self.user, ids)

    async def _embed(self, text: str) -> Vector[float] | None:
        if self._embedder is None:
            return None
        try:
            (vector,) = await self._embedder.embed([text])
        except Bb3Error as error:
            log.warning("memories are compared by words alone: %s", error)
            return None
        return vector

    async def _with_vectors(self, memories: list[Memory], dim: int) -> list[Memory]:
        """Give a vector to those stored without one, or by another embedder."""
        bare = [m for m in memories if m.vector is None or len(m.vector) != dim]
        texts = [m.text for m in bare if m.text not in self._late]
        if texts and self._embedder is not None:
            try:
                self._late |= zip(texts, await self._embedder.embed(texts), strict=True)
            except Bb3Error as error:
                log.warning("older memories are compared by words alone: %s", error)
        late = {m.id: self._late[m.text] for m in bare if m.text in self._late}
        return [replace(m, vector=late[m.id]) if m.id in late else m for m in memories]
