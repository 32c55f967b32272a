"""Which memories a turn may use (REFERENCE section 3)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bb3.core.text import f1
from bb3.core.types import Memory
from bb3.memory.words import words

ARTICLES = frozenset(("a", "an", "the"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRules:
    """What may be written and what may be used.

    Attributes:
        min_overlap: least word overlap (F1, 0 to 1) with the user's text; 0: no such rule.
        ignore_in_session: leave out memories written in the running conversation.
        hard_block_turns: leave out memories used or written within the last n turns.
        soft_block_decay: a memory used t turns ago is left out with probability
            ``decay ** t``; 0: never.
        min_score: least score (0 to 1, see ``retrieve``) for the user's text; 0: no such rule.
            Not heeded where there are no vectors: words in common say too little by themselves.
        max_memories: at most this many reach a module, the best for the user's text.
        refine: a memory that says all of an older one and more replaces it. Off, it is refused,
            as in BlenderBot 3, where "I have a dog" kept "I have a dog called Bubbles" out.
        replace: a memory that contradicts an older one replaces it. Off, both stay.
        grounded: a memory must come from what was said.
        min_grounded: share of its content words that must.
        max_words, max_chars: length of a memory.
    """

    min_overlap: float = 0.0
    ignore_in_session: bool = False
    hard_block_turns: int = 0
    soft_block_decay: float = 0.0
    min_score: float = 0.0
    max_memories: int = 32
    refine: bool = True
    replace: bool = True
    grounded: bool = True
    min_grounded: float = 0.5
    max_words: int = 40
    max_chars: int = 300


def available(
    memories: Sequence[Memory],
    user_text: str,
    rules: MemoryRules,
    *,
    conversation: str | None = None,
    rng: random.Random | None = None,
) -> list[Memory]:
    """The memories that the rules let a turn use, in the order given.

    Args:
        memories: current memories of both speakers.
        user_text: what the user said; the overlap is measured with what follows its last colon.
        conversation: the running conversation, for ``ignore_in_session``.
        rng: dice of the soft block, seeded by the turn; needed only where that is on.
    """
    said = _plain_words(user_text.rpartition(":")[2])
    dice = rng or random.Random(0)  # noqa: S311 - a draw of memories, not of secrets
    kept = []
    for memory in memories:
        if memory.superseded_by is not None:
            continue
        if rules.ignore_in_session and conversation and memory.conversation == conversation:
            continue
        if memory.turns_since_used < rules.hard_block_turns:
            continue
        if rules.min_overlap > 0 and f1(_plain_words(memory.text), said) < rules.min_overlap:
            continue
        if rules.soft_block_decay > 0 and (
            dice.random() < rules.soft_block_decay**memory.turns_since_used
        ):
            continue
        kept.append(memory)
    return kept


def _plain_words(text: str) -> list[str]:
    return [word for word in words(text) if word not in ARTICLES]
